"""What a student can be asked to copy from its teacher."""

from memkd_sklearn.losses.base import DistillationLoss, LossSum, Outputs
from memkd_sklearn.losses.memory import MemoryDiscrepancy
from memkd_sklearn.losses.response import SoftTargets

__all__ = ["DistillationLoss", "LossSum", "MemoryDiscrepancy", "Outputs", "SoftTargets"]
