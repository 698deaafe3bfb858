"""Scores, and the comparison that the demo prints."""

import itertools
import math

import numpy as np
import pytest
from aeon.datasets import save_to_ts_file
from aeon.transformations.collection.unequal_length import Resizer
from conftest import tiny
from oracles import naive_average_precision
from sklearn.metrics import average_precision_score

from memkd_sklearn import MemKDClassifier
from memkd_sklearn.benchmark import (
    auc_prc,
    auc_prc_scorer,
    compare,
    format_table,
    holm_wilcoxon,
    load_split,
    summarise,
)
from memkd_sklearn.benchmark.comparison import label_only_twin
from memkd_sklearn.benchmark.datasets import shorten


def test_auc_prc_equals_the_loops_and_scikit_learn():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=50)
    proba = rng.dirichlet(np.ones(3), size=50)
    expected = np.mean([naive_average_precision(y == c, proba[:, c]) for c in range(3)])
    assert auc_prc(y, proba, [0, 1, 2]) == pytest.approx(expected)
    assert auc_prc(y, proba, [0, 1, 2]) == pytest.approx(average_precision_score(y, proba))


def test_auc_prc_of_two_classes_is_the_mean_of_both():
    rng = np.random.default_rng(0)
    y = rng.choice(["a", "b"], size=30)
    proba = rng.dirichlet(np.ones(2), size=30)
    expected = np.mean([naive_average_precision(y == c, proba[:, i]) for i, c in enumerate("ab")])
    assert auc_prc(y, proba, ["a", "b"]) == pytest.approx(expected)


def test_the_scorer_knows_which_column_is_which_class(gunpoint, teacher, italy):
    for classifier, (*_, X, y) in (
        (teacher, italy),
        (tiny(n_epochs=2).fit(*gunpoint[:2]), gunpoint),
    ):
        proba = classifier.predict_proba(X)
        parts = [
            naive_average_precision(y == c, proba[:, i]) for i, c in enumerate(classifier.classes_)
        ]
        assert auc_prc_scorer(classifier, X, y) == pytest.approx(np.mean(parts))
        assert abs(parts[0] - parts[1]) > 1e-4  # or one column would do


def test_auc_prc_leaves_out_classes_that_do_not_occur():
    proba = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    assert auc_prc(["a", "b"], proba, ["a", "b", "c"]) == 1.0


def test_a_class_that_was_never_seen_counts_as_given_no_probability():
    y, proba = ["a", "b", "a", "z"], np.array([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2], [0.1, 0.9]])
    known = [average_precision_score(np.array(y) == c, proba[:, i]) for i, c in enumerate("ab")]
    assert auc_prc(y, proba, ["a", "b"]) == pytest.approx(np.mean([*known, 1 / 4]))


def test_probabilities_of_other_cases_or_classes_are_refused():
    with pytest.raises(ValueError, match=r"Got y_proba of shape \(2, 3\), but expected \(2, 2\)"):
        auc_prc(["a", "b"], np.full((2, 3), 1 / 3), ["a", "b"])


def test_longer_series_are_resized_and_shorter_ones_are_not(tmp_path):
    rng = np.random.default_rng(0)
    for split, lengths in (("TRAIN", (8, 20, 30)), ("TEST", (30, 20, 25))):
        series = [rng.normal(size=(1, n)) for n in lengths]
        save_to_ts_file(
            series,
            np.array(["a", "b", "a"]),
            label_type="classification",
            path=str(tmp_path / "Some"),
            problem_name="Some",
            file_suffix=f"_{split}",
        )
    short, long, longer = load_split("Some", "train", tmp_path)[0]
    X, _ = load_split("Some", "train", tmp_path, resize=20)
    assert [x.shape[1] for x in X] == [8, 20, 20]
    assert np.array_equal(X[0], short)
    assert np.array_equal(X[1], long)
    assert np.allclose(X[2][0], np.interp(np.linspace(0, 29, 20), range(30), longer[0]))
    assert load_split("Some", "test", tmp_path, resize=20)[0].shape == (3, 1, 20)


