"""Losses on class scores: the student answers as the teacher does."""

import functools

import torch
from torch.nn.functional import kl_div, log_softmax

from memkd_sklearn._validation import check_number
from memkd_sklearn.losses.base import DistillationLoss
from memkd_sklearn.losses.comparisons import Comparisons, Scores

__all__ = ["DecoupledSoftTargets", "SoftTargets"]


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

    def prepare(self, teacher, n_units, rng):
        """Keep the teacher's scores."""
        return _PreparedSoftTargets(self, teacher)

    def check(self):
        """Raise ValueError if a parameter makes no sense."""
        check_number("temperature", self.temperature, low=0, open_low=True)


class _PreparedSoftTargets:
    """The loss on a data set, which compiled loops know as well."""

    def __init__(self, loss, teacher):
        self.loss, self.teacher = loss, teacher

    def __deepcopy__(self, memo):
        # Nobody writes into it: students of one teacher share it.
        return self

    def __call__(self, student, index, rng):
        return self.loss(student, self.teacher[index], rng)

    @functools.cached_property
    def _scores(self):
        tau = float(self.loss.temperature)
        wanted = log_softmax(self.teacher.logits / tau, dim=1)
        return Scores(("soft_target",), wanted.float().numpy(), tau, 1.0)

    def comparisons(self, n_batches, rng):
        """See `memkd_sklearn.losses.comparisons.Comparisons`."""
        return Comparisons(scores=self._scores) if self.teacher.logits.is_cpu else None


class DecoupledSoftTargets(DistillationLoss):
    r"""Decoupled knowledge distillation (DKD).

    The soft-target loss falls into two parts, which are weighted freely: how sure the teacher
    is of the true class, and how it ranks the others.

    .. math:: \tau^2 \left[ \alpha \, \mathrm{KL}(b_T \,\Vert\, b_S)
              + \beta \, \mathrm{KL}(\hat p_T \,\Vert\, \hat p_S) \right],

    averaged over the batch. Of the probabilities p at temperature tau, b = (p of the true
    class, the rest), and :math:`\hat p` are those of the other classes, scaled to add up to
    one: of two classes there is one other, and the second part is zero.

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

    def __init__(self, alpha=1.0, beta=8.0, temperature=4.0):
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature

    def __call__(self, student, teacher, rng):
        """Compute the term "decoupled"."""
        tau = self.temperature
        ours, our_others = _decouple(student.logits / tau, teacher.labels)
        theirs, their_others = _decouple(teacher.logits / tau, teacher.labels)
        of_target = kl_div(ours, theirs, reduction="batchmean", log_target=True)
        of_others = kl_div(our_others, their_others, reduction="batchmean", log_target=True)
        return {"decoupled": tau**2 * (self.alpha * of_target + self.beta * of_others)}

    def check(self):
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
