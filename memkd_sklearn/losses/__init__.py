"""Losses by which a student copies its teacher."""

from memkd_sklearn.losses.base import DistillationLoss, LossSum, Outputs
from memkd_sklearn.losses.feature import DT2W, AttentionTransfer, FitNet
from memkd_sklearn.losses.memory import MemoryDiscrepancy
from memkd_sklearn.losses.relation import RelationalDistillation
from memkd_sklearn.losses.response import DecoupledSoftTargets, SoftTargets

__all__ = [
    "DT2W",
    "AttentionTransfer",
    "DecoupledSoftTargets",
    "DistillationLoss",
    "FitNet",
    "LossSum",
    "MemoryDiscrepancy",
    "Outputs",
    "RelationalDistillation",
    "SoftTargets",
]
