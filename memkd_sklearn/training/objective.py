"""What training minimises: cross-entropy with the labels, and what is copied from a teacher."""

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from memkd_sklearn.kernels import adam_and_scores
from memkd_sklearn.losses.base import differentiate
from memkd_sklearn.losses.comparisons import Comparisons

__all__ = ["Objective", "differentiate_cross_entropy"]


class Objective(torch.nn.Module):
    """Cross-entropy with the labels, plus what a student copies from its teacher.

    Parameters
    ----------
    class_weight : torch.Tensor of shape (n_classes,) or None
        Weight of each class in the cross-entropy.
    distillation : callable or None
        A prepared loss, ``(student, index, rng) -> terms``; a module's parameters are
        trained with the network.
    """

    def __init__(self, class_weight=None, distillation=None):
        super().__init__()
        self.register_buffer("class_weight", class_weight)
        self.distillation = distillation

    def forward(self, outputs, y, index, rng):
        """Compute the named terms of the loss of one batch."""
        terms = {"cross_entropy": cross_entropy(outputs.logits, y, self.class_weight)}
        if self.distillation is not None:
            terms |= self.distillation(outputs, index, rng)
        return terms

    def differentiate(self, outputs, y, index, rng, scale):
        """Compute the named terms, as floats, and the gradients of what is minimised.

        These are, by the logits and by the states (None if they do not matter), of the
        cross-entropy plus `scale` times the sum of the other terms.
        """
        value, logits_grad = differentiate_cross_entropy(outputs.logits, y, self.class_weight)
        terms = {"cross_entropy": value}
        if self.distillation is None:
            return terms, logits_grad, None
        copied, by_logits, by_states = differentiate(self.distillation, outputs, index, rng, scale)
        if by_logits is not None:
            logits_grad += by_logits
        return terms | copied, logits_grad, by_states

    def comparisons(self, n_batches, rng):
        """Draw what is compared with a teacher in some batches, beside the cross-entropy.

        Parameters
        ----------
        n_batches : int
            How many batches.
        rng : torch.Generator
            Source of randomness.

        Returns
        -------
        Comparisons or None
            None if more is minimised than comparisons can say.
        """
        if self.distillation is None:
            return Comparisons()
        how = getattr(self.distillation, "comparisons", None)
        return how and how(n_batches, rng)


def differentiate_cross_entropy(logits, y, class_weight=None):
    """Compute the cross-entropy, as a float, and its gradient by the logits."""
    if not logits.is_cpu:
        logits = logits.detach().requires_grad_()
        with torch.enable_grad():
            value = cross_entropy(logits, y, class_weight)
        value.backward()
        return value.item(), logits.grad
    weight = np.empty(0, np.float32) if class_weight is None else class_weight.numpy()
    grad = torch.empty_like(logits)
    return adam_and_scores.cross_entropy(logits.numpy(), y.numpy(), weight, grad.numpy()), grad
