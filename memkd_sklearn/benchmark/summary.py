"""What an experiment says: tables for people, and arrays through aeon's loaders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from aeon.benchmarking import results_loaders
from scipy.stats import rankdata

from memkd_sklearn._types import Floats, StrPath

__all__ = ["average_ranks", "load_results", "mean_scores", "summarise"]


def mean_scores(rows: Sequence[dict[str, Any]], measure: str = "auc_prc") -> Any:
    """Average the scores of each data set and method over seeds.

    Parameters
    ----------
    rows : list of dict
        Results of an `Experiment`.
    measure : {"auc_prc", "accuracy", "log_loss"}, default="auc_prc"
        What is averaged.

    Returns
    -------
    means : np.ndarray of shape (n_data_sets, n_methods)
        NaN where there is no result.
    data_sets, methods : list of str
        Names of rows and columns.
    """
    data_sets = list(dict.fromkeys(row["data_set"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    cells: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        cells.setdefault((row["data_set"], row["method"]), []).append(float(row[measure]))
    means = [[np.mean(cells.get((d, m), np.nan)) for m in methods] for d in data_sets]
    return np.array(means), data_sets, methods


def average_ranks(means: Floats) -> Floats:
    """Rank the methods of each data set, 1 the highest, ties shared, and average the ranks.

    Parameters
    ----------
    means : np.ndarray of shape (n_data_sets, n_methods)
        Scores, the higher the better.

    Returns
    -------
    ranks : np.ndarray of shape (n_methods,)

    Examples
    --------
    >>> import numpy as np
    >>> from memkd_sklearn.benchmark import average_ranks
    >>> average_ranks(np.array([[0.9, 0.8, 0.8], [0.5, 0.7, 0.6]]))
    array([2.  , 1.75, 2.25])
    """
    return rankdata(-means, axis=1).mean(axis=0)


def summarise(
    rows: Sequence[dict[str, Any]],
    teachers: Sequence[dict[str, Any]] = (),
    measure: str = "auc_prc",
) -> str:
    """Format mean scores by data set and method, average ranks, and wins over Base and KD.

    Parameters
    ----------
    rows : list of dict
        Results of an `Experiment`.
    teachers : list of dict, default=()
        The teachers' scores.
    measure : {"auc_prc", "accuracy"}, default="auc_prc"
        What is shown.

    Returns
    -------
    table : str
    """
    means, data_sets, methods = mean_scores(rows, measure)
    teacher = {row["data_set"]: float(row[measure]) for row in teachers}
    beside = np.array([teacher.get(name, np.nan) for name in data_sets])
    width = max(map(len, [*data_sets, "wins against Base"])) + 2
    size = max(9, *(len(method) + 2 for method in methods))

    def line(name, cells, form="{:.3f}"):
        shown = ("" if cell is None else form.format(cell) for cell in cells)
        return name.ljust(width) + "".join(cell.rjust(size) for cell in shown)

    lines = [line("", ["teacher", *methods], "{}")]
    for name, own, scores in zip(data_sets, beside, means, strict=True):
        lines.append(line(name, [own, *scores]))
    complete = ~np.isnan(means).any(axis=1)
    lines.append(line("mean", [beside[complete].mean(), *means[complete].mean(axis=0)]))
    lines.append(line("average rank", [None, *average_ranks(means[complete])], "{:.2f}"))
    for rival in ("Base", "KD"):
        if rival in methods:
            wins = means[complete] > means[complete][:, [methods.index(rival)]]
            lines.append(line(f"wins against {rival}", [None, *wins.sum(axis=0)], "{}"))
    return "\n".join(lines)


def load_results(out: StrPath, methods: Sequence[str], measure: str = "auc_prc") -> Any:
    """Load an experiment's results with aeon, for its diagrams and tests.

    aeon's loader knows the names of published classifiers and a few measures only; it is
    lent ours for the call.

    Parameters
    ----------
    out : path-like
        Folder of an `Experiment`.
    methods : list of str
        Names of methods and references.
    measure : {"auc_prc", "accuracy", "log_loss"}, default="auc_prc"
        What is loaded, averaged over seeds.

    Returns
    -------
    scores : np.ndarray of shape (n_data_sets, n_methods)
    data_sets : list of str
    """
    name = measure.replace("_", "")
    aliases: dict[str, set[str]] = {method: set() for method in methods}
    measures = {"classification": [name]}
    with (
        patch.dict(results_loaders.NAME_ALIASES, aliases, clear=True),
        patch.dict(results_loaders.VALID_RESULT_MEASURES, measures),
    ):
        return results_loaders.get_estimator_results_as_array(
            list(methods), num_resamples=None, measure=name, path=str(Path(out) / "aeon")
        )
