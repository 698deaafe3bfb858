from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone

from memkd_sklearn import MemKDClassifier, RecurrentClassifier
from memkd_sklearn.augmentation import (
    Augmenter,
    Beginning,
    Change,
    Mixture,
    Noise,
    Offset,
    Scaling,
    TimeWarp,
    WindowSlice,
    augmenter_of,
)

ALL = [Mixture(), TimeWarp(), WindowSlice(), Scaling(), Offset(), Noise()]


def data(n_cases=12, n_channels=2, lengths=(30,), seed=0):
    rng = np.random.default_rng(seed)
    series = [5 + rng.normal(size=(n_channels, lengths[i % len(lengths)])) for i in range(n_cases)]
    return (np.stack(series) if len(lengths) == 1 else series), np.arange(n_cases) % 3


@pytest.mark.parametrize("lengths", [(30,), (7, 20, 2), (1, 9)])
@pytest.mark.parametrize("changes", [None, [], ALL])
def test_series_have_their_sources_form_and_are_finite(changes, lengths):
    X, y = data(lengths=lengths)
    made, labels = Augmenter(changes, 50, random_state=0).make(X, y)
    assert type(made) is type(X)
    assert len(made) == len(labels) == 50
    assert {one.shape for one in made} == {one.shape for one in X}
    assert all(np.isfinite(one).all() and one.dtype == np.float64 for one in made)


def test_without_changes_all_cases_come_back_in_turns():
    X, y = data()
    made, labels = Augmenter([], 2 * len(X) + 5, random_state=1).make(X, y)
    nearest = np.array([np.abs(X - one).max(axis=(1, 2)).argmin() for one in made])
    assert np.abs(made - X[nearest]).max() < 1e-12
    assert np.array_equal(labels, y[nearest])
    for turn in (nearest[:12], nearest[12:24]):
        assert sorted(turn) == list(range(12))
    assert len(set(nearest[24:])) == 5


@pytest.mark.parametrize("labels", [[-1, 1], [True, False], ["one", "b"], [0.5, 2.5]])
def test_labels_of_any_type_stay_as_frequent_as_they_are(labels):
    X, _ = data(n_cases=20)
    y = np.array(labels)[np.repeat([0, 1], [15, 5])]
    _, found = Augmenter(n_cases=40, random_state=0).make(X, y)
    assert found.dtype == y.dtype
    assert (found == y[0]).sum() == 30
    assert (found == y[-1]).sum() == 10


def test_mixtures_are_of_one_class():
    # Two classes far apart: no series in between.
    X = np.concatenate([np.zeros((6, 1, 10)), np.full((6, 1, 10), 100.0)])
    X += np.random.default_rng(0).normal(size=X.shape)
    y = np.repeat(["a", "b"], 6)
    made, labels = Augmenter([Mixture(1.0), TimeWarp()], 200, random_state=0).make(X, y)
    assert np.array_equal(made.mean(axis=(1, 2)) > 50, labels == "b")
    distance = np.abs(made[:, np.newaxis] - X).max(axis=(2, 3)).min(axis=1)
    assert np.mean(distance > 1e-6) > 0.9  # and few are copies


def test_a_class_of_one_case_is_bent_but_not_mixed():
    X, _ = data(n_cases=4)
    y = np.array([0, 0, 0, 1])
    made, labels = Augmenter([Mixture(1.0)], 20, random_state=0).make(X, y)
    assert np.abs(made[labels == 1] - X[3]).max() < 1e-12
    bent, labels = Augmenter([TimeWarp()], 20, random_state=0).make(X, y)
    assert (np.abs(bent[labels == 1] - X[3]).max(axis=(1, 2)) > 1e-3).all()


def test_a_constant_channel_stays_as_it_is():
    X, y = data()
    X[:, 1] = 3.3
    made, _ = Augmenter(ALL, 30, random_state=0).make(X, y)
    assert np.abs(made[:, 1] - 3.3).max() < 1e-12
    assert made[:, 0].std() > 0.1
    assert np.isfinite(Augmenter(ALL, 9).make(np.zeros((4, 1, 8)), np.array([0, 0, 1, 1]))[0]).all()


@pytest.mark.parametrize("lengths", [(30,), (7, 20)])
def test_missing_readings_count_as_the_mean(lengths):
    X, y = data(lengths=lengths)
    for series in X:
        series[0, ::3] = np.nan
    made, _ = Augmenter(ALL, 30, random_state=0).make(X, y)
    assert all(np.isfinite(one).all() for one in made)
    assert np.mean([one[0].mean() for one in made]) == pytest.approx(5, abs=0.3)


def test_strengths_are_in_units_of_each_channel():
    X, y = data(n_cases=40, lengths=(50,))
    X[:, 1] *= 1000
    made, _ = Augmenter([Noise(0.02)], 40, random_state=0).make(X, y)
    order = np.array([np.abs(X - one).max(axis=2).sum(axis=1).argmin() for one in made])
    noise = (made - X[order]).std(axis=(0, 2))
    assert noise == pytest.approx(0.02 * X.std(axis=(0, 2)), rel=0.05)


