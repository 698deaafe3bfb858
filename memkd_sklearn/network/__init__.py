"""Recurrent networks and their training: tensors in, tensors out."""

from memkd_sklearn.network.recurrent import RecurrentNetwork

__all__ = ["RecurrentNetwork"]
