"""A teacher, the same tiny network with and without it, and a table of what was gained."""

import time

import numpy as np
from sklearn.base import clone

from memkd_sklearn._recurrent import RecurrentClassifier
from memkd_sklearn.benchmark.metrics import auc_prc

__all__ = ["compare", "format_table", "label_only_twin"]


def label_only_twin(student):
    """The same network and training as a student's, without the teacher.

    Parameters
    ----------
    student : MemKDClassifier or DistillationClassifier
        An unfitted student.

    Returns
    -------
    twin : RecurrentClassifier
        An unfitted classifier that starts from the same weights and sees the same batches.
    """
    names = RecurrentClassifier().get_params()
    own = {k: v for k, v in student.get_params(deep=False).items() if k in names}
    return RecurrentClassifier(**own)


def compare(teacher, student, train, test, notify=lambda name: None):
    """Fit a teacher, a student from labels alone and a student of the teacher.

    Parameters
    ----------
    teacher : RecurrentClassifier
        The teacher, unfitted.
    student : MemKDClassifier
        The student; its `teacher` is replaced by the fitted one.
    train, test : tuple of (X, y)
        The splits.
    notify : callable, default: does nothing
        Called with a classifier's name before it is fitted.

    Returns
    -------
    rows : list of dict
        One a classifier: its scores on the test split, size, and times in seconds.
    fitted : dict of str to classifier
        The fitted classifiers by name.
    """
    for classifier in (teacher, student):
        classifier._check_parameters()
    rows, fitted = [], {}

    def add(name, classifier):
        notify(name)
        began = time.perf_counter()
        fitted[name] = classifier.fit(*train)
        rows.append({"classifier": name} | _measure(classifier, test, time.perf_counter() - began))

    add("teacher", clone(teacher))
    add("student, labels only", label_only_twin(student))
    add("student, MemKD", clone(student).set_params(teacher=fitted["teacher"]))
    for row in rows:
        row["compression"] = rows[0]["parameters"] / row["parameters"]
    return rows, fitted


def _measure(classifier, test, fit_seconds):
    X, y = test
    proba = classifier.predict_proba(X)  # also warms up
    took = []
    for _ in range(3):
        began = time.perf_counter()
        classifier.predict_proba(X)
        took.append(time.perf_counter() - began)
    return {
        "accuracy": float(np.mean(classifier.classes_[proba.argmax(axis=1)] == y)),
        "auc_prc": auc_prc(y, proba, classifier.classes_),
        "parameters": classifier.footprint_.parameters,
        "weight_bytes": classifier.footprint_.weight_bytes,
        "fit_seconds": fit_seconds,
        "predict_microseconds": 1e6 * min(took) / len(X),
    }


def format_table(rows):
    """Lay the rows of `compare` out as text.

    Parameters
    ----------
    rows : list of dict
        As `compare` returns them.

    Returns
    -------
    table : str
        A heading and one line a classifier.
    """
    columns = (
        ("accuracy", "accuracy", "8.3f"),
        ("AUC-PRC", "auc_prc", "7.3f"),
        ("parameters", "parameters", "10,d"),
        ("bytes", "weight_bytes", "8,d"),
        ("smaller by", "compression", "9.0fx"),
        ("fit (s)", "fit_seconds", "7.1f"),
        ("predict (us/series)", "predict_microseconds", "19.0f"),
    )
    first = max(len(row["classifier"]) for row in rows)
    widths = [len(_cell(rows[0][key], spec)) for _, key, spec in columns]
    widths = [max(w, len(title)) for w, (title, _, _) in zip(widths, columns, strict=True)]
    head = [" " * first, *(t.rjust(w) for w, (t, _, _) in zip(widths, columns, strict=True))]
    lines = [
        [
            row["classifier"].ljust(first),
            *(_cell(row[k], s).rjust(w) for w, (_, k, s) in zip(widths, columns, strict=True)),
        ]
        for row in rows
    ]
    return "\n".join("  ".join(line) for line in [head, *lines])


def _cell(value, spec):
    return f"{value:{spec.removesuffix('x')}}" + ("x" if spec.endswith("x") else "")
