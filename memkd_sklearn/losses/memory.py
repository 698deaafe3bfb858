"""Memory discrepancy: the student moves its memory as much as the teacher does.

The method is that of N. Udayangani, K. Nandakishor and M. Palaniswami, "MemKD:
Memory-Discrepancy Knowledge Distillation for Efficient Time Series Classification",
ICASSP 2025, arXiv:2601.04264.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import smooth_l1_loss

from memkd_sklearn._validation import check_number
from memkd_sklearn.losses.base import DistillationLoss

__all__ = [
    "MemoryDiscrepancy",
    "all_memory_ratios",
    "draw_subsequences",
    "memory_ratio",
]

# A state's norm below this counts as this much: the ratio stays finite where a network
# has not yet moved (constant series, zero weights), and is exact everywhere else.
SMALLEST_NORM = 1e-6

# A fit keeps the teacher's ratios over all subsequences if these are no more than LARGEST_POOL
# (100 time points), else over a pool of POOL_SIZE, from which every batch draws its own.
LARGEST_POOL = 5000
POOL_SIZE = 2000


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


class Comparison(NamedTuple):
    """A term of the loss: memory ratios over some subsequences, and a teacher's.

    Attributes
    ----------
    weight : float
        Weight of the term.
    targets : np.ndarray or torch.Tensor of shape (n_rows, n_columns)
        The teacher's ratios.
    start, end : np.ndarray or torch.Tensor of shape (n_subsequences,), or None
        The subsequences. None stands for all, in the order of ``torch.triu_indices(n, n, 1)``.
    columns : np.ndarray or torch.Tensor of shape (n_subsequences,), or None
        Their columns in `targets`. None stands for all.
    """

    weight: float
    targets: object
    start: object = None
    end: object = None
    columns: object = None


class MeanDistances(torch.autograd.Function):
    """Weighted mean smooth L1 distances (beta 1) of memory ratios from a teacher's, on a CPU.

    ``MeanDistances.apply(states, lengths, rows, comparisons)`` gives a scalar for each
    `Comparison` (of arrays), and finds its gradient on the way. Subsequences that reach
    beyond a series' length are left out of the mean.
    """

    @staticmethod
    def forward(ctx, states, lengths, rows, comparisons):
        # Here, not above: Numba is needed by the first call, not by the import.
        from memkd_sklearn.losses import _kernels

        h = states.detach().contiguous().numpy()
        smallest = h.dtype.type(SMALLEST_NORM)
        no_lengths = lengths is None
        lengths = np.empty(0, np.int64) if no_lengths else lengths.numpy()
        rows = rows.numpy()
        values, grads = [], []
        for weight, targets, start, end, columns in comparisons:
            if no_lengths:
                count = len(h) * (targets.shape[1] if end is None else len(end))
            elif end is None:
                count = (lengths * (lengths - 1) // 2).sum()
            else:
                count = (end < lengths[:, np.newaxis]).sum()
            grad = np.empty(h.shape if ctx.needs_input_grad[0] else (0, 0, 0), h.dtype)
            scale = h.dtype.type(weight / max(count, 1))
            if start is None:
                total = _kernels.compare_all(h, lengths, targets, rows, smallest, scale, grad)
            else:
                total = _kernels.compare_pairs(
                    h, start, end, lengths, targets, rows, columns, smallest, scale, grad
                )
            values.append(torch.scalar_tensor(scale * total, dtype=states.dtype))
            grads.append(torch.from_numpy(grad))
        ctx.save_for_backward(*grads)
        return tuple(values)

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream):
        first, *others = ctx.saved_tensors
        total = first * upstream[0]
        for factor, grad in zip(upstream[1:], others, strict=True):
            total.addcmul_(grad, factor)
        return total, None, None, None


def tensor_distances(student, rows, comparisons):
    """Do what `MeanDistances` does with tensor operations, on any device."""
    for weight, targets, start, end, columns in comparisons:
        if start is None:
            ratio = all_memory_ratios(student.states)
            n_timepoints = student.states.shape[1]
            end = torch.triu_indices(n_timepoints, n_timepoints, 1, device=ratio.device)[1]
        else:
            ratio = memory_ratio(student.states, start, end)
        wanted = targets[rows] if columns is None else targets[rows][:, columns]
        distance = smooth_l1_loss(ratio, wanted, reduction="none")
        if student.lengths is None:
            yield weight * distance.mean()
        else:
            counts = end < student.lengths.unsqueeze(1)
            yield weight * torch.where(counts, distance, 0.0).sum() / counts.sum().clamp_min(1)


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
    n_all = n_timepoints * (n_timepoints - 1) // 2
    drawn = torch.randint(n_all, (n_subsequences,), generator=rng, device=rng.device)
    # How many begin up to each start, in the order of triu_indices(n, n, 1).
    n_up_to = torch.arange(n_timepoints - 1, 0, -1, device=rng.device).cumsum(0)
    start = torch.searchsorted(n_up_to, drawn, right=True)
    return start, drawn - n_up_to[start] + n_timepoints


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

    Notes
    -----
    A fit does not keep the teacher's states but their ratios: over all subsequences if
    there are no more than 5,000 (100 time points) or all are asked for, else over 2,000 that
    are drawn once, from which the batches draw theirs. So a case costs 20 kB or less, and
    4 bytes a time point; "all" costs ``2 n_timepoints ** 2`` bytes a case.

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

    def __init__(self, short_weight=1.0, long_weight=1.0, n_subsequences=100):
        self.short_weight = short_weight
        self.long_weight = long_weight
        self.n_subsequences = n_subsequences

    @property
    def reads_states(self):
        """Whether a term counts at all; else any classifier can be the teacher."""
        return bool(self.short_weight or self.long_weight)

    def __call__(self, student, teacher, rng):
        """Compute the weighted terms "short" and "long"."""
        index = torch.arange(len(teacher.logits), device=teacher.logits.device)
        return self.prepare(teacher, None, rng)(student, index, rng)

    def prepare(self, teacher, n_units, rng):
        """Compute the teacher's ratios once."""
        return self.prepare_parts([teacher], len(teacher.logits), n_units, rng)

    def prepare_parts(self, parts, n_cases, n_units, rng):
        """Compute the teacher's ratios once, and let its states go part by part."""
        if not self.reads_states:
            return lambda student, index, rng: {}
        return _PreparedDiscrepancy(self, parts, n_cases, rng)

    def check(self):
        """Raise ValueError if a parameter makes no sense."""
        check_number("short_weight", self.short_weight, low=0)
        check_number("long_weight", self.long_weight, low=0)
        check_number("n_subsequences", self.n_subsequences, low=1, integer=True, or_one_of=["all"])