def test_comparison_rows_and_table(italy):
    X, y, X_test, y_test = italy
    student = MemKDClassifier(tiny(), 3, n_epochs=2, random_state=0)
    teacher, said = tiny(n_epochs=2), []
    rows, fitted = compare(teacher, student, (X, y), (X_test, y_test), notify=said.append)
    assert not teacher.is_fitted
    assert not student.is_fitted
    assert fitted["student, MemKD"].teacher_ is fitted["teacher"]
    assert said == list(fitted)
    for row in rows:
        classifier = fitted[row["classifier"]]
        assert row["accuracy"] == pytest.approx(classifier.score(X_test, y_test))
        proba = classifier.predict_proba(X_test)
        assert row["auc_prc"] == auc_prc(y_test, proba, classifier.classes_)
        assert row["compression"] == rows[0]["parameters"] / row["parameters"]
    lines = format_table(rows).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert f"{rows[2]['auc_prc']:.3f}" in lines[3]


def test_classes_of_the_test_split_alone_are_refused_before_any_work(italy):
    X, y, X_test, y_test = italy
    y_test = np.where(y_test == y_test[0], "other", y_test)
    said = []
    with pytest.raises(ValueError, match=r"Got the classes \['other'\] in the test split alone"):
        compare(tiny(), MemKDClassifier(tiny()), (X, y), (X_test, y_test), notify=said.append)
    assert not said


def test_a_student_larger_than_its_teacher_is_not_0_times_smaller():
    row = dict.fromkeys(("accuracy", "auc_prc", "fit_seconds", "predict_microseconds"), 1.0)
    row |= {"parameters": 100, "weight_bytes": 400}
    sizes = {"teacher": 1.0, "student": 0.043, "other": 590.4}
    rows = [row | {"classifier": name, "compression": size} for name, size in sizes.items()]
    shown = [line.split()[5] for line in format_table(rows).splitlines()[1:]]
    assert shown == ["1x", "0.043x", "590x"]


def test_a_comparison_of_seeds_has_means_and_spreads(italy):
    X, y, X_test, y_test = italy
    student = MemKDClassifier(tiny(), 3, n_epochs=2, n_init=1)
    splits = (X, y), (X_test, y_test)
    rows, fitted = compare(tiny(n_epochs=2), student, *splits, seeds=[3, 5])
    assert [(row["classifier"], row["seed"]) for row in rows] == [
        ("teacher", 3),
        ("student, labels only", 3),
        ("student, MemKD", 3),
        ("student, labels only", 5),
        ("student, MemKD", 5),
    ]
    teacher = tiny(n_epochs=2, random_state=3).fit(X, y)
    for row in rows[2::2]:
        student = MemKDClassifier(teacher, 3, n_epochs=2, n_init=1, random_state=row["seed"])
        assert row["accuracy"] == pytest.approx(student.fit(X, y).score(X_test, y_test))
    assert fitted["student, MemKD"].score(X_test, y_test) == pytest.approx(rows[2]["accuracy"])
    one, two = rows[2]["auc_prc"], rows[4]["auc_prc"]
    mean, spread = (one + two) / 2, abs(one - two) / math.sqrt(2)
    assert f"{mean:.3f} ± {spread:.3f}" in format_table(rows).splitlines()[3]


class Watched(MemKDClassifier):
    """Keeps what its fits were given."""

    given = []

    def fit(self, X, y):
        self.given.append((X, y, self.unlabelled))
        return super().fit(X, y)


@pytest.mark.parametrize("kind", [np.asarray, list])
def test_students_are_given_the_labels_of_a_draw_and_the_other_series(italy, kind, monkeypatch):
    monkeypatch.setattr(Watched, "given", [])
    X, y, *test = italy
    student = Watched(tiny(), 3, n_epochs=1, n_init=1, synthetic=0)
    splits = (kind(X), y), tuple(test)
    rows, fitted = compare(tiny(n_epochs=1), student, *splits, seeds=[3, 5], n_labelled=5)
    given = Watched.given[1:]  # the first fit is for the kernels
    assert [len(labels) for _, labels, _ in given] == [5, 5]
    whole = {series.tobytes(): label for series, label in zip(X, y, strict=True)}
    for some, labels, others in given:
        assert sorted(np.unique(labels, return_counts=True)[1]) == [2, 3]
        assert [whole[series.tobytes()] for series in some] == list(labels)
        assert {series.tobytes() for series in [*some, *others]} == set(whole)
    assert not np.array_equal(given[0][0], given[1][0])
    alone = fitted["student, labels only"]
    again = label_only_twin(student.set_params(random_state=3)).fit(*given[0][:2])
    assert np.allclose(alone.predict_proba(test[0]), again.predict_proba(test[0]), atol=1e-6)
    with pytest.raises(ValueError, match="Got n_labelled=1, but expected an integer of at least 2"):
        compare(tiny(), student, *splits, n_labelled=1)


