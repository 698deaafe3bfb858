"""Memory discrepancy: the student moves its memory as much as the teacher does.

The method is that of N. Udayangani, K. Nandakishor and M. Palaniswami, "MemKD:
Memory-Discrepancy Knowledge Distillation for Efficient Time Series Classification",
ICASSP 2025, arXiv:2601.04264.
"""

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import smooth_l1_loss

from memkd_sklearn._validation import check_number
from memkd_sklearn.losses.base import DistillationLoss

__all__ = ["MemoryDiscrepancy", "all_memory_ratios", "draw_subsequences", "memory_ratio"]

# A state's norm below this counts as this much: the ratio stays finite where a network
# has not yet moved (constant series, zero weights), and is exact everywhere else.
SMALLEST_NORM = 1e-6


def memory_ratio(states, start, end):
    r"""How far the memory moves over subsequences, relative to its size at their start.

    .. math:: \rho(t, z) = \lVert h(t+z) - h(t) \rVert_2 \,/\, \lVert h(t) \rVert_2

    Parameters
    ----------
    states : torch.Tensor of shape (n_cases, n_timepoints, n_units)
        Hidden states h.
    start, end : torch.Tensor of shape (n_subsequences,)
        Time indices t and t + z, shared by all cases.

    Returns
    -------
    ratio : torch.Tensor of shape (n_cases, n_subsequences)
        Without unit. Finite, with a finite gradient, also where states are zero.

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn.losses.memory import memory_ratio
    >>> states = torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])
    >>> memory_ratio(states, torch.tensor([0]), torch.tensor([1]))
    tensor([[1.]])
    """
    first = states.index_select(1, start)
    # vector_norm has the subgradient 0 at 0, where a square root's gradient is infinite.
    moved = torch.linalg.vector_norm(states.index_select(1, end) - first, dim=2)
    return moved / torch.linalg.vector_norm(first, dim=2).clamp_min(SMALLEST_NORM)


def all_memory_ratios(states):
    """`memory_ratio` of every subsequence, at the cost of one Gram matrix a case.

    Parameters
    ----------
    states : torch.Tensor of shape (n_cases, n_timepoints, n_units)
        Hidden states.

    Returns
    -------
    ratio : torch.Tensor of shape (n_cases, n_timepoints * (n_timepoints - 1) / 2)
        In the order of ``torch.triu_indices(n_timepoints, n_timepoints, 1)``.
    """
    return _AllMemoryRatios.apply(states)


class _AllMemoryRatios(torch.autograd.Function):
    """The ratios, with a gradient that costs one more product of matrices.

    Automatic differentiation would scatter the gradient of every pair into its two states,
    one after the other.
    """

    @staticmethod
    def forward(ctx, states):
        # |a - b|^2 = |a|^2 + |b|^2 - 2ab cancels where the memory moves slowly, and float32
        # would leave nothing of a relative movement of 1e-3: the Gram matrix is float64.
        h = states.double()
        gram = h @ h.mT
        squares = gram.diagonal(dim1=1, dim2=2)
        size = squares.sqrt().clamp_min(SMALLEST_NORM)
        moved = squares.unsqueeze(2) + squares.unsqueeze(1) - 2 * gram
        moved = moved.clamp_(min=0).sqrt_()
        ctx.save_for_backward(h, moved, size)
        ratio = (moved / size.unsqueeze(2)).flatten(1)
        return ratio.index_select(1, _all_subsequences(states)).to(states.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, ratio_grad):
        h, moved, size = ctx.saved_tensors
        grad = torch.zeros_like(moved)
        grad.view(len(h), -1).index_copy_(1, _all_subsequences(h), ratio_grad.double())
        grad /= size.unsqueeze(2)
        # Of the movement |h_j - h_i|; where nothing moved, the subgradient 0.
        pull = torch.where(moved > 0, grad / moved, 0.0)
        pull = pull + pull.mT
        states_grad = pull.sum(dim=2, keepdim=True) * h - pull @ h
        # Of the size |h_i| in the denominator; 0 where it is held at the smallest norm.
        shrink = torch.where(size > SMALLEST_NORM, (grad * moved).sum(dim=2) / size.square(), 0.0)
        return (states_grad - shrink.unsqueeze(2) * h).to(ratio_grad.dtype)


def draw_subsequences(n_timepoints, n_subsequences, rng):
    """Draw subsequences uniformly among all of at least two time points.

    Parameters
    ----------
    n_timepoints : int
        Length of the series.
    n_subsequences : int
        How many are drawn, with replacement.
    rng : torch.Generator
        Source of randomness.

    Returns
    -------
    start, end : torch.Tensor of shape (n_subsequences,)
        Time indices, ``start < end``.
    """
    one = torch.randint(n_timepoints, (n_subsequences,), generator=rng, device=rng.device)
    # The other end is uniform over the rest: no pair of zero length, none favoured.
    step = torch.randint(1, n_timepoints, (n_subsequences,), generator=rng, device=rng.device)
    other = (one + step) % n_timepoints
    return torch.minimum(one, other), torch.maximum(one, other)


