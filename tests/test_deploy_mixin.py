"""Fitted classifiers out of Python and back, through the estimators' own methods."""

import copy
import pickle
import threading

import joblib
import numpy as np
import pytest
import torch
from conftest import tiny
from sklearn.exceptions import NotFittedError

from memkd_sklearn import DistillationClassifier, MemKDClassifier, RecurrentClassifier, deploy
from memkd_sklearn.deploy import BundleError, CompiledStudent
from memkd_sklearn.losses import SoftTargets


@pytest.fixture(scope="module", params=["lstm", "gru", "rnn"])
def student(request, teacher, italy):
    params = {"n_epochs": 60, "learning_rate": 0.01, "synthetic": 0, "random_state": 0}
    return MemKDClassifier(teacher, cell=request.param, **params).fit(*italy[:2])


@pytest.fixture(scope="module")
def deep(motions):
    return RecurrentClassifier(
        6, 2, n_epochs=20, learning_rate=0.01, synthetic=0, random_state=0
    ).fit(*motions[:2])


def test_a_loaded_student_predicts_the_same_bits(student, italy, tmp_path):
    path = tmp_path / "student.safetensors"
    student.save(path)
    assert path.stat().st_size < 6000
    loaded = MemKDClassifier.load(path)
    assert np.array_equal(loaded.predict_proba(italy[2]), student.predict_proba(italy[2]))
    assert np.array_equal(loaded.hidden_states(italy[2]), student.hidden_states(italy[2]))
    assert np.array_equal(loaded.predict(italy[2]), student.predict(italy[2]))
    assert loaded.teacher is None
    assert loaded.teacher_ is None
    assert loaded.footprint_.parameters == student.footprint_.parameters
    assert loaded.get_params()["short_weight"] == student.short_weight
    again = tmp_path / "again.safetensors"
    loaded.save(again)
    assert np.array_equal(MemKDClassifier.load(again).predict(italy[2]), student.predict(italy[2]))
    assert pickle.loads(pickle.dumps(loaded)).score(italy[2], italy[3]) == student.score(*italy[2:])


def test_every_class_is_saved_and_loaded(teacher, italy, deep, motions, tmp_path):
    X, y = italy[:2]
    soft = DistillationClassifier(teacher, SoftTargets(), 3, n_epochs=2, random_state=0).fit(X, y)
    for classifier, data in ((soft, X), (teacher, X), (deep, motions[2])):
        classifier.save(tmp_path / "file")
        loaded = type(classifier).load(tmp_path / "file")
        assert np.array_equal(loaded.predict_proba(data), classifier.predict_proba(data))


@pytest.mark.parametrize(
    "labels",
    [["no", 'a "yes"\\'], [False, True], [-3, 7], [0.0, 1.0]],
    ids=["str", "bool", "int", "float"],
)
def test_labels_come_back_with_their_type(italy, labels, tmp_path):
    y = np.array(labels)[(italy[1] == "2").astype(int)]
    classifier = RecurrentClassifier(2, 1, n_epochs=1, random_state=0).fit(italy[0], y)
    classifier.save(tmp_path / "file")
    loaded = RecurrentClassifier.load(tmp_path / "file")
    assert loaded.classes_.dtype == classifier.classes_.dtype
    assert np.array_equal(loaded.predict(italy[2]), classifier.predict(italy[2]))


def test_a_file_of_another_class_or_with_foreign_parameters_is_refused(
    student, italy, tmp_path, monkeypatch
):
    student.save(tmp_path / "file")
    with pytest.raises(BundleError, match="of a MemKDClassifier, but expected one of a Recurrent"):
        RecurrentClassifier.load(tmp_path / "file")
    monkeypatch.setattr(
        MemKDClassifier, "get_params", lambda self, deep: {"spam": 1, "random_state": 0}
    )
    student.save(tmp_path / "file")
    with pytest.raises(BundleError, match="with parameters that MemKDClassifier does not take"):
        MemKDClassifier.load(tmp_path / "file")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hidden_size": 10**9}, "Got hidden_size=1000000000, but expected one of 2"),
        ({"n_layers": -3}, "Got n_layers=-3, but expected one of 1"),
        ({"cell": "bogus"}, "Got cell='bogus', but expected one of 'lstm'"),
        ({"n_jobs": "all"}, "Got n_jobs='all', but expected an integer"),
        ({"n_jobs": 3 * 10**9}, "Got n_jobs=3000000000, but expected an integer and at most 4096"),
    ],
)
def test_parameters_that_contradict_the_weights_are_refused(italy, tmp_path, params, message):
    classifier = RecurrentClassifier(2, 1, n_epochs=1, random_state=0).fit(*italy[:2])
    own = classifier.get_params() | params
    del own["callbacks"]  # which no file has
    deploy.save(tmp_path / "file", classifier._as_student(), "RecurrentClassifier", own)
    with pytest.raises(BundleError, match=message):
        RecurrentClassifier.load(tmp_path / "file")


def test_what_was_fitted_is_saved_whatever_was_set_since(italy, tmp_path):
    classifier = RecurrentClassifier(2, 1, n_epochs=1, random_state=0).fit(*italy[:2])
    proba = classifier.predict_proba(italy[2])
    classifier.set_params(hidden_size=5, cell="gru").save(tmp_path / "file")
    loaded = RecurrentClassifier.load(tmp_path / "file")
    assert (loaded.hidden_size, loaded.cell) == (2, "lstm")
    assert np.array_equal(loaded.predict_proba(italy[2]), proba)


