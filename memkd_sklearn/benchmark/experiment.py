"""Distillation methods over data sets and seeds: resumable, with weights chosen honestly."""

import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn import config_context
from sklearn.base import clone

from memkd_sklearn._distillation import DistillationClassifier
from memkd_sklearn._files import write_whole
from memkd_sklearn._progress import progress
from memkd_sklearn._types import StrPath
from memkd_sklearn._validation import check_number
from memkd_sklearn.benchmark.comparison import label_only_twin
from memkd_sklearn.benchmark.fits import (
    ChoiceFit,
    FinalFit,
    TeacherFit,
    load_splits,
    load_teacher,
    n_holdouts,
    n_training_cases,
)
from memkd_sklearn.benchmark.rows import read_row, read_rows, read_settings, write_csv
from memkd_sklearn.benchmark.summary import summarise
from memkd_sklearn.losses import (
    DT2W,
    AttentionTransfer,
    DecoupledSoftTargets,
    DistillationLoss,
    FitNet,
    MemoryDiscrepancy,
    RelationalDistillation,
    SoftTargets,
)

__all__ = ["METHODS", "Experiment"]

METHODS = {
    "Base": None,
    "KD": SoftTargets(),
    "FitNet": FitNet(),
    "RKD": RelationalDistillation(),
    "AT": AttentionTransfer(),
    "DKD": DecoupledSoftTargets(),
    "DT2W": DT2W(),
    "MemKD": MemoryDiscrepancy(),
    "MemKD+KD": MemoryDiscrepancy() + SoftTargets(),
}
# Parameters that do not tell students of two runs apart: each run's own, or without effect.
IRRELEVANT = ("teacher", "loss", "random_state", "memory", "n_jobs", "verbose")
MEASURES = {"accuracy": "accuracy", "auc_prc": "aucprc", "log_loss": "logloss"}


