"""The results of an experiment: means, ranks, tests, and a table of them for people."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata, wilcoxon

from memkd_sklearn._types import Floats

__all__ = ["average_ranks", "holm_wilcoxon", "mean_scores", "summarise"]

FEWEST_TO_TEST = 6


def mean_scores(rows: Sequence[dict[str, Any]], measure: str = "auc_prc") -> Any:
    """Average the scores of each data set and method over seeds.

    Parameters
    ----------
    rows : list of dict
        Results of an `Experiment`.
    measure : {"auc_prc", "accuracy", "log_loss"}, default="auc_prc"
        The score that is averaged.

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


def holm_wilcoxon(means: Floats, against: int) -> Floats:
    """Test whether methods differ from one of them, over data sets.

    Wilcoxon's signed-rank test, two-sided, of each method against one; the p-values are
    corrected by Holm's method for as many tests as there are.

    Parameters
    ----------
    means : np.ndarray of shape (n_data_sets, n_methods)
        Scores.
    against : int
        Column of the method that the others are tested against.

    Returns
    -------
    p_values : np.ndarray of shape (n_methods,)
        Between 0 and 1; NaN for the method itself.

    References
    ----------
    .. [1] Holm, S. "A simple sequentially rejective multiple test procedure."
       Scandinavian Journal of Statistics 6, 1979.

    Examples
    --------
    >>> import numpy as np
    >>> from memkd_sklearn.benchmark import holm_wilcoxon
    >>> better = np.linspace(0.8, 0.9, 8)
    >>> scores = np.stack([better, better - 0.1, better - 0.01], axis=1)
    >>> holm_wilcoxon(scores, 0)
    array([     nan, 0.015625, 0.015625])
    """
    others = [column for column in range(means.shape[1]) if column != against]
    differences = means[:, others] - means[:, [against]]
    # Rounded, as ties are ties whatever the order in which seeds were averaged.
    found = [wilcoxon(gaps).pvalue if gaps.any() else 1.0 for gaps in differences.round(9).T]
    p_values = np.full(means.shape[1], np.nan)
    largest = 0.0
    for rank, number in enumerate(np.argsort(found, kind="stable")):
        largest = max(largest, min(1.0, (len(found) - rank) * found[number]))
        p_values[others[number]] = largest
    return p_values


def summarise(
    rows: Sequence[dict[str, Any]],
    teachers: Sequence[dict[str, Any]] = (),
    measure: str = "auc_prc",
) -> str:
    """Format mean scores by data set and method, average ranks, wins over Base and KD, and tests.

    Where there are at least six data sets and a method MemKD, a row has the p-values of
    `holm_wilcoxon` against it: of fewer, no test could find a difference.

    Parameters
    ----------
    rows : list of dict
        Results of an `Experiment`.
    teachers : list of dict, default=()
        The teachers' scores.
    measure : {"auc_prc", "accuracy"}, default="auc_prc"
        The score that is shown.

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
    if "MemKD" in methods and complete.sum() >= FEWEST_TO_TEST:
        p_values = holm_wilcoxon(means[complete], methods.index("MemKD"))
        cells = [None if np.isnan(p) else p for p in p_values]
        lines.append(line("p against MemKD", [None, *cells]))
    return "\n".join(lines)
