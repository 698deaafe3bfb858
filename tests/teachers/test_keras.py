"""aeon's Keras classifiers as teachers; skipped where TensorFlow is not installed."""

import sys

import numpy as np
import pytest

from memkd_sklearn import DistillationClassifier, MemKDClassifier
from memkd_sklearn.losses import SoftTargets
from memkd_sklearn.teachers import read_teacher, reader_of

QUICK = {"synthetic": 0, "n_epochs": 2, "n_init": 1, "random_state": 0}


def deep(name, **params):
    pytest.importorskip("tensorflow", reason="the extra keras is not installed")
    from aeon.classification import deep_learning

    return getattr(deep_learning, name)(**{"n_epochs": 2, "random_state": 0} | params)


def maps_of(model, X):
    """The outputs of the layer before the global average pooling."""
    import keras

    pooling = next(layer for layer in model.layers if "global_average" in layer.name)
    return keras.Model(model.inputs, pooling.input).predict(X.transpose(0, 2, 1), verbose=0)


@pytest.mark.parametrize("name", ["FCNClassifier", "ResNetClassifier"])
def test_the_maps_before_the_pooling_are_read(motions, name):
    X, y = motions[:2]
    teacher = deep(name).fit(X, y)
    weights = [w.copy() for w in teacher.model_.get_weights()]
    student = MemKDClassifier(teacher, **QUICK).fit(X, y)
    trace = read_teacher(teacher, X, student.classes_, True)
    expected = maps_of(teacher.model_, X)
    # Untrained, they are large: float32 is as exact as the largest number that is summed.
    np.testing.assert_allclose(trace.states, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(np.exp(trace.log_proba), teacher.predict_proba(X), atol=1e-5)
    assert all(map(np.array_equal, weights, teacher.model_.get_weights()))


@pytest.mark.parametrize("name", ["InceptionTimeClassifier", "LITETimeClassifier"])
def test_an_ensembles_maps_are_side_by_side(italy, name):
    X, y = italy[:2]
    given = {"depth": 3} if name.startswith("Inception") else {}
    teacher = deep(name, n_classifiers=2, **given).fit(X, y)
    student = MemKDClassifier(teacher, **QUICK).fit(X, y)
    trace = read_teacher(teacher, X, student.classes_, True)
    expected = [maps_of(member.model_, X) for member in teacher.classifiers_]
    np.testing.assert_allclose(trace.states, np.concatenate(expected, axis=2), atol=1e-5)
    np.testing.assert_allclose(np.exp(trace.log_proba), teacher.predict_proba(X), atol=1e-5)


def test_strided_maps_are_interpolated(italy):
    X, y = italy[:2]
    teacher = deep("TimeCNNClassifier").fit(X, y)
    trace = read_teacher(teacher, X, np.unique(y), True)
    assert trace.states.shape[:2] == (67, 24)
    two_steps = trace.states[:, [0, -1]]
    np.testing.assert_allclose(
        trace.states[:, 12], two_steps.mean(axis=1), atol=0.05 * np.ptp(two_steps)
    )


def test_an_unfitted_one_is_fitted_inside(italy):
    X, y = italy[:2]
    teacher = deep("FCNClassifier")
    student = MemKDClassifier(teacher, **QUICK).fit(X, y)
    assert not teacher.is_fitted
    assert student.teacher_.is_fitted


def test_a_network_without_time_teaches_soft_targets(italy):
    X, y = italy[:2]
    keras = pytest.importorskip("keras", reason="the extra keras is not installed")
    teacher = deep("MLPClassifier", n_epochs=20, optimizer=keras.optimizers.Adam(0.001)).fit(X, y)
    assert teacher.score(X, y) > 0.8  # one that errs would not be copied
    with pytest.raises(ValueError, match="no layer's output has a time axis"):
        MemKDClassifier(teacher, **QUICK).fit(X, y)
    student = DistillationClassifier(teacher, SoftTargets(), **QUICK).fit(X, y)
    assert student.history_[0]["train_soft_target"] > 0


def test_the_key_follows_the_weights(italy, tmp_path):
    X, y = italy[:2]
    a, b = (deep("FCNClassifier").fit(X[::step], y[::step]) for step in (1, 2))
    assert reader_of(a).key() == reader_of(a).key() != reader_of(b).key()
    student = MemKDClassifier(a, memory=str(tmp_path), **QUICK).fit(X, y)
    again = MemKDClassifier(a, memory=str(tmp_path), **QUICK).fit(X, y)
    assert student.history_ == again.history_


def test_nobody_else_imports_tensorflow(italy, teacher):
    MemKDClassifier(teacher, **QUICK).fit(*italy[:2])
    if "tensorflow" in sys.modules:
        pytest.skip("another test has imported it")
    assert "keras" not in sys.modules