@dataclass(frozen=True)
class Experiment:
    """A comparison of distillation methods, kept in a folder.

    For every data set a default teacher is fitted once, on the training split. The weight of
    every method is then chosen on held-out parts of the *training* split: students learn
    from the rest with every weight of the grid, and the one with the highest mean AUC-PRC
    wins, ties going to the lower log-loss. With it, a student is trained on the whole training
    split from every seed, and scored on the test split. All methods share holdouts, initial
    weights, order of cases and budget. The teacher that the choice relies on has seen the
    held-out cases' labels, as in the experiments of the method's authors; it is the same for
    all methods, and no test case is involved.

    Every fit leaves one small file, written whole: whatever interrupts a run, the next one
    goes on from there, perhaps with more data sets, methods or seeds. A folder holds results
    of one grid of weights, one kind of student and one method of each name: settings.json
    has them, and an experiment with others is refused.

    Parameters
    ----------
    out : path-like
        Folder of the results.
    data_sets : sequence of str
        Names of data sets.
    data_path : path-like or None, default=None
        Folder of data sets in aeon's layout; None takes them from aeon.
    methods : dict of str to DistillationLoss or None, default=METHODS
        Losses by which students copy their teacher, by name; None for labels only.
    seeds : sequence of int, default=(1, 24, 300, 49000, 1001)
        Seeds of the students.
    weights : sequence of float, default=(0.1, 1, 10, 100)
        The grid of weights. Of a single one, there is nothing to choose.
    references : dict of str to classifier, default={}
        Other classifiers, by name, to fit on the same data, as they are.
    student : dict, default={}
        Parameters of all students, such as ``{"hidden_size": 4}``.
    teachers : path-like or None, default=None
        Folder of fitted teachers, to share between experiments; None is ``out/teachers``. Its
        files are unpickled, which can run anything: give no folder that others may write.

    Raises
    ------
    TypeError, ValueError
        If a method is no loss, a name cannot be a file's, there is none of something or one
        twice, or a weight or a seed is out of range.

    Examples
    --------
    A method of one's own, against the usual ones:

    >>> from memkd_sklearn.benchmark import METHODS, Experiment
    >>> from memkd_sklearn.losses import DistillationLoss
    >>> class LogitMatching(DistillationLoss):
    ...     def __call__(self, student, teacher, rng):
    ...         return {"logit": (student.logits - teacher.logits).square().mean()}
    >>> experiment = Experiment(
    ...     "results", ["GunPoint"], methods=METHODS | {"logits": LogitMatching()}
    ... )
    >>> experiment.run()  # doctest: +SKIP
    >>> print(experiment.summary())  # doctest: +SKIP
    """

    out: StrPath
    data_sets: tuple
    data_path: str | Path | None = None
    methods: dict = field(default_factory=lambda: dict(METHODS))
    seeds: tuple = (1, 24, 300, 49000, 1001)
    weights: tuple = (0.1, 1.0, 10.0, 100.0)
    references: dict = field(default_factory=dict)
    student: dict = field(default_factory=dict)
    teachers: StrPath | None = None

    def __post_init__(self):
        for name, loss in self.methods.items():
            if loss is not None and not isinstance(loss, DistillationLoss):
                raise TypeError(f"Got method {name!r}={loss!r}, but expected a loss or None.")
        for name in (*self.methods, *self.references):
            if not name or set(name) & set('/\\_"'):
                raise ValueError(f"Got name {name!r}, but expected one without / \\ _ and quotes.")
        for weight in self.weights:
            check_number("weights", weight, low=0, open_low=True)
        for seed in self.seeds:
            check_number("seeds", seed, low=0, integer=True)
        for name in self.references:
            if name in self.methods:
                raise ValueError(f"Got reference {name!r}, but expected no method's name.")
        for name in ("data_sets", "methods", "seeds", "weights"):
            given = list(getattr(self, name))
            if not given:
                raise ValueError(f"Got no {name}, but expected at least one.")
            if len(set(given)) < len(given):
                raise ValueError(f"Got {name}={given}, but expected each once.")

    def run(self, n_jobs: int = 1, verbose: int = 0) -> "Experiment":
        """Do the fits that are not done yet, and write the tables.

        Parameters
        ----------
        n_jobs : int, default=1
            Processes, of one thread each.
        verbose : int, default=0
            Whether to show progress, with the time left.

        Returns
        -------
        Experiment
            Itself.

        Raises
        ------
        ValueError
            If a data set is not there, or the folder has results of other settings, or a damaged
            file of them; before any work.
        """
        for name in self.data_sets:  # before any work
            load_splits(name, self.data_path)
        self._keep_settings()
        # Each stage needs the files of the one before it.
        for stage in (self._teacher_fits, self._choice_fits, self._final_fits):
            todo = [fit for fit in stage() if not fit.is_done()]
            with Parallel(n_jobs, return_as="generator_unordered") as parallel:
                done = parallel(delayed(fit.do)(self) for fit in todo)
                name = stage.__name__.strip("_").replace("_", " ")
                for _ in progress(done, name, len(todo)) if verbose else done:
                    pass
        self.write_tables()
        return self

    def _keep_settings(self):
        """Keep settings that no file's name tells, or refuse a folder of other settings."""
        file = Path(self.out) / "settings.json"
        before = read_settings(file)
        now = self._settings()
        for name, value in now.items():
            if before.get(name, value) != value:
                raise ValueError(
                    f"Got {name}={value}, but expected {before[name]}, as in {file}: results of "
                    "other settings belong in another folder."
                )
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, (json.dumps(before | now, indent=1) + "\n").encode())

    def _settings(self):
        student = DistillationClassifier(None, **self.student).get_params(deep=False)
        settings = {
            "weights": [float(weight) for weight in self.weights],
            **{f"student {k}": v for k, v in student.items() if k not in IRRELEVANT},
            **{f"method {name}": loss for name, loss in self.methods.items()},
            **{f"reference {name}": classifier for name, classifier in self.references.items()},
        }
        with config_context(print_changed_only=False):  # defaults may change
            return {name: _say(value) for name, value in settings.items()}

    def _teacher_fits(self):
        return [TeacherFit(self._teachers / f"{name}.joblib", name) for name in self.data_sets]

    def _choice_fits(self):
        for name in self.data_sets if len(self.weights) > 1 else ():
            for method in self._weighted:
                for holdout in range(n_holdouts(n_training_cases(name, self.data_path))):
                    for weight in self.weights:
                        file = self._runs / name / method / f"weight-{weight:g}-{holdout}.json"
                        yield ChoiceFit(file, name, method, weight, holdout)

    def _final_fits(self):
        for name in self.data_sets:
            for method in (*self.methods, *self.references):
                for seed in self.seeds:
                    file = self._runs / name / method / f"seed-{seed}.json"
                    yield FinalFit(file, name, method, seed)

    @property
    def _weighted(self):
        return [method for method, loss in self.methods.items() if loss is not None]

    @property
    def _runs(self):
        return Path(self.out) / "runs"

    @property
    def _teachers(self):
        return Path(self.out) / "teachers" if self.teachers is None else Path(self.teachers)

    def build(self, data_set: str, method: str, weight: float, seed: int) -> Any:
        """Make an unfitted classifier: a student, its twin without a teacher, or a reference.

        Parameters
        ----------
        data_set : str
            Name of the data set, whose teacher must have been fitted.
        method : str
            Name of a method or a reference.
        weight : float or None
            Weight of the method's loss; of no meaning for labels only and for references.
        seed : int
            Random state.

        Returns
        -------
        classifier

        Raises
        ------
        OSError
            If the teacher's file cannot be read.
        """
        if method in self.references:
            reference = clone(self.references[method])
            if "random_state" in reference.get_params():
                reference.set_params(random_state=seed)
            return reference
        teacher = load_teacher(self._teachers / f"{data_set}.joblib")
        student = DistillationClassifier(
            teacher, random_state=seed, memory=str(self._runs.parent / "cache"), **self.student
        )
        loss = self.methods[method]
        if loss is None:
            return label_only_twin(student)
        return student.set_params(loss=weight * loss)

    def chosen_weight(self, data_set: str, method: str) -> float | None:
        """Choose the weight with the best mean score on held-out parts of the training split.

        Parameters
        ----------
        data_set, method : str
            Names.

        Returns
        -------
        weight : float or None
            None for labels only and for references.
        """
        if method not in self._weighted:
            return None
        if len(self.weights) == 1:
            return self.weights[0]
        which = (data_set, method)
        fits = (fit for fit in self._choice_fits() if (fit.data_set, fit.method) == which)
        rows = read_rows(fit.file for fit in fits)

        def merit(weight):
            mine = [row for row in rows if row["weight"] == weight]
            means = [np.mean([row[key] for row in mine]) for key in ("auc_prc", "log_loss")]
            return means[0], -means[1]

        return max(self.weights, key=merit)

    def choices(self) -> list[dict[str, Any]]:
        """One dict a fit that weights are chosen by, as far as they are done."""
        return read_rows(fit.file for fit in self._choice_fits())

    def results(self) -> list[dict[str, Any]]:
        """One dict a final fit, as far as they are done."""
        return read_rows(fit.file for fit in self._final_fits())

    def teacher_rows(self) -> list[dict[str, Any]]:
        """One dict a data set: the teacher's scores on the test split, as far as they are done."""
        rows = ((fit, read_row(fit.file.with_suffix(".json"))) for fit in self._teacher_fits())
        return [{"data_set": fit.data_set, **row} for fit, row in rows if row is not None]

    def summary(self, measure: str = "auc_prc") -> str:
        """Format mean scores, ranks and wins, as `summarise` does.

        Parameters
        ----------
        measure : {"auc_prc", "accuracy"}, default="auc_prc"
            The score that is shown.

        Returns
        -------
        table : str
        """
        return summarise(self.results(), self.teacher_rows(), measure)

    def report(self) -> str:
        """Both summaries, by AUC-PRC and by accuracy, each under its title."""
        pairs = {(row["method"], row["seed"]) for row in self.results()}
        counts = Counter(method for method, _ in pairs).values()
        few, most = min(counts, default=0), max(counts, default=0)
        means = "one seed" if most == 1 else f"mean over {most} seeds"
        if few < most:
            means = f"mean over {few} to {most} seeds"
        titles = {"auc_prc": "AUC-PRC", "accuracy": "Accuracy"}
        return "\n".join(
            f"{title} on test splits, {means}\n{self.summary(measure)}\n"
            for measure, title in titles.items()
        )

    def write_tables(self) -> None:
        """Write results, choices and teachers as CSV, summary.txt and, for aeon, a folder aeon."""
        out = Path(self.out)
        results = self.results()
        write_csv(out / "results.csv", results)
        write_csv(out / "choices.csv", self.choices())
        write_csv(out / "teachers.csv", self.teacher_rows())
        write_whole(out / "summary.txt", self.report().encode())
        for measure, name in MEASURES.items():
            folder = out / "aeon" / "classification" / name
            if folder.is_dir():
                shutil.rmtree(folder)  # with methods that are not in the other tables
            for method in (*self.methods, *self.references):
                rows = []
                for data_set in self.data_sets:
                    mine = [
                        r for r in results if (r["data_set"], r["method"]) == (data_set, method)
                    ]
                    scores = {f"resample{i}": row[measure] for i, row in enumerate(mine)}
                    rows.append({"dataset": data_set, **scores})
                write_csv(folder / f"{method}_{name}.csv", rows)


def _say(value):
    """Represent a setting, without places in memory, by which objects without a name differ."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
