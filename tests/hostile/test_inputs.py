"""Whatever series and labels look like: fit, predict, save, load and C agree, or one error says why."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rounds import ROUNDS

from memkd_sklearn import DistillationClassifier, RecurrentClassifier
from memkd_sklearn.deploy import CompiledStudent

QUICK = {"n_epochs": 1, "random_state": 0}
LABELS = {
    "text": np.array(["still", "in motion", "é", "falling"]),
    "integers": np.array([-3, 0, 7, 2**40]),
    "floats": np.array([-2.0, 0.0, 1.0, 1e9]),
    "booleans": np.array([False, True]),
}
LAYOUTS = {
    "as it is": lambda X: X,
    "Fortran": np.asfortranarray,
    "every other": lambda X: np.repeat(X, 2, axis=2)[:, :, ::2],
    "backwards": lambda X: X[:, :, ::-1].copy()[:, :, ::-1],
    "read-only": lambda X: np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),
    "other byte order": lambda X: X.astype(X.dtype.newbyteorder()),
}


def bounded(n_examples):
    return settings(
        max_examples=n_examples * ROUNDS,
        deadline=None,
        phases=[Phase.explicit, Phase.generate] if ROUNDS == 1 else list(Phase),
        derandomize=ROUNDS == 1,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@st.composite
def collections(draw):
    """Series as a user may have them, and labels of at least two classes."""
    n_classes = draw(st.integers(2, 3))
    kind = draw(st.sampled_from(sorted(LABELS)))
    labels = LABELS[kind][: min(n_classes, len(LABELS[kind]))]
    y = np.repeat(labels, draw(st.integers(2, 3)))
    shape = len(y), draw(st.integers(1, 3)), draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.normal(size=shape).cumsum(axis=2)
    dtype = draw(st.sampled_from(["float64", "float32", "int64", "int8"]))
    if dtype == "float64":
        X = X * 10.0 ** draw(st.integers(-150, 150)) + draw(st.sampled_from([0.0, 1.0, -1e6]))
    elif dtype == "float32":
        X = X * 10.0 ** draw(st.integers(-30, 30))
    else:
        X = np.clip(10 * X, -100, 100)
    return X.astype(dtype), y


def fitted(estimator, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few cases, of large numbers
        return estimator.fit(X, y)


def fits_float32(X):
    """Whether float32, which C reads, tells readings apart nearly as well as they differ."""
    X = X.astype(float)
    with np.errstate(over="ignore"):
        lost = np.abs(X.astype(np.float32) - X).max(axis=(0, 2))
    return bool(np.all(lost < 1e-6 * X.std(axis=(0, 2))))


def check_answers(classifier, X, y):
    proba = classifier.predict_proba(X)
    assert proba.shape == (len(X), len(np.unique(y)))
    assert np.all((proba >= 0) & (proba <= 1))
    assert np.allclose(proba.sum(axis=1), 1)
    answers = classifier.predict(X)
    assert np.array_equal(answers, classifier.classes_[proba.argmax(axis=1)])
    assert set(answers) <= set(y)
    return proba


@bounded(15)
@given(collections(), st.sampled_from(["lstm", "gru", "rnn"]), st.sampled_from(sorted(LAYOUTS)))
def test_answers_depend_on_numbers_and_not_on_their_layout(data, cell, layout):
    X, y = data
    plain = fitted(RecurrentClassifier(3, 1, cell=cell, synthetic=0, **QUICK), X, y)
    proba = check_answers(plain, X, y)
    again = fitted(
        RecurrentClassifier(3, 1, cell=cell, synthetic=0, **QUICK), LAYOUTS[layout](X), y
    )
    assert np.array_equal(again.predict_proba(LAYOUTS[layout](X)), proba)


@bounded(6)
@given(collections(), st.data())
def test_series_of_any_lengths(data, draws):
    X, y = data
    lengths = draws.draw(st.lists(st.integers(2, X.shape[2]), min_size=len(X), max_size=len(X)))
    series = [one[:, :n] for one, n in zip(X, lengths, strict=True)]
    classifier = fitted(RecurrentClassifier(3, 1, synthetic=0, **QUICK), series, y)
    together = check_answers(classifier, series, y)
    alone = np.concatenate([classifier.predict_proba([one]) for one in series])
    assert np.allclose(together, alone, atol=1e-9)


@bounded(6)
@given(collections(), st.sampled_from(["lstm", "gru", "rnn"]))
def test_what_leaves_python_answers_as_python_does(data, cell):
    X, y = data
    teacher = fitted(RecurrentClassifier(4, 1, synthetic=0, **QUICK), X, y)
    student = fitted(
        DistillationClassifier(teacher, hidden_size=2, cell=cell, synthetic=0, n_init=1, **QUICK),
        X,
        y,
    )
    proba = check_answers(student, X, y)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "student"
        student.save(file)
        loaded = DistillationClassifier.load(file)
        assert np.array_equal(loaded.predict_proba(X), proba)
        assert np.array_equal(loaded.predict(X), student.predict(X))
        loaded.save(file.with_name("again"))
        assert file.with_name("again").read_bytes() == file.read_bytes()
        if fits_float32(X):
            student.to_c(file.with_suffix(".c"))
            compiled = CompiledStudent(file.with_suffix(".c")).predict_proba(X.astype(np.float32))
            there = student.predict_proba(X.astype(np.float32).astype(np.float64))
            assert np.allclose(compiled, there, atol=1e-4)
