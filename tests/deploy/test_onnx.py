import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from memkd_sklearn.deploy import to_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def test_runtime_agrees_on_a_test_split(trained, tmp_path):
    to_onnx(trained.student, tmp_path / "x.onnx")
    (found,) = session(tmp_path / "x.onnx").run(None, {"x": trained.X.astype(np.float32)})
    assert np.abs(found - trained.proba(trained.X)).max() < 1e-5


def test_batch_and_time_are_free(trained, tmp_path):
    to_onnx(trained.student, tmp_path / "x.onnx")
    runtime = session(tmp_path / "x.onnx")
    for n_cases, length in [(1, 1), (3, 7), (2, 20)]:
        X = trained.X[:n_cases, :, :length]
        (found,) = runtime.run(["probabilities"], {"x": X.astype(np.float32)})
        assert np.abs(found - trained.proba(X)).max() < 1e-5


def test_streaming_reads_a_series_in_pieces(trained, tmp_path):
    to_onnx(trained.student, tmp_path / "x.onnx", streaming=True)
    runtime = session(tmp_path / "x.onnx")
    X = trained.X[:6].astype(np.float32)
    names = [entry.name for entry in runtime.get_inputs()][1:]
    assert names == (["hidden", "memory"] if trained.student.cell == "lstm" else ["hidden"])
    state = {name: np.zeros((trained.student.n_layers, 6, 8), np.float32) for name in names}
    for piece in np.split(X, [1, 2, 9], axis=2):
        found, *after = runtime.run(
            ["probabilities", *(f"next_{name}" for name in names)], {"x": piece, **state}
        )
        state = dict(zip(names, after, strict=True))
    assert np.abs(found - trained.proba(trained.X[:6])).max() < 1e-5


def test_readings_that_are_no_numbers_count_as_the_mean(trained, tmp_path):
    to_onnx(trained.student, tmp_path / "x.onnx")
    X, spoilt = (trained.X[:20].astype(np.float32) for _ in range(2))
    X[:, :, 5] = trained.student.mean
    spoilt[:, :, 5] = np.nan
    (expected,), (found,) = (
        session(tmp_path / "x.onnx").run(None, {"x": values}) for values in (X, spoilt)
    )
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize(
    "classes", [["a", '"é\\\n'], ["\ud800", "b"], [3, 7], [False, True], [0.5, 1e300]]
)
def test_labels_are_in_the_metadata(lstm, tmp_path, classes):
    student = replace(lstm.student, classes=np.array(classes))
    to_onnx(student, tmp_path / "x.onnx")
    metadata = session(tmp_path / "x.onnx").get_modelmeta().custom_metadata_map
    found = np.array(json.loads(metadata["classes"]), dtype=metadata["classes_dtype"])
    assert found.tolist() == classes
    assert found.dtype == student.classes.dtype


def test_unwritable_paths_leave_nothing(lstm, untouchable):
    for path in untouchable:
        with pytest.raises(OSError):
            to_onnx(lstm.student, path)


def test_absent_package_names_the_extra(lstm, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install memkd_sklearn\[onnx\]"):
        to_onnx(lstm.student, tmp_path / "x.onnx")


def test_readings_that_float32_does_not_tell_apart_are_warned_of(lstm, tmp_path):
    pressure = replace(lstm.student, mean=np.full(1, 101325.0), scale=np.full(1, 1e-3))
    with pytest.warns(UserWarning, match=r"around 101325, .* 7.8 standard deviations"):
        to_onnx(pressure, tmp_path / "x.onnx")
