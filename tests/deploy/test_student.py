from dataclasses import replace

import numpy as np
import pytest
import torch

from memkd_sklearn.deploy import Calibration, calibrate


def test_config_rebuilds_the_network(trained):
    assert trained.student.config == trained.network.config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "elman"}, "cell='elman'"),
        ({"arrays": {}}, "weight_ih_l0"),
        ({"mean": np.zeros(2)}, "Got mean="),
        ({"mean": np.full(1, np.nan)}, "expected finite"),
        ({"scale": np.zeros(1)}, "expected positive"),
        ({"scale": [1.0]}, "Got scale=list"),
        ({"classes": np.array(["a", "b", "c"])}, "head"),
        ({"classes": np.array(["a", "a"])}, "each label once"),
        ({"classes": np.array([0.0, np.inf])}, "expected finite"),
        ({"classes": np.array([None, "a"], dtype=object)}, "array of text"),
        ({"calibration": Calibration(np.ones(1), ())}, "0 moments"),
    ],
)
def test_bad_fields(lstm, change, message):
    with pytest.raises(ValueError, match=message):
        replace(lstm.student, **change)


def test_bad_weights(lstm):
    arrays = lstm.student.arrays
    for name, value in [
        ("head.bias", arrays["head.bias"].astype(np.float64)),
        ("head.weight", arrays["head.weight"].T),
        ("recurrent.bias_hh_l0", np.full(32, np.inf, np.float32)),
        ("surplus", np.zeros(1, np.float32)),
    ]:
        with pytest.raises(ValueError, match=name):
            replace(lstm.student, arrays=arrays | {name: value})


def test_calibration_is_what_plain_loops_find(trained):
    student, X = trained.student, trained.X[:5]
    z = (X - student.mean[:, None]) / student.scale[:, None]
    found = calibrate(student, X)
    assert np.allclose(found.peak, np.abs(z).max(axis=(0, 2)), rtol=1e-12)
    first, last = found.moments[0], found.moments[-1]
    n = student.n_channels
    assert np.allclose(first[:n, :n], np.einsum("nit,njt->ij", z, z) / z[:, 0].size)
    assert np.isclose(first[-1, -1], 1)
    states = trained.network(torch.from_numpy(np.swapaxes(z, 1, 2).astype(np.float32)))[1]
    final = states[:, -1].detach().double().numpy()
    assert np.allclose(last[:-1, :-1], final.T @ final / len(X), atol=1e-5)
    assert np.allclose(last[:-1, -1], final.mean(axis=0), atol=1e-5)


def test_calibration_takes_series_of_any_lengths(lstm):
    series = [x[:, : 10 + i % 3] for i, x in enumerate(lstm.X[:20])]
    found = calibrate(lstm.student, series)
    again = calibrate(lstm.student, series[::-1])
    assert np.allclose(found.moments[0], again.moments[0])
    with pytest.raises(ValueError, match=r"Got a series of shape \(3, 24\)"):
        calibrate(lstm.student, np.zeros((2, 3, 24)))