class _PreparedDiscrepancy:
    """The loss on a data set of which the teacher's ratios are all that is kept.

    Parameters
    ----------
    loss : MemoryDiscrepancy
        What is asked for; terms of no weight are left out.
    parts : iterable of Outputs
        The teacher's outputs of consecutive cases, of one padded length.
    n_cases : int
        How many these are.
    rng : torch.Generator
        Source of the pool of subsequences, where it does not hold all.
    """

    def __init__(self, loss, parts, n_cases, rng):
        first = 0
        for part in parts:
            states = part.states.detach().cpu().contiguous()
            if first == 0:
                self.device, self.n_timepoints = part.states.device, states.shape[1]
                self._choose_subsequences(loss, rng)
                short = states.new_empty(n_cases, self.n_timepoints - 1)
                # Terms of no weight take no memory.
                n_pool = len(self.pool[0]) if loss.long_weight else 0
                long = states.new_empty(n_cases, n_pool)
            rows = slice(first, first + len(states))
            _tabulate(states, self.steps, short[rows])
            if loss.long_weight:
                _tabulate(states, None if self.pool_is_all else self.pool, long[rows])
            first = rows.stop
        self.terms = {}
        if loss.short_weight:
            parts = (short, *self.steps, torch.arange(self.n_timepoints - 1))
            self.terms["short"] = Comparison(loss.short_weight, *map(self._put, parts))
        if loss.long_weight:
            self.terms["long"] = Comparison(loss.long_weight, self._put(long))
        self.pool = tuple(map(self._put, self.pool))

    def __deepcopy__(self, memo):
        # Nobody writes into it: students of one teacher share it.
        return self

    def _choose_subsequences(self, loss, rng):
        n = self.n_timepoints
        self.steps = torch.arange(n - 1), torch.arange(1, n)
        n_all, asked = n * (n - 1) // 2, loss.n_subsequences
        # None: every subsequence is compared in every batch.
        self.n_drawn = None if asked == "all" or n_all <= asked else asked
        self.pool_is_all = self.n_drawn is None or n_all <= max(LARGEST_POOL, asked)
        if self.pool_is_all:
            self.pool = tuple(torch.triu_indices(n, n, 1))
        else:
            self.pool = draw_subsequences(n, max(POOL_SIZE, asked), rng)

    def _put(self, tensor):
        """What compiled loops take on the CPU, and what tensor operations take elsewhere."""
        return tensor.numpy() if self.device.type == "cpu" else tensor.to(self.device)

    def __call__(self, student, index, rng):
        if student.states.shape[1] != self.n_timepoints:
            raise ValueError(
                f"Got teacher states over {self.n_timepoints} time points, "
                f"but expected {student.states.shape[1]}, as the student's."
            )
        terms = self.terms
        if "long" in terms and self.n_drawn is not None:
            columns = torch.randint(len(self.pool[0]), (self.n_drawn,), generator=rng)
            columns = self._put(columns)
            start, end = (times[columns] for times in self.pool)
            terms = terms | {"long": terms["long"]._replace(start=start, end=end, columns=columns)}
        comparisons = tuple(terms.values())
        if self.device.type == "cpu":
            values = MeanDistances.apply(student.states, student.lengths, index, comparisons)
        else:
            values = tensor_distances(student, index, comparisons)
        return dict(zip(terms, values, strict=True))


def _tabulate(states, subsequences, out):
    """Write the memory ratios of states over subsequences; None stands for all."""
    # Here, not above: Numba is needed by the first call, not by the import.
    from memkd_sklearn.losses import _kernels

    h, out = states.numpy(), out.numpy()
    smallest = h.dtype.type(SMALLEST_NORM)
    if subsequences is None:
        _kernels.all_ratios(h, smallest, out)
    else:
        start, end = (times.numpy() for times in subsequences)
        _kernels.pair_ratios(h, start, end, smallest, out)


def _all_subsequences(states):
    """Positions of every (start, end), start < end, in a flat matrix of time by time."""
    n_timepoints = states.shape[1]
    start, end = torch.triu_indices(n_timepoints, n_timepoints, 1, device=states.device)
    return start * n_timepoints + end
