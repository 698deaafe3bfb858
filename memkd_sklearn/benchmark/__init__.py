"""Experiments: data sets in, scores out."""

from memkd_sklearn.benchmark.comparison import compare, format_table
from memkd_sklearn.benchmark.datasets import load_split
from memkd_sklearn.benchmark.metrics import auc_prc

__all__ = ["auc_prc", "compare", "format_table", "load_split"]
