import numpy as np
import pytest

from memkd_sklearn.augmentation import mixtures as module
from memkd_sklearn.augmentation.mixtures import mixtures


@pytest.mark.parametrize("lengths", [[30, 30], [7, 20, 1], [12]])
def test_each_is_as_long_as_one_of_the_series(lengths):
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(3, length)) for length in lengths]
    found = mixtures(series, 40, rng)
    assert len(found) == 40
    assert {mixture.shape for mixture in found} == {(3, length) for length in lengths}
    assert all(np.isfinite(mixture).all() for mixture in found)


def test_the_same_seed_draws_the_same():
    series = list(np.random.default_rng(0).normal(size=(5, 2, 30)))
    drawn = [mixtures(series, 9, np.random.default_rng(3)) for _ in range(2)]
    assert np.array_equal(*drawn)
    assert len(np.unique(drawn[0])) == np.size(drawn[0])


def test_a_mixture_lies_between_its_series_and_keeps_their_ends(monkeypatch):
    for name in ("SHIFT", "GAIN", "NOISE"):
        monkeypatch.setattr(module, name, 0.0)
    ramp = np.linspace(0, 1, 50)[None]
    for mixture in mixtures([ramp, 3 + ramp], 50, np.random.default_rng(0)):
        assert (np.diff(mixture) >= 0).all()
        assert -1e-12 <= mixture.min() < mixture.max() <= 4 + 1e-12
        assert mixture[0, -1] - mixture[0, 0] == pytest.approx(1)
