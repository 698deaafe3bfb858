"""Plots: the numbers that are drawn, not how they look."""

import numpy as np
import pytest
from aeon.classification import DummyClassifier
from aeon.transformations.collection.unequal_length import Resizer
from conftest import tiny
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import make_pipeline

from memkd_sklearn import MemKDClassifier, RecurrentClassifier
from memkd_sklearn.benchmark import auc_prc_scorer
from memkd_sklearn.network import RecurrentNetwork

plotting = pytest.importorskip(
    "memkd_sklearn.plotting",
    reason="plots need the extra: memkd-sklearn[plots]",
    exc_type=ImportError,
)

SCORING = {"accuracy": "accuracy", "AUC_PRC": auc_prc_scorer}


def naive_front(sizes, scores):
    points = list(zip(sizes, scores, strict=True))
    return [
        not any(s <= size and v >= score and (s < size or v > score) for s, v in points)
        for size, score in points
    ]


def test_the_front_is_that_of_the_loops_ties_included():
    rng = np.random.default_rng(0)
    for n in range(12):
        sizes, scores = rng.integers(4, size=n), rng.integers(4, size=n) / 4
        assert plotting.pareto_front(sizes, scores).tolist() == naive_front(sizes, scores)


@pytest.mark.parametrize(
    ("sizes", "scores", "front"),
    [
        ([2, 2], [0.5, 0.5], [True, True]),  # equal points
        ([2, 2], [0.5, 0.6], [False, True]),  # as small
        ([2, 3], [0.5, 0.5], [True, False]),  # as good
        ([1, 2, 3], [np.nan, 0.5, np.nan], [False, True, False]),  # fits that failed
    ],
)
def test_ties_and_missing_scores(sizes, scores, front):
    assert plotting.pareto_front(sizes, scores).tolist() == front


def student(teacher, **params):
    return MemKDClassifier(teacher, n_init=1, n_epochs=2, random_state=0, **params)


def weight_bytes(**params):
    return sum(p.nbytes for p in RecurrentNetwork(1, n_classes=2, **params).parameters())


def drawn(panel):
    """Points of every search by title: all of them sorted, and those on its front."""
    bars = panel.containers
    titles = panel.get_legend_handles_labels()[1]
    return {
        title: [np.vstack([b.lines[0].get_xydata() for b in pair]), pair[0].lines[0].get_xydata()]
        for title, pair in zip(titles, zip(bars[::2], bars[1::2], strict=True), strict=True)
    }


def test_scores_of_all_candidates_are_drawn_over_their_bytes(italy, teacher):
    X, y, *_ = italy
    grid = {"hidden_size": [5, 2], "n_layers": [1, 2], "cell": ["gru", "lstm"]}
    students = GridSearchCV(student(teacher), grid, cv=2, scoring=SCORING, refit="accuracy")
    one = GridSearchCV(tiny(n_epochs=2), {}, cv=2, scoring=SCORING, refit="accuracy")
    searches = {"MemKD": students.fit(X, y), "teacher": one.fit(X, y)}
    figure = plotting.plot_size_searches(searches)
    assert [panel.get_ylabel() for panel in figure.axes] == ["accuracy", "AUC PRC"]
    for panel, metric in zip(figure.axes, SCORING, strict=True):
        assert panel.get_xscale() == "log"
        shown = drawn(panel)
        for title, search in searches.items():
            results = search.cv_results_
            # Counted in networks, not by the formula that is drawn.
            sizes = [
                weight_bytes(**{"hidden_size": 12, "n_layers": 2} | p) for p in results["params"]
            ]
            points = np.column_stack([sizes, results[f"mean_test_{metric}"]])
            every, front = shown[title]
            assert np.array_equal(np.unique(every, axis=0), np.unique(points, axis=0))
            assert len(every) == len(points)
            on_front = points[naive_front(*points.T)]
            assert np.array_equal(np.unique(front, axis=0), np.unique(on_front, axis=0))
        level = [line for line in panel.lines if line.get_linestyle() == "--"]
        assert [line.get_ydata()[0] for line in level] == [
            one.cv_results_[f"mean_test_{metric}"][0]
        ]


def test_a_single_metric_and_a_pipeline(italy):
    X, y, *_ = italy
    pipeline = make_pipeline(Resizer(10), tiny(n_layers=1, n_epochs=2))
    search = GridSearchCV(pipeline, {"recurrentclassifier__hidden_size": [2, 8]}, cv=2).fit(X, y)
    (panel,) = plotting.plot_size_searches({"labels only": search}).axes
    every, _ = drawn(panel)["labels only"]
    assert sorted(every[:, 0]) == [weight_bytes(hidden_size=2), weight_bytes(hidden_size=8)]
    assert sorted(every[:, 1]) == sorted(search.cv_results_["mean_test_score"])


def test_the_last_round_of_a_halving_is_drawn(italy):
    X, y, *_ = italy
    search = HalvingGridSearchCV(
        tiny(n_layers=1, n_epochs=2), {"hidden_size": [2, 3, 4, 5]}, cv=2, random_state=0, factor=2
    ).fit(X, y)
    (panel,) = plotting.plot_size_searches({"labels only": search}).axes
    every, _ = drawn(panel)["labels only"]
    last = search.cv_results_["iter"] == search.cv_results_["iter"].max()
    assert 0 < last.sum() < len(last)
    assert sorted(every[:, 1]) == sorted(search.cv_results_["mean_test_score"][last])


@pytest.mark.parametrize("other", [{"refit": False}, {"estimator": DummyClassifier()}])
def test_what_has_no_network_is_refused(italy, other):
    search = GridSearchCV(**{"estimator": tiny(n_epochs=1), "param_grid": {}, "cv": 2} | other)
    for fitted in (search, search.fit(*italy[:2])):
        with pytest.raises(
            ValueError, match=r"(?s)Got searches\['mine'\]=.*, but expected a search"
        ):
            plotting.plot_size_searches({"mine": fitted})


def test_a_loaded_classifier_has_no_epochs_to_draw(teacher, tmp_path):
    teacher.save(tmp_path / "one.safetensors")
    loaded = RecurrentClassifier.load(tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match="Got no epochs of 'loaded', but expected"):
        plotting.plot_training_curves({"loaded": loaded.history_})
