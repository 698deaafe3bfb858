"""Score against size: the numbers that are drawn."""

import numpy as np
import pytest
from aeon.classification import DummyClassifier
from aeon.transformations.collection.unequal_length import Resizer
from conftest import tiny
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import make_pipeline

from memkd_sklearn import MemKDClassifier
from memkd_sklearn.benchmark import auc_prc_scorer
from memkd_sklearn.network import RecurrentNetwork

pytest.importorskip("matplotlib", reason="plots need the extra: memkd-sklearn[plots]")
from matplotlib.figure import Figure

from memkd_sklearn.plotting import SizeScoreDisplay, pareto_front

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
        assert pareto_front(sizes, scores).tolist() == naive_front(sizes, scores)


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
    assert pareto_front(sizes, scores).tolist() == front


def student(teacher, **params):
    return MemKDClassifier(teacher, n_init=1, n_epochs=2, synthetic=0, random_state=0, **params)


def weight_bytes(**params):
    return sum(p.nbytes for p in RecurrentNetwork(1, n_classes=2, **params).parameters())


def drawn(panel):
    """Points and bars of every search by name: all of them, and points on its front."""
    found, bars = {}, iter(panel.containers)
    for name in panel.get_legend_handles_labels()[1]:
        front, others = next(bars), next(bars)
        points = np.vstack([container.lines[0].get_xydata() for container in (front, others)])
        ends = [container.lines[2][0].get_segments() for container in (front, others)]
        ends = np.array([segment[:, 1] for segments in ends for segment in segments])
        found[name] = points, front.lines[0].get_xydata(), ends
    return found


def rows(array):
    return sorted(map(tuple, np.asarray(array).tolist()))


def test_scores_of_all_candidates_are_drawn_over_their_bytes(italy, teacher):
    X, y, *_ = italy
    grid = {"hidden_size": [5, 2], "n_layers": [1, 2], "cell": ["gru", "lstm"]}
    students = GridSearchCV(student(teacher), grid, cv=2, scoring=SCORING, refit="AUC_PRC")
    one = GridSearchCV(tiny(n_epochs=2), {}, cv=2, scoring=SCORING, refit="AUC_PRC")
    searches = {"MemKD": students.fit(X, y), "teacher": one.fit(X, y)}
    for metric, title in ((None, "AUC PRC"), ("accuracy", "accuracy")):
        panel = Figure().subplots()
        display = SizeScoreDisplay.from_searches(searches, metric=metric, ax=panel)
        assert display.ax_ is panel
        assert panel.get_title() == f"Cross-validated {title} against size"
        assert panel.get_xscale() == "log"
        assert "bytes" in panel.get_xlabel()
        shown = drawn(panel)
        for name, search in searches.items():
            results, key = search.cv_results_, metric or "AUC_PRC"
            # Counted in networks, not by the formula that is drawn.
            sizes = [
                weight_bytes(**{"hidden_size": 12, "n_layers": 2} | p) for p in results["params"]
            ]
            points = np.column_stack([sizes, results[f"mean_test_{key}"]])
            every, front, ends = shown[name]
            assert rows(every) == rows(points)
            assert rows(front) == rows(points[naive_front(*points.T)])
            folds = np.sort([results[f"split{i}_test_{key}"] for i in range(2)], axis=0).T
            assert rows(ends.round(9)) == rows(folds.round(9))
            assert ends.max() <= 1
        level = [line for line in panel.lines if len(set(line.get_ydata())) == 1]
        level = [line.get_ydata()[0] for line in level if list(line.get_xdata()) == [0, 1]]
        assert level == [one.cv_results_[f"mean_test_{key}"][0]]
        styles = [line.get_linestyle() for line in panel.lines if line.get_linestyle() != "None"]
        assert len(set(styles)) == 2  # told apart without colour


def test_a_single_metric_and_a_pipeline(italy):
    X, y, *_ = italy
    pipeline = make_pipeline(Resizer(10), tiny(n_layers=1, n_epochs=2))
    search = GridSearchCV(pipeline, {"recurrentclassifier__hidden_size": [2, 8]}, cv=2).fit(X, y)
    points = SizeScoreDisplay({"labels only": search}).points["labels only"]
    assert points["size"].tolist() == [weight_bytes(hidden_size=2), weight_bytes(hidden_size=8)]
    assert points["score"].tolist() == search.cv_results_["mean_test_score"].tolist()


def test_the_last_round_of_a_halving_is_drawn(italy):
    X, y, *_ = italy
    search = HalvingGridSearchCV(
        tiny(n_layers=1, n_epochs=2), {"hidden_size": [2, 3, 4, 5]}, cv=2, random_state=0, factor=2
    ).fit(X, y)
    points = SizeScoreDisplay({"labels only": search}).points["labels only"]
    last = search.cv_results_["iter"] == search.cv_results_["iter"].max()
    assert 0 < last.sum() < len(last)
    assert sorted(points["score"]) == sorted(search.cv_results_["mean_test_score"][last])


@pytest.mark.parametrize("other", [{"refit": False}, {"estimator": DummyClassifier()}])
def test_what_has_no_network_is_refused(italy, other):
    search = GridSearchCV(**{"estimator": tiny(n_epochs=1), "param_grid": {}, "cv": 2} | other)
    for fitted in (search, search.fit(*italy[:2])):
        with pytest.raises(
            ValueError, match=r"(?s)Got searches\['mine'\]=.*, but expected a search"
        ):
            SizeScoreDisplay({"mine": fitted})


def test_a_metric_that_was_not_asked_for(italy):
    search = GridSearchCV(tiny(n_epochs=1), {}, cv=2).fit(*italy[:2])
    with pytest.raises(ValueError, match=r"Got metric='auc', but expected one of \['score'\]"):
        SizeScoreDisplay({"mine": search}, metric="auc")
