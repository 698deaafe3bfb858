"""Losses on class scores: the student answers as the teacher does."""

from torch.nn.functional import kl_div, log_softmax

from memkd_sklearn._validation import check_number
from memkd_sklearn.losses.base import DistillationLoss

__all__ = ["SoftTargets"]


class SoftTargets(DistillationLoss):
    r"""Soft-target loss of Hinton, Vinyals and Dean.

    .. math:: \tau^2 \, \mathrm{KL}(\mathrm{softmax}(z_T / \tau) \,\Vert\,
              \mathrm{softmax}(z_S / \tau)),

    averaged over the batch, with the logits z of teacher and student.

    Parameters
    ----------
    temperature : float, default=4.0
        The temperature tau: the higher, the more the small scores count.

    References
    ----------
    .. [1] Hinton, G., Vinyals, O., Dean, J. "Distilling the Knowledge in a Neural
       Network." 2015. arXiv:1503.02531.

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn.losses import Outputs, SoftTargets
    >>> same = Outputs(torch.tensor([[1.0, -1.0]]))
    >>> SoftTargets()(same, same, torch.Generator())["soft_target"].item()
    0.0
    """

    def __init__(self, temperature=4.0):
        self.temperature = temperature

    def __call__(self, student, teacher, rng):
        """Compute the term "soft_target"."""
        tau = self.temperature
        ours = log_softmax(student.logits / tau, dim=1)
        theirs = log_softmax(teacher.logits / tau, dim=1)
        divergence = kl_div(ours, theirs, reduction="batchmean", log_target=True)
        return {"soft_target": tau**2 * divergence}

    def check(self):
        """Raise ValueError if a parameter makes no sense."""
        check_number("temperature", self.temperature, low=0, open_low=True)
