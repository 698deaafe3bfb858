"""The loss that training minimises: cross-entropy with the labels, and a distillation loss."""

import numpy as np
import torch
from torch.nn.functional import cross_entropy

__all__ = ["Objective"]

# Names in a history besides the terms of a distillation loss.
RESERVED = {"cross_entropy", "loss"}


class Objective(torch.nn.Module):
    """Cross-entropy with the labels, plus a distillation loss.

    A class of -1 says that nobody knows it: the cross-entropy is over the other cases of a batch.

    Parameters
    ----------
    class_weight : torch.Tensor of shape (n_classes,) or None
        Weight of each class in the cross-entropy.
    distillation : callable or None
        A prepared loss, as `DistillationLoss` describes it; a module's parameters are
        trained with the network.
    """

    def __init__(self, class_weight=None, distillation=None):
        super().__init__()
        self.register_buffer("class_weight", class_weight)
        self.distillation = distillation

    def forward(self, outputs, y, index, rng):
        """Compute the named terms of the loss of one batch.

        Raises
        ------
        ValueError
            If the prepared loss returns no named terms, terms that are no scalars, or names that
            are taken.
        """
        terms = {"cross_entropy": _cross_entropy(outputs.logits, y, self.class_weight)}
        if self.distillation is None:
            return terms
        copied = self.distillation(outputs, index, rng)
        if not isinstance(copied, dict) or RESERVED & copied.keys():
            raise ValueError(
                f"Got terms={copied!r} of a loss, but expected a dict of scalar tensors by name, "
                f"of other names than {' and '.join(sorted(RESERVED))}."
            )
        for name, term in copied.items():
            if np.ndim(term):  # a number will do
                raise ValueError(
                    f"Got {name} of shape {tuple(term.shape)} of a loss, but expected a scalar "
                    "tensor: the mean over a batch."
                )
        return terms | copied

    def kernel_losses(self, n_batches, rng):
        """The distillation loss as compiled epochs take it.

        Parameters
        ----------
        n_batches : int
            How many batches an epoch has.
        rng : torch.Generator
            Source of randomness.

        Returns
        -------
        losses : list of KernelLoss, or None
            None where no kernel knows the loss.
        """
        if self.distillation is None:
            return []
        find = getattr(self.distillation, "kernel_losses", None)
        return find and find(n_batches, rng)


def _cross_entropy(logits, y, class_weight):
    # A mean over no case would be NaN, which times 0 stays NaN.
    total = cross_entropy(logits, y, class_weight, ignore_index=-1, reduction="sum")
    weights = (y >= 0).to(logits.dtype) if class_weight is None else class_weight[y] * (y >= 0)
    return total / weights.sum().clamp_min(torch.finfo(logits.dtype).tiny)
