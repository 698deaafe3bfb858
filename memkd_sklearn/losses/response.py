"""Losses on class scores: the student answers as the teacher does."""

from typing import Any

import torch
from torch.nn.functional import kl_div, log_softmax

from memkd_sklearn._validation import check_number
from memkd_sklearn.kernels import score_losses
from memkd_sklearn.losses.base import Outputs, TableLoss
from memkd_sklearn.losses.kernel_loss import KernelLoss

__all__ = ["DecoupledSoftTargets", "SoftTargets"]


class SoftTargets(TableLoss):
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

    def __init__(self, temperature: float = 4.0) -> None:
        self.temperature = temperature

    def tabulate(self, teacher: Outputs) -> Any:
        """Logarithms of the teacher's probabilities at the temperature."""
        return log_softmax(teacher.logits / float(self.temperature), dim=1)

    def terms(self, student: Outputs, wanted: Any) -> dict[str, torch.Tensor]:
        """Compute the term "soft_target"."""
        tau = float(self.temperature)
        ours = log_softmax(student.logits / tau, dim=1)
        divergence = kl_div(ours, wanted, reduction="batchmean", log_target=True)
        return {"soft_target": tau**2 * divergence}

    def kernel_losses(self, table: Any) -> Any:
        """See `TableLoss`."""
        names, numbers = ("soft_target",), (self.temperature,)
        return [KernelLoss(score_losses.soft_targets, names, [1.0], table, numbers=numbers)]

    def check(self) -> None:
        """Raise ValueError if a parameter makes no sense."""
        check_number("temperature", self.temperature, low=0, open_low=True)


class DecoupledSoftTargets(TableLoss):
    r"""Decoupled knowledge distillation (DKD).

    The soft-target loss falls into two parts, which are weighted freely: how sure the teacher
    is of the true class, and how it ranks the others.

    .. math:: \tau^2 \left[ \alpha \, \mathrm{KL}(b_T \,\Vert\, b_S)
              + \beta \, \mathrm{KL}(\hat p_T \,\Vert\, \hat p_S) \right],

    averaged over the batch. From the probabilities p at temperature tau come b, p of the true
    class and the rest, and :math:`\hat p`, p of the other classes, scaled to add up to one: of
    two classes there is one other, and the second part is zero.

    Parameters
    ----------
    alpha : float, default=1.0
        Weight of the part of the true class.
    beta : float, default=8.0
        Weight of the part of the other classes.
    temperature : float, default=4.0
        The temperature tau.

    References
    ----------
    .. [1] Zhao, B., Cui, Q., Song, R., Qiu, Y., Liang, J. "Decoupled Knowledge
       Distillation." CVPR 2022. arXiv:2203.08679.

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn.losses import DecoupledSoftTargets, Outputs
    >>> labels = torch.tensor([0])
    >>> same = Outputs(torch.tensor([[2.0, 0.0, -1.0]]), labels=labels)
    >>> DecoupledSoftTargets()(same, same, torch.Generator())["decoupled"].item()
    0.0
    """

    def __init__(self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0) -> None:
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature

    def tabulate(self, teacher: Outputs) -> Any:
        """The true class, and logarithms of the probabilities of both parts."""
        assert teacher.labels is not None
        both = _decouple(teacher.logits / self.temperature, teacher.labels)
        return torch.cat([teacher.labels.unsqueeze(1).to(both[0]), *both], dim=1)

    def terms(self, student: Outputs, wanted: Any) -> dict[str, torch.Tensor]:
        """Compute the term "decoupled"."""
        tau = self.temperature
        ours, our_others = _decouple(student.logits / tau, wanted[:, 0].long())
        theirs, their_others = wanted[:, 1:3], wanted[:, 3:]
        of_target = kl_div(ours, theirs, reduction="batchmean", log_target=True)
        of_others = kl_div(our_others, their_others, reduction="batchmean", log_target=True)
        return {"decoupled": tau**2 * (self.alpha * of_target + self.beta * of_others)}

    def kernel_losses(self, table: Any) -> Any:
        """See `TableLoss`."""
        names, numbers = ("decoupled",), (self.temperature, self.alpha, self.beta)
        return [KernelLoss(score_losses.decoupled, names, [1.0], table, numbers=numbers)]

    def check(self) -> None:
        """Raise ValueError if a parameter makes no sense."""
        check_number("alpha", self.alpha, low=0)
        check_number("beta", self.beta, low=0)
        check_number("temperature", self.temperature, low=0, open_low=True)


def _decouple(logits, labels):
    """Log-probabilities of the true class and the rest, and of the other classes alone."""
    is_other = torch.ones_like(logits, dtype=torch.bool).scatter_(1, labels.unsqueeze(1), False)
    others = logits[is_other].view(len(logits), -1)
    either = torch.cat([logits.gather(1, labels.unsqueeze(1)), others.logsumexp(1, True)], dim=1)
    return log_softmax(either, dim=1), log_softmax(others, dim=1)
