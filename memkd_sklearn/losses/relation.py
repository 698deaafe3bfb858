"""Losses on relations between cases: cases alike to the teacher are alike to the student."""

from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import smooth_l1_loss

from memkd_sklearn._validation import check_number
from memkd_sklearn.kernels import relations
from memkd_sklearn.losses.base import Outputs, TableLoss
from memkd_sklearn.losses.kernel_loss import KernelLoss

__all__ = ["RelationalDistillation"]


class RelationalDistillation(TableLoss):
    r"""Relational knowledge distillation (RKD), by distances and by angles.

    The embedding of a series is its last hidden state. Of each two cases of a batch the
    distances are compared, divided by their mean over the batch; of each three, the cosines of
    the angle at one of them. Both terms are means of the smooth L1 distance (beta 1). As
    relations are scalars, the networks' widths may differ.

    Parameters
    ----------
    distance_weight : float, default=1.0
        Weight of the distance-wise term.
    angle_weight : float, default=2.0
        Weight of the angle-wise term. The paper weights the two as one to two.

    References
    ----------
    .. [1] Park, W., Kim, D., Lu, Y., Cho, M. "Relational Knowledge Distillation." CVPR 2019.
       arXiv:1904.05068.

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn.losses import Outputs, RelationalDistillation
    >>> states = torch.randn(4, 24, 8, generator=torch.Generator().manual_seed(0))
    >>> same = Outputs(torch.zeros(4, 2), states)
    >>> RelationalDistillation()(same, same, torch.Generator())["angle"].item()
    0.0
    """

    reads_states = True

    def __init__(self, distance_weight: float = 1.0, angle_weight: float = 2.0) -> None:
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def tabulate(self, teacher: Outputs) -> Any:
        """The teacher's last states."""
        return teacher.last_states.clone()  # not a view of all

    def terms(self, student: Outputs, wanted: Any) -> dict[str, torch.Tensor]:
        """Compute the weighted terms "distance" and "angle"."""
        # One case has no relations: a mean over none would be NaN.
        ours, terms = student.last_states, {}
        if self.distance_weight:
            value = _mean_distance(_distances(ours), _distances(wanted))
            terms["distance"] = self.distance_weight * value
        if self.angle_weight:
            terms["angle"] = self.angle_weight * _mean_distance(_cosines(ours), _cosines(wanted))
        return terms

    def kernel_losses(self, table: Any) -> Any:
        """See `TableLoss`."""
        both = [
            KernelLoss(relations.distances, ("distance",), [self.distance_weight], table),
            KernelLoss(relations.angles, ("angle",), [self.angle_weight], table),
        ]
        return [loss for loss in both if loss.weights[0]]

    def check(self) -> None:
        """Raise ValueError if a parameter makes no sense."""
        check_number("distance_weight", self.distance_weight, low=0)
        check_number("angle_weight", self.angle_weight, low=0)


def _mean_distance(ours, theirs):
    return smooth_l1_loss(ours, theirs) if len(ours) else ours.sum()


def _distances(x):
    """Distances of each two of the rows, over their mean."""
    one, other = torch.triu_indices(len(x), len(x), 1, device=x.device)
    # vector_norm has the subgradient 0 at 0, where a square root's gradient is infinite.
    distance = torch.linalg.vector_norm(x[one] - x[other], dim=1)
    return distance / distance.mean().clamp_min(1e-6)


def _cosines(x):
    """Cosines of the angles at j between i and k, for each three different rows."""
    apart = x.unsqueeze(0) - x.unsqueeze(1)  # [j, i] points from j to i
    distance = torch.linalg.vector_norm(apart, dim=2, keepdim=True)
    # Cases that are equal have no direction, and no gradient.
    toward = apart / distance.masked_fill(distance == 0, torch.inf)
    cosine = toward @ toward.mT
    j, i, k = _triples(len(x), x.device)
    return cosine[j, i, k]


@lru_cache(maxsize=8)  # batches have two sizes, and those for validation two more
@torch.inference_mode(False)  # or a gradient could not keep them
def _triples(n, device):
    """Indices j, i < k, all different."""
    i, k = torch.triu_indices(n, n, 1, device=device)
    j = torch.arange(n, device=device).unsqueeze(1)
    which = (j != i) & (j != k)
    return tuple(index.expand_as(which)[which] for index in (j, i, k))
