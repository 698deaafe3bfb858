"""Memory-discrepancy knowledge distillation for time series classification."""

from memkd_sklearn._distillation import DistillationClassifier
from memkd_sklearn._memkd import MemKDClassifier
from memkd_sklearn._recurrent import RecurrentClassifier

__version__ = "0.1.0"

__all__ = ["DistillationClassifier", "MemKDClassifier", "RecurrentClassifier"]
