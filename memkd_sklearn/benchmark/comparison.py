"""A teacher, the same tiny network with and without it, and a table that compares them."""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from memkd_sklearn._recurrent import RecurrentClassifier
from memkd_sklearn._validation import check_number
from memkd_sklearn.benchmark.metrics import auc_prc
from memkd_sklearn.training.data import take

__all__ = ["compare", "format_table", "label_only_twin"]

NAMES = ("teacher", "student, labels only", "student, MemKD")


def label_only_twin(student: Any) -> RecurrentClassifier:
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


def compare(
    teacher: Any,
    student: Any,
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    seeds: Sequence[int] | None = None,
    notify: Callable[[str], object] = lambda what: None,
    *,
    n_labelled: int | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Fit a teacher, and from each seed a student from labels alone and a student of the teacher.

    The student from labels alone has all that the other has, but for the teacher. Each
    classifier is fitted for one epoch beforehand, so that no time includes compiling.

    Parameters
    ----------
    teacher : RecurrentClassifier
        The teacher, unfitted.
    student : MemKDClassifier
        The student; its `teacher` is replaced by the fitted one.
    train, test : tuple of (X, y)
        The splits.
    seeds : sequence of int or None, default=None
        Random states of the students; the teacher has the first as well. None takes all as they
        are, once.
    notify : callable, default: does nothing
        Called with a text that names the next step.
    n_labelled : int or None, default=None
        How many labels students know, of cases that each seed draws, as many of each class as
        possible. The teacher knows all, and its student learns from the others as `unlabelled`
        series. None stands for all.

    Returns
    -------
    rows : list of dict
        One of the teacher, and one a student and seed: its scores on the test split, size, and
        times in seconds.
    fitted : dict of str to classifier
        The teacher and the students of the first seed, fitted, by name.

    Raises
    ------
    TypeError, ValueError
        If a parameter of teacher or student makes no sense, the test split has classes that the
        training split lacks, or `n_labelled` leaves a class without a label or no case without
        one; before any work.
    """
    for classifier in (teacher, student):
        classifier._check_parameters()
    known = set(np.asarray(train[1]).tolist())
    if unknown := set(np.asarray(test[1]).tolist()) - known:
        raise ValueError(
            f"Got the classes {sorted(unknown, key=str)} in the test split alone, but expected "
            f"those of the training split: {sorted(known, key=str)}."
        )
    if n_labelled is not None:
        n_classes = len(np.unique(train[1]))
        check_number("n_labelled", n_labelled, low=n_classes, high=len(train[1]) - 1, integer=True)
    rows: list[dict[str, Any]] = []
    fitted: dict[str, Any] = {}

    def add(name, classifier, seed, train):
        notify(name if seed is None else f"{name}, seed {seed}")
        if name not in fitted:
            _compile_kernels(classifier, train, test)
        began = time.perf_counter()
        classifier.fit(*train)
        seconds = time.perf_counter() - began
        rows.append({"classifier": name, "seed": seed} | _measure(classifier, test, seconds))
        fitted.setdefault(name, classifier)

    for seed in [None] if seeds is None else seeds:
        own = {} if seed is None else {"random_state": int(seed)}
        if not rows:
            add(NAMES[0], clone(teacher).set_params(**own), seed, train)
        labelled, unlabelled = _draw_labelled(*train, n_labelled, seed)
        if unlabelled is not None:
            own["unlabelled"] = unlabelled
        taught = clone(student).set_params(teacher=fitted[NAMES[0]], **own)
        for name, classifier in zip(NAMES[1:], (label_only_twin(taught), taught), strict=True):
            add(name, classifier, seed, labelled)
    for row in rows:
        row["compression"] = rows[0]["parameters"] / row["parameters"]
    return rows, fitted


def _draw_labelled(X, y, n_labelled, seed):
    """Cases that keep their labels, as (X, y), and the series of the others, None of none."""
    if n_labelled is None:
        return (X, y), None
    y = np.asarray(y)
    order = check_random_state(seed).permutation(len(y))
    turns = np.empty(len(y), int)  # of each class's cases, each has its turn
    for label in np.unique(y):
        (of_class,) = np.nonzero(y[order] == label)
        turns[of_class] = np.arange(len(of_class))
    order = order[np.argsort(turns, kind="stable")]
    kept, others = np.sort(order[:n_labelled]), np.sort(order[n_labelled:])
    return (take(X, kept), y[kept]), take(X, others)


def _compile_kernels(classifier, train, test):
    """Fit a copy for an epoch, so that no fit's time includes compiling."""
    quick = clone(classifier).set_params(n_epochs=1, n_init=1, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quick.fit(*train).predict_proba(test[0][:1])


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


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay the rows of `compare` out as text.

    Parameters
    ----------
    rows : list of dict
        As `compare` returns them.

    Returns
    -------
    table : str
        A heading and one line a classifier; of several seeds, means, and of scores the standard
        deviations as well.
    """
    columns = (
        ("accuracy", "accuracy", ".3f", True),
        ("AUC-PRC", "auc_prc", ".3f", True),
        ("parameters", "parameters", ",.0f", False),
        ("bytes", "weight_bytes", ",.0f", False),
        ("smaller by", "compression", ".0fx", False),
        ("fit (s)", "fit_seconds", ".1f", False),
        ("predict (us/series)", "predict_microseconds", ".0f", False),
    )
    names = list(dict.fromkeys(row["classifier"] for row in rows))
    lines = [["", *(title for title, *_ in columns)]]
    for name in names:
        of_name = [row for row in rows if row["classifier"] == name]
        cells = [_cell([row[key] for row in of_name], *how) for _, key, *how in columns]
        lines.append([name, *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )


def _cell(values, spec, is_score):
    """The mean of some values, and of scores of several seeds their standard deviation."""
    unit = "x" if spec.endswith("x") else ""
    mean, spec = np.mean(values), spec.removesuffix("x")
    if unit and mean < 1:  # a student larger than its teacher is not 0x smaller
        spec = ".2g"
    text = f"{mean:{spec}}{unit}"
    return f"{text} ± {np.std(values, ddof=1):.3f}" if is_score and len(values) > 1 else text