def test_the_same_seed_makes_the_same():
    X, y = data(lengths=(7, 20, 2))
    first, again, other = (
        Augmenter(n_cases=30, random_state=seed).make(X, y)[0] for seed in (3, 3, 4)
    )
    assert all(map(np.array_equal, first, again))
    assert not any(map(np.array_equal, first, other))


def test_series_are_changed_in_parts_of_bounded_size(monkeypatch):
    class Count(Change):
        sizes = []

        def __call__(self, batch, rng):
            self.sizes.append(batch.values.size)
            return batch

    X, y = data(lengths=(7, 20, 2))
    monkeypatch.setattr("memkd_sklearn.augmentation.augmenter.PART", 200)
    whole = Augmenter([], n_cases=30, random_state=3).make(X, y)
    parts = Augmenter([Count()], n_cases=30, random_state=3).make(X, y)
    assert max(Count.sizes) <= 200
    assert len(Count.sizes) == 6
    assert all(map(np.array_equal, whole[0], parts[0]))
    assert np.array_equal(whole[1], parts[1])


def test_auto_fills_up_to_6000():
    X, y = data(n_cases=20, n_channels=1, lengths=(3,))
    assert len(Augmenter().make(X, y)[0]) == 5980
    X, y = np.repeat(X, 300, axis=0), np.repeat(y, 300)
    assert Augmenter().make(X, y)[0].shape == (0, 1, 3)
    assert Augmenter(n_cases=0).make([X[0], X[0, :, :2]], y[:2])[0] == []


@pytest.mark.parametrize("synthetic", ["auto", Augmenter([Mixture()])])
def test_a_network_says_how_many_auto_stands_for(synthetic):
    X, y = data()
    assert len(augmenter_of(synthetic, seed=0, n_auto=7).make(X, y)[0]) == 7
    assert len(augmenter_of(3, seed=0, n_auto=7).make(X, y)[0]) == 3


def test_one_more_change_of_ones_own():
    class Flip(Change):
        def __call__(self, batch, rng):
            return replace(batch, values=-batch.values)

    X, y = data()
    made, _ = clone(Augmenter([Flip()], 12, random_state=0)).make(X, y)
    mean = X.mean(axis=(0, 2))[:, np.newaxis]
    expected = 2 * mean - X
    assert np.abs(np.sort(made, axis=0) - np.sort(expected, axis=0)).max() < 1e-9


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"n_cases": -1}, ValueError),
        ({"n_cases": "many"}, TypeError),
        ({"changes": [Mixture]}, TypeError),
        ({"changes": ["warp"]}, TypeError),
        ({"changes": [Mixture(1.1)]}, ValueError),
        ({"changes": [TimeWarp(n_knots=1)]}, ValueError),
        ({"changes": [WindowSlice(0)]}, ValueError),
        ({"changes": [Beginning(2)]}, ValueError),
        ({"changes": [Beginning(smallest=-0.1)]}, ValueError),
        ({"changes": [Noise(-1)]}, ValueError),
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong, error):
    with pytest.raises(error, match=r"Got .* but expected"):
        Augmenter(**wrong).make(*data())


@pytest.mark.parametrize("n_labels", [0, 5])
def test_every_series_needs_a_label(n_labels):
    X, y = data()
    with pytest.raises(ValueError, match=rf"Got {len(X)} series and {n_labels} labels"):
        Augmenter(n_cases=3).make(X, y[:n_labels])


def test_parameters_are_scikit_learns():
    augmenter = Augmenter([TimeWarp(0.5)], 3)
    assert augmenter.get_params(deep=False).keys() == {"changes", "n_cases", "random_state"}
    assert repr(TimeWarp(0.5)) == "TimeWarp(strength=0.5)"
    with pytest.raises(NotImplementedError, match="does not define __call__"):
        Augmenter([Change()]).make(*data())


@pytest.mark.parametrize("lengths", [(30,), (30, 25, 12)])
def test_a_cut_series_is_the_beginning_of_its_source(lengths):
    X, y = data(lengths=lengths)
    made, labels = Augmenter([Beginning()], 60, random_state=0).make(X, y)
    assert isinstance(made, list)
    assert len({one.shape[1] for one in made}) > 5
    for one, label in zip(made, labels, strict=True):
        n = one.shape[1]
        assert any(
            np.allclose(one, X[case][:, :n], atol=1e-12) for case in np.flatnonzero(y == label)
        )


def test_students_of_beginnings_know_earlier(italy, teacher):
    X, y = italy[:2]
    early = Augmenter([Noise(), Beginning()], 60)
    params = {"n_epochs": 60, "n_init": 1, "random_state": 0}
    of_whole, of_beginnings = (
        RecurrentClassifier(6, 1, "gru", synthetic=made, **params).fit(X, y) for made in (60, early)
    )
    halves = X[:, :, :12]
    assert of_beginnings.score(halves, y) > of_whole.score(halves, y)
    taught = MemKDClassifier(teacher, synthetic=early, **params).fit(X, y)
    assert "train_short" in taught.history_[0]