class MemoryDiscrepancy(DistillationLoss):
    """Memory-discrepancy loss of MemKD, over short and over long subsequences.

    The short-term term compares the `memory_ratio` of student and teacher over every
    single step; the long-term term does so over random subsequences, redrawn every batch
    and shared by the batch and both networks. Both are means of the smooth L1 distance
    (beta 1). As the ratio is a scalar, widths may differ and no projection is learned.

    Parameters
    ----------
    short_weight : float, default=1.0
        Weight of the short-term term; 0 leaves it out.
    long_weight : float, default=1.0
        Weight of the long-term term; 0 leaves it out.
    n_subsequences : int or "all", default=100
        Subsequences drawn a batch. "all" uses every one, which is the expectation of the
        sampled loss and less noisy; a series with no more than `n_subsequences` of them
        always uses them all.

    References
    ----------
    .. [1] Udayangani, N., Nandakishor, K., Palaniswami, M. "MemKD: Memory-Discrepancy
       Knowledge Distillation for Efficient Time Series Classification." ICASSP 2025.
       arXiv:2601.04264.

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn.losses import MemoryDiscrepancy, Outputs
    >>> rng = torch.Generator().manual_seed(0)
    >>> teacher = Outputs(torch.zeros(4, 2), torch.randn(4, 24, 100, generator=rng))
    >>> student = Outputs(torch.zeros(4, 2), torch.randn(4, 24, 8, generator=rng))
    >>> sorted(MemoryDiscrepancy()(student, teacher, rng))
    ['long', 'short']
    """

    reads_states = True

    def __init__(self, short_weight=1.0, long_weight=1.0, n_subsequences=100):
        self.short_weight = short_weight
        self.long_weight = long_weight
        self.n_subsequences = n_subsequences

    def __call__(self, student, teacher, rng):
        """Compute the weighted terms "short" and "long"."""
        return self._terms(student.states, TeacherRatios(teacher.states), slice(None), rng)

    def prepare(self, teacher, n_units):
        """Compute the teacher's ratios once, where they take less memory than its states."""
        ratios = TeacherRatios(teacher.states, tabulate=self.long_weight != 0)
        return lambda student, index, rng: self._terms(student.states, ratios, index, rng)

    def check(self):
        """Raise ValueError if a parameter makes no sense."""
        check_number("short_weight", self.short_weight, low=0)
        check_number("long_weight", self.long_weight, low=0)
        check_number("n_subsequences", self.n_subsequences, low=1, integer=True, or_one_of=["all"])

    def _terms(self, states, teacher, index, rng):
        n_timepoints = states.shape[1]
        if teacher.n_timepoints != n_timepoints:
            raise ValueError(
                f"Got teacher states over {teacher.n_timepoints} time points, "
                f"but expected {n_timepoints}, as the student's."
            )
        terms = {}
        if self.short_weight:
            start = torch.arange(n_timepoints - 1, device=states.device)
            short = smooth_l1_loss(
                memory_ratio(states, start, start + 1), teacher.ratio(index, start, start + 1)
            )
            terms["short"] = self.short_weight * short
        if self.long_weight:
            n_all = n_timepoints * (n_timepoints - 1) // 2
            if self.n_subsequences == "all" or n_all <= self.n_subsequences:
                long = smooth_l1_loss(all_memory_ratios(states), teacher.all_ratios(index))
            else:
                start, end = draw_subsequences(n_timepoints, self.n_subsequences, rng)
                start, end = start.to(states.device), end.to(states.device)
                long = smooth_l1_loss(
                    memory_ratio(states, start, end), teacher.ratio(index, start, end)
                )
            terms["long"] = self.long_weight * long
        return terms


class TeacherRatios:
    """Memory ratios of a teacher over a data set, for any cases and subsequences.

    Parameters
    ----------
    states : torch.Tensor of shape (n_cases, n_timepoints, n_units)
        Hidden states of the teacher.
    tabulate : bool, default=False
        Whether to compute every ratio ahead and let the states go, if that takes less
        memory: up to 2 n_units + 1 time points it does.
    """

    def __init__(self, states, tabulate=False):
        _, self.n_timepoints, n_units = states.shape
        self.states, self.table = states, None
        if tabulate and self.n_timepoints - 1 <= 2 * n_units:
            # A few cases at a time: the Gram matrices of a batch are all the extra memory.
            self.table = torch.cat([all_memory_ratios(part) for part in states.split(64)])
            self.states = None

    def ratio(self, index, start, end):
        """`memory_ratio` of the cases at `index`."""
        if self.table is None:
            return memory_ratio(self.states[index], start, end)
        # Position of (start, end) in the order of triu_indices(n, n, 1).
        column = start * (2 * self.n_timepoints - start - 1) // 2 + end - start - 1
        return self.table[index].index_select(1, column)

    def all_ratios(self, index):
        """`all_memory_ratios` of the cases at `index`."""
        return all_memory_ratios(self.states[index]) if self.table is None else self.table[index]


def _all_subsequences(states):
    """Positions of every (start, end), start < end, in a flat matrix of time by time."""
    n_timepoints = states.shape[1]
    start, end = torch.triu_indices(n_timepoints, n_timepoints, 1, device=states.device)
    return start * n_timepoints + end