def test_load_split_ships_data_and_resizes(gunpoint, italy):
    X, y = load_split("GunPoint", "train", resize=40)
    np.testing.assert_array_equal(X, Resizer(40).fit_transform(gunpoint[0]))
    assert np.array_equal(y, gunpoint[1])
    X, y = load_split("ItalyPowerDemand", "test", resize=40)  # of 24 time points
    assert np.array_equal(X, italy[2])
    assert np.array_equal(y, italy[3])


def test_shortening_is_aeon_s_resizing_and_bridges_gaps(motions):
    X = motions[0][:5].copy()
    np.testing.assert_array_equal(shorten(X, 40), Resizer(40).fit_transform(X))
    gaps = X.copy()
    gaps[0, 1, 20:30] = gaps[1, 2] = gaps[2, :, 60:] = np.nan
    found = shorten(gaps, 40)
    bridged = X[:1].copy()
    bridged[0, 1, 19:31] = np.linspace(X[0, 1, 19], X[0, 1, 30], 12)
    np.testing.assert_allclose(found[0], Resizer(40).fit_transform(bridged)[0], atol=1e-12)
    assert np.isnan(found[1, 2]).all()
    assert not np.isnan(found[1, [0, 1, 3, 4, 5]]).any()
    np.testing.assert_array_equal(found[2], Resizer(40).fit_transform(X[2:3, :, :60])[0])


def naive_signed_rank_p_value(gaps):
    """The share of all choices of signs whose rank sum is as far from the middle."""
    order = sorted(range(len(gaps)), key=lambda i: abs(gaps[i]))
    rank = {number: place + 1 for place, number in enumerate(order)}
    middle = sum(rank.values()) / 2
    far = abs(sum(rank[i] for i, gap in enumerate(gaps) if gap > 0) - middle)
    sums = [
        sum(rank[i] for i in rank if signs[i])
        for signs in itertools.product([0, 1], repeat=len(gaps))
    ]
    return sum(abs(total - middle) >= far for total in sums) / len(sums)


def test_p_values_are_those_of_the_definitions():
    rng = np.random.default_rng(1)
    gaps = np.array([0.08, 0.05, 0.02, 0.0]) + 0.1 * rng.standard_normal((12, 4))
    scores = np.hstack([np.zeros((12, 1)), gaps])
    plain = [naive_signed_rank_p_value(column) for column in gaps.T]
    ordered, largest = sorted(plain), 0.0
    expected = {}
    for place, p in enumerate(ordered):
        largest = max(largest, min(1.0, (4 - place) * p))
        expected[p] = largest
    found = holm_wilcoxon(scores, 0)
    assert np.isnan(found[0])
    assert found[1:] == pytest.approx([expected[p] for p in plain])
    assert (found[1:] > plain).any()


def test_equal_methods_do_not_differ():
    assert holm_wilcoxon(np.tile(np.linspace(0, 1, 7)[:, None], 2), 0)[1] == 1.0


def test_a_summary_tests_against_memkd_where_there_are_enough_sets():
    rows = [
        {"data_set": f"set {i}", "method": method, "auc_prc": 0.5 + 0.01 * i + gain}
        for i in range(8)
        for method, gain in (("Base", 0.0), ("MemKD", 0.002 * (i + 1)))
    ]
    assert f"{2 / 2**8:.3f}" in summarise(rows).splitlines()[-1]
    assert "p against MemKD" not in summarise(rows[:10])