def test_numbers_from_a_parameter_grid_can_be_saved(italy, tmp_path):
    one, two, rate = *np.array([1, 2]), np.array([0.01])[0]
    classifier = RecurrentClassifier(
        two, one, n_epochs=one, batch_size=two, learning_rate=rate, random_state=one
    )
    classifier.fit(*italy[:2]).save(tmp_path / "file")
    assert RecurrentClassifier.load(tmp_path / "file").get_params() == classifier.get_params()


@pytest.mark.parametrize("labels", [["1", "2"], [3, 5], [1.0, 2.0], [False, True]], ids=str)
def test_weights_of_classes_come_back_by_label(italy, labels, tmp_path):
    y = np.array(labels)[(italy[1] == "2").astype(int)]
    weights = dict(zip(np.array(labels), np.array([2.0, 0.5]), strict=True))
    classifier = RecurrentClassifier(2, 1, n_epochs=1, class_weight=weights).fit(italy[0], y)
    classifier.save(tmp_path / "file")
    assert RecurrentClassifier.load(tmp_path / "file").class_weight == weights


@pytest.mark.parametrize("device", [None, "cpu", torch.device("cpu")])
def test_any_device_can_be_saved(italy, tmp_path, device):
    classifier = RecurrentClassifier(2, 1, n_epochs=1, device=device, random_state=0)
    classifier.fit(*italy[:2]).save(tmp_path / "file")
    assert RecurrentClassifier.load(tmp_path / "file").device == (device and "cpu")


def test_a_random_state_object_does_not_keep_a_student_from_being_saved(italy, tmp_path):
    rng = np.random.RandomState(0)
    classifier = RecurrentClassifier(2, 1, n_epochs=1, random_state=rng).fit(*italy[:2])
    classifier.save(tmp_path / "file")
    assert RecurrentClassifier.load(tmp_path / "file").random_state is None


def test_a_stream_ends_where_predict_proba_is(student, deep, italy, motions):
    # A plain RNN has no gate to damp rounding errors.
    plain = RecurrentClassifier(
        8, 1, "rnn", n_epochs=50, learning_rate=0.03, synthetic=0, random_state=0
    )
    plain.fit(*italy[:2])
    for classifier, X in ((student, italy[2]), (plain, italy[2]), (deep, motions[2])):
        stream = classifier.stream()
        for series, proba in zip(X, classifier.predict_proba(X), strict=True):
            for x_t in series.T:
                last = stream.update(x_t)
            assert np.abs(last - proba).max() < 1e-6
            stream.reset()


def test_streams_of_one_student_are_independent_in_threads(student, italy):
    X, results = italy[2][:8], {}

    def read(case):
        stream = student.stream()
        for x_t in X[case].T:
            results[case] = stream.update(x_t)

    threads = [threading.Thread(target=read, args=(case,)) for case in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = student.predict_proba(X)
    assert np.allclose([results[case] for case in range(8)], expected, atol=1e-5)


def test_onnx_agrees_on_a_whole_test_split(student, deep, italy, motions, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    for classifier, X in ((student, italy[2]), (deep, motions[2])):
        classifier.to_onnx(tmp_path / "model.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
        (proba,) = session.run(None, {"x": X.astype(np.float32)})
        assert np.abs(proba - classifier.predict_proba(X)).max() < 1e-5


def test_c_agrees_on_a_whole_test_split(student, deep, italy, motions, tmp_path):
    for classifier, X in ((student, italy[2]), (deep, motions[2])):
        X = X.astype(np.float32)  # as C reads it
        expected = classifier.predict_proba(X)
        classifier.to_c(tmp_path / "student.c")
        compiled = CompiledStudent(tmp_path / "student.c")
        assert np.abs(compiled.predict_proba(X) - expected).max() < 1e-6
        assert compiled.labels == [str(label) for label in classifier.classes_]
        classifier.to_c(tmp_path / "small.c", dtype="int8", name="small")
        labels = CompiledStudent(tmp_path / "small.c").predict(X)
        assert np.mean(labels == classifier.predict(X).astype(str)) >= 0.99


def test_a_loaded_student_gives_the_same_c(student, tmp_path):
    student.save(tmp_path / "file")
    for dtype in ("float32", "int8"):
        student.to_c(tmp_path / "a.c", dtype=dtype, name="one")
        MemKDClassifier.load(tmp_path / "file").to_c(tmp_path / "b.c", dtype=dtype, name="one")
        assert (tmp_path / "a.c").read_bytes() == (tmp_path / "b.c").read_bytes()


def test_leaving_changes_nothing_that_a_cache_would_see(student, tmp_path):
    before = joblib.hash(student)
    student.save(tmp_path / "file")
    student.to_c(tmp_path / "int8.c", dtype="int8")
    assert joblib.hash(student) == joblib.hash(copy.deepcopy(student)) == before


def test_a_teacher_of_203_002_parameters_in_int8(italy, tmp_path):
    teacher = RecurrentClassifier(n_epochs=10, random_state=0).fit(*italy[:2])
    assert teacher.footprint_.parameters == 203_002
    teacher.to_c(tmp_path / "teacher.c", dtype="int8")
    labels = CompiledStudent(tmp_path / "teacher.c").predict(italy[2])
    assert np.mean(labels == teacher.predict(italy[2])) >= 0.99


def test_unfitted_classifiers_leave_nothing(tmp_path):
    for leave in (
        lambda c: c.save(tmp_path / "file"),
        lambda c: c.to_onnx(tmp_path / "file"),
        lambda c: c.to_c(tmp_path / "file"),
        lambda c: c.stream(),
    ):
        with pytest.raises(NotFittedError):
            leave(tiny())
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_path_leaves_the_system_s_error(student, tmp_path):
    with pytest.raises(OSError):
        student.save(tmp_path / "no" / "such" / "folder")
