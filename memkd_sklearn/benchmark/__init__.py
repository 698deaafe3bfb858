"""Experiments: data sets in, scores out."""

from memkd_sklearn.benchmark.comparison import compare, format_table, label_only_twin
from memkd_sklearn.benchmark.datasets import load_split
from memkd_sklearn.benchmark.experiment import METHODS, Experiment
from memkd_sklearn.benchmark.metrics import auc_prc, auc_prc_scorer
from memkd_sklearn.benchmark.summary import average_ranks, holm_wilcoxon, mean_scores, summarise

__all__ = [
    "METHODS",
    "Experiment",
    "auc_prc",
    "auc_prc_scorer",
    "average_ranks",
    "compare",
    "format_table",
    "holm_wilcoxon",
    "label_only_twin",
    "load_split",
    "mean_scores",
    "summarise",
]
