"""Recurrent networks, their initial weights and fast paths: tensors in, tensors out."""

from memkd_sklearn.network.recurrent import RecurrentNetwork

__all__ = ["RecurrentNetwork"]
