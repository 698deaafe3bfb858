from dataclasses import replace

import numpy as np
import pytest

from memkd_sklearn.deploy import input_peak, quantise


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
        ({"peak": np.ones(2)}, "Got peak="),
        ({"peak": np.full(1, -1.0)}, "expected nothing negative"),
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


def test_the_peak_of_series_of_any_lengths(lstm):
    series = [x[:, : 10 + i % 3] for i, x in enumerate(lstm.X[:20])]
    found = input_peak(series, lstm.student.mean, lstm.student.scale)
    z = [(x - lstm.student.mean[:, None]) / lstm.student.scale[:, None] for x in series]
    assert np.isclose(found[0], max(np.abs(each).max() for each in z), rtol=1e-12)
    quantised = quantise(replace(lstm.student, peak=found))
    for x in series:
        assert np.abs(quantised.predict_proba(x[None]) - lstm.proba(x[None])).max() < 0.02
