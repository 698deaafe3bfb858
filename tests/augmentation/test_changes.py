"""Each change against a plain loop over cases, channels and time points."""

import math

import numpy as np
import pytest

from memkd_sklearn.augmentation import (
    Batch,
    Beginning,
    Mixture,
    Noise,
    Offset,
    Scaling,
    TimeWarp,
    WindowSlice,
)


@pytest.fixture(params=[(20, 20, 20), (20, 7, 2), (1, 3, 5)])
def batch(request):
    lengths = np.array(request.param)
    values, partners = np.random.default_rng(0).normal(size=(2, 3, 2, lengths.max()))
    return Batch(values, lengths, partners)


def read(series, length, time):
    """A series of so many time points at a time between 0 and 1."""
    place = time * (length - 1)
    before = min(math.floor(place), max(length - 2, 0))
    after = min(before + 1, length - 1)
    return (1 - (place - before)) * series[before] + (place - before) * series[after]


def expected_at(batch, times):
    """Values of every case and channel at the times of the case."""
    return [
        [[read(channel, n, t) for t in of_case[:n]] for channel in series]
        for series, n, of_case in zip(batch.values, batch.lengths, times, strict=True)
    ]


def assert_real_parts_are(found, expected):
    assert found.values.shape == found.partners.shape
    for series, n, wanted in zip(found.values, found.lengths, expected, strict=True):
        assert np.abs(series[:, :n] - np.array(wanted)).max() < 1e-12


def test_time_warp(batch):
    rng, knots_rng = np.random.default_rng(5), np.random.default_rng(5)
    found = TimeWarp(0.4, n_knots=4)(batch, rng)
    times = []
    for knots, n in zip(0.4 * knots_rng.normal(size=(3, 4)), batch.lengths, strict=True):
        pace = [read(np.exp(knots), 4, t / max(n - 1, 1)) for t in range(n)]
        passed = [sum(pace[1 : t + 1]) for t in range(n)]
        times.append([part / max(passed[-1], 1e-9) for part in passed])
    assert_real_parts_are(found, expected_at(batch, times))
    for series, source, n in zip(found.values, batch.values, batch.lengths, strict=True):
        assert series[:, [0, n - 1]] == pytest.approx(source[:, [0, n - 1]])


def test_partners_are_bent_along(batch):
    twins = Batch(batch.values, batch.lengths, batch.values)
    for change in (TimeWarp(), WindowSlice()):
        found = change(twins, np.random.default_rng(0))
        assert np.array_equal(found.values, found.partners)


def test_window_slice(batch):
    found = WindowSlice(0.5)(batch, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    kept = rng.uniform(0.5, 1, size=3)
    first = rng.uniform(size=3) * (1 - kept)
    times = [
        [first[i] + kept[i] * t / max(n - 1, 1) for t in range(n)]
        for i, n in enumerate(batch.lengths)
    ]
    assert_real_parts_are(found, expected_at(batch, times))


def test_a_mixture_lies_between_its_series(batch):
    found = Mixture(1.0)(batch, np.random.default_rng(0))
    way = (found.values - batch.values) / (batch.partners - batch.values)
    assert np.ptp(way, axis=(1, 2)) == pytest.approx(0, abs=1e-9)
    assert ((way > 0) & (way < 1)).all()
    assert np.array_equal(Mixture(0.0)(batch, np.random.default_rng(0)).values, batch.values)


def test_as_many_are_mixed_as_asked_for():
    values = np.zeros((2000, 1, 1))
    batch = Batch(values, np.ones(2000, int), values + 1)
    found = Mixture(0.6)(batch, np.random.default_rng(0)).values
    assert np.mean(found > 0) == pytest.approx(0.6, abs=0.05)
    assert found[found > 0].mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("change", "varies"),
    [(Scaling(0.3), (0,)), (Offset(0.3), (0, 1)), (Noise(0.3), (0, 1, 2))],
)
def test_what_else_is_drawn_has_the_strength_asked_for(change, varies):
    values = np.ones((50, 20, 20))
    found = change(Batch(values, np.full(50, 20), values), np.random.default_rng(0)).values
    drawn = np.log(found) if isinstance(change, Scaling) else found - 1
    same = tuple(axis for axis in range(3) if axis not in varies)
    assert np.ptp(drawn, axis=same) == pytest.approx(0, abs=1e-12)
    assert drawn.std() == pytest.approx(0.3, rel=0.25)
    assert abs(drawn.mean()) < 0.15


def test_beginnings_are_as_long_as_asked_for():
    lengths = np.tile([40, 100], 2000)
    batch = Batch(np.zeros((4000, 1, 100)), lengths, np.zeros((4000, 1, 100)))
    found = Beginning(0.5, 0.2)(batch, np.random.default_rng(6))
    assert found.values is batch.values
    kept = found.lengths / lengths
    is_cut = kept < 1
    assert abs(is_cut.mean() - 0.5) < 0.03
    assert kept.min() >= 0.2 - 0.5 / 40
    assert np.allclose(np.quantile(kept[is_cut], [0.25, 0.5, 0.75]), [0.4, 0.6, 0.8], atol=0.04)
    assert np.array_equal(batch.lengths, lengths)


def test_of_the_shortest_series_two_time_points_stay():
    batch = Batch(np.zeros((50, 1, 3)), np.repeat([2, 3], 25), np.zeros((50, 1, 3)))
    lengths = Beginning(1, 0)(batch, np.random.default_rng(7)).lengths
    assert set(lengths[:25]) == {2}
    assert set(lengths[25:]) == {2, 3}
