import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

from memkd_sklearn.deploy import CompiledStudent, Stream, Student, to_c

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc on this machine")


def test_float32_agrees_over_a_test_split(trained, tmp_path):
    to_c(trained.student, tmp_path / "student.c")
    found = CompiledStudent(tmp_path / "student.c").predict_proba(trained.X)
    assert np.abs(found - trained.proba(trained.X)).max() <= 5e-7


def test_memory_that_adds_up_little_by_little_loses_nothing(tmp_path):
    # Plain float32 is off by 2e-6: the same part is rounded off at every one of 5,000 steps.
    enter, keep, candidate, out = -6.1, 6.0, 1.0, 2.0
    arrays = {
        "recurrent.weight_ih_l0": np.zeros((4, 1)),
        "recurrent.weight_hh_l0": np.zeros((4, 1)),
        "recurrent.bias_ih_l0": np.array([enter, keep, candidate, out]),
        "recurrent.bias_hh_l0": np.zeros(4),
        "head.weight": np.array([[1.0], [-1.0]]),
        "head.bias": np.zeros(2),
    }
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    student = Student("lstm", arrays, np.zeros(1), np.ones(1), np.array(["a", "b"]))
    to_c(student, tmp_path / "student.c")
    found = CompiledStudent(tmp_path / "student.c").predict_proba(np.zeros((1, 1, 5000)))

    def sigmoid(value):
        return 1 / (1 + np.exp(-value))

    enter = float(np.float32(enter))
    memory = 0.0
    for _ in range(5000):
        memory = sigmoid(keep) * memory + sigmoid(enter) * np.tanh(candidate)
    state = sigmoid(out) * np.tanh(memory)
    assert np.abs(found[0, 0] - sigmoid(2 * state)) <= 1e-7


@pytest.mark.parametrize("of_inputs", [True, False])
def test_sums_that_cancel_lose_nothing(tmp_path, of_inputs):
    # Plain float32 rounds off up to 2e-5 of products as large as these.
    cancelling = np.array([1000.3, -1000.1], np.float32)
    arrays = {
        "recurrent.weight_ih_l0": np.zeros((3, 2)),
        "recurrent.weight_hh_l0": np.zeros((3, 3)),
        "recurrent.bias_ih_l0": np.array([1.0, 1.0, 0.0]),
        "recurrent.bias_hh_l0": np.zeros(3),
        "head.weight": np.array([[0.0, 0.0, 4.0], [0.0, 0.0, 0.0]]),
        "head.bias": np.zeros(2),
    }
    arrays["recurrent.weight_ih_l0" if of_inputs else "recurrent.weight_hh_l0"][2, :2] = cancelling
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    student = Student("rnn", arrays, np.full(2, 0.3), np.full(2, 1.1), np.array(["a", "b"]))
    to_c(student, tmp_path / "student.c")
    X = np.float32([0.7, 0.9, 1.1, 1.3])[:, None, None] * np.ones((4, 2, 3), np.float32)
    expected = []
    for series in X:
        stream = Stream(student)
        expected.append([stream.update(x_t) for x_t in series.T][-1])
    found = CompiledStudent(tmp_path / "student.c").predict_proba(X)
    assert np.abs(found - expected).max() <= 3e-7


def test_int8_gives_the_same_labels_over_a_test_split(trained, tmp_path):
    to_c(trained.student, tmp_path / "student.c", dtype="int8")
    compiled = CompiledStudent(tmp_path / "student.c")
    expected = trained.student.classes[trained.proba(trained.X).argmax(axis=1)]
    found = compiled.predict(trained.X)
    assert (found == expected).mean() >= 0.99
    assert abs((found == trained.y).mean() - (expected == trained.y).mean()) <= 0.01


def test_series_of_any_lengths(lstm, tmp_path):
    to_c(lstm.student, tmp_path / "student.c")
    compiled = CompiledStudent(tmp_path / "student.c")
    found = compiled.predict_proba([lstm.X[0], lstm.X[1][:, :9]])
    assert np.allclose(found[1], lstm.proba(lstm.X[1:2, :, :9])[0], atol=5e-7)


@pytest.mark.parametrize("shape", [(2, 2, 24), (2, 1, 0), (2, 24)])
def test_bad_series(lstm, tmp_path, shape):
    to_c(lstm.student, tmp_path / "student.c")
    with pytest.raises(ValueError, match=r"expected \(1, n_timepoints\)"):
        CompiledStudent(tmp_path / "student.c").predict_proba(np.zeros(shape))


def test_other_files_are_not_compiled(tmp_path):
    (tmp_path / "x.c").write_text("int x_predict(const void *);")
    with pytest.raises(ValueError, match="expected a C file that to_c wrote"):
        CompiledStudent(tmp_path / "x.c")
    os.mkfifo(tmp_path / "pipe.c")
    with pytest.raises(ValueError, match=r"pipe.c', a device or a pipe, but expected a file"):
        CompiledStudent(tmp_path / "pipe.c")


def test_what_the_compiler_says_is_shown(lstm, tmp_path):
    to_c(lstm.student, tmp_path / "student.c")
    with open(tmp_path / "student.c", "a") as file:
        file.write("this is no C\n")
    with pytest.raises(RuntimeError, match="error"):
        CompiledStudent(tmp_path / "student.c")


@pytest.mark.parametrize("name", ["driver.c", 'q"x.c', "new\nline.c"])
def test_a_file_of_any_name(lstm, tmp_path, name):
    to_c(lstm.student, tmp_path / name)
    student = CompiledStudent(tmp_path / name)
    again = pickle.loads(pickle.dumps(student))
    assert np.array_equal(again.predict_proba(lstm.X[:3]), student.predict_proba(lstm.X[:3]))


@pytest.mark.parametrize("cc", ["no-such-compiler -O2", "/nowhere/cc"])
def test_a_compiler_that_is_not_there(lstm, tmp_path, monkeypatch, cc):
    to_c(lstm.student, tmp_path / "student.c")
    monkeypatch.setenv("CC", cc)
    with pytest.raises(RuntimeError, match=f"Got CC='{cc}', but expected a compiler"):
        CompiledStudent(tmp_path / "student.c")
    monkeypatch.setenv("CC", " ")
    assert CompiledStudent(tmp_path / "student.c").labels


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++ on this machine")
def test_a_compiler_of_cplusplus(lstm, tmp_path, monkeypatch):
    to_c(lstm.student, tmp_path / "student.c")
    expected = CompiledStudent(tmp_path / "student.c").predict_proba(lstm.X[:3])
    monkeypatch.setenv("CC", "g++")
    assert np.array_equal(
        CompiledStudent(tmp_path / "student.c").predict_proba(lstm.X[:3]), expected
    )


def test_labels_that_look_like_code(lstm, tmp_path):
    labels = np.array(["student_quantise(", "int x_predict(const"])
    to_c(replace(lstm.student, classes=labels), tmp_path / "student.c")
    compiled = CompiledStudent(tmp_path / "student.c")
    assert np.abs(compiled.predict_proba(lstm.X[:9]) - lstm.proba(lstm.X[:9])).max() <= 5e-7


def test_no_compiler(lstm, tmp_path, monkeypatch):
    to_c(lstm.student, tmp_path / "student.c")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(RuntimeError, match="Got no C compiler"):
        CompiledStudent(tmp_path / "student.c")
