"""The fits of an experiment: each is done once, and leaves one small file."""

import functools
import io
import math
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.utils import check_random_state

from memkd_sklearn._files import read_whole, write_whole
from memkd_sklearn._recurrent import RecurrentClassifier
from memkd_sklearn.benchmark.datasets import load_split
from memkd_sklearn.benchmark.metrics import auc_prc
from memkd_sklearn.benchmark.rows import read_row, warn_of_damage, write_row
from memkd_sklearn.training.data import stratified_holdout

__all__ = [
    "ChoiceFit",
    "FinalFit",
    "TeacherFit",
    "load_splits",
    "load_teacher",
    "n_holdouts",
    "n_training_cases",
]

LENGTH = 100  # longer series are resized to it
HELD_OUT = 0.2  # of the training split, to choose a weight on
ENOUGH_HELD_OUT = 20  # cases, over all holdouts of a data set


@dataclass(frozen=True)
class Fit:
    """A part of an experiment that is done as a whole.

    Attributes
    ----------
    file : Path
        The file that it leaves.
    data_set : str
        Name of the data set.
    """

    file: Path
    data_set: str

    def is_done(self):
        """Whether the file is there and whole."""
        return read_row(self.file) is not None

    def do(self, experiment):
        """Fit a classifier for an `Experiment`, score it, and write the file."""
        raise NotImplementedError


class TeacherFit(Fit):
    """A teacher of a data set, and its scores in a second file."""

    def is_done(self):
        """Whether both files are there and whole."""
        if not self.file.exists() or read_row(self.file.with_suffix(".json")) is None:
            return False
        try:
            load_teacher(self.file)
        except Exception as error:  # a damaged pickle raises anything
            warn_of_damage(self.file, error)
            return False
        return True

    def do(self, experiment):
        """Fit the teacher, and write its scores and itself."""
        train, test = load_splits(self.data_set, experiment.data_path)
        teacher = RecurrentClassifier(random_state=0)
        _warm_up(teacher, *train)
        began = time.perf_counter()
        teacher.fit(*train)
        row = _scores(teacher, *test) | {
            "parameters": teacher.footprint_.parameters,
            "fit_seconds": round(time.perf_counter() - began, 2),
        }
        write_row(self.file.with_suffix(".json"), row)
        buffer = io.BytesIO()
        joblib.dump(teacher, buffer)
        write_whole(self.file, buffer.getvalue())


@dataclass(frozen=True)
class ChoiceFit(Fit):
    """A student of a part of the training split, scored on the rest."""

    method: str
    weight: float
    holdout: int

    def do(self, experiment):
        """Fit with one weight, and write the scores on the rest."""
        X, y = load_splits(self.data_set, experiment.data_path)[0]
        target = np.unique(y, return_inverse=True)[1]
        n_held = max(round(HELD_OUT * len(y)), 1)
        held = stratified_holdout(target, n_held, check_random_state(self.holdout))
        student = experiment.build(self.data_set, self.method, self.weight, self.holdout)
        # One start is enough to compare weights, of which the means over holdouts are taken.
        _fit_quietly(student.set_params(n_init=1), X[~held], y[~held])
        row = {"method": self.method, "weight": self.weight, "holdout": self.holdout}
        scores = _scores(student, X[held], y[held])
        write_row(self.file, {"data_set": self.data_set, **row, **scores})


@dataclass(frozen=True)
class FinalFit(Fit):
    """A student, or a reference, of the whole training split, scored on the test split."""

    method: str
    seed: int

    def do(self, experiment):
        """Fit with the chosen weight, and write the scores on the test split."""
        train, test = load_splits(self.data_set, experiment.data_path)
        weight = experiment.chosen_weight(self.data_set, self.method)
        student = experiment.build(self.data_set, self.method, weight, self.seed)
        _warm_up(student, *train)
        began = time.perf_counter()
        _fit_quietly(student, *train)
        seconds = time.perf_counter() - began
        footprint = getattr(student, "footprint_", None)
        row = {
            "data_set": self.data_set,
            "method": self.method,
            "seed": self.seed,
            "weight": weight,
            "epochs": len(student.history_) if footprint else None,
            **_scores(student, *test),
            "parameters": footprint and footprint.parameters,
            "fit_seconds": round(seconds, 2),
        }
        packages = ("memkd-sklearn", "torch", "scikit-learn", "aeon", "numpy")
        write_row(self.file, row | {package: version(package) for package in packages})


def n_holdouts(n_cases):
    """How many holdouts it takes to choose on 20 cases: two to four."""
    return min(4, max(2, math.ceil(ENOUGH_HELD_OUT / max(round(HELD_OUT * n_cases), 1))))


def _fit_quietly(classifier, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return classifier.fit(X, y)


def _warm_up(classifier, X, y):
    """Fit one of ours for an epoch, so that no fit's time includes compiling."""
    quick = {"n_epochs": 1, "n_init": 1}
    if quick.keys() <= classifier.get_params(deep=False).keys():
        _fit_quietly(clone(classifier).set_params(**quick), X, y)


def _scores(classifier, X, y):
    proba = classifier.predict_proba(X)
    return {
        "accuracy": round(float(np.mean(classifier.classes_[proba.argmax(axis=1)] == y)), 5),
        "auc_prc": round(auc_prc(y, proba, classifier.classes_), 5),
        "log_loss": round(log_loss(y, proba, labels=classifier.classes_), 5),
    }


@functools.lru_cache(maxsize=2)
def load_splits(name, data_path):
    """Training and test split of a data set, each as series and labels."""
    return tuple(load_split(name, split, data_path, LENGTH) for split in ("train", "test"))


@functools.cache
def n_training_cases(name, data_path):
    """How many cases the training split of a data set has."""
    return len(load_split(name, "train", data_path, LENGTH)[1])


@functools.lru_cache(maxsize=2)
def load_teacher(file):
    """Unpickle a fitted teacher."""
    return joblib.load(io.BytesIO(read_whole(file)))
