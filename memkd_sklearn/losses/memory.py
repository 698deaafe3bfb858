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
from memkd_sklearn.kernels import memory_ratios
from memkd_sklearn.losses.base import DistillationLoss, by_graph
from memkd_sklearn.losses.comparisons import Comparisons, Ratios

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


_NO_LENGTHS = np.empty(0, np.int64)


class Table(NamedTuple):
    """Memory ratios of a teacher, over subsequences of every case.

    Attributes
    ----------
    ratios : np.ndarray or torch.Tensor of shape (n_rows, n_columns)
        A row a case.
    start, end : np.ndarray or torch.Tensor of shape (n_columns,)
        The subsequences: all, in the order of ``torch.triu_indices(n, n, 1)``, or some.
    """

    ratios: object
    start: object
    end: object


def compare(states, lengths, rows, table, columns, weights, wants_grad=True):
    """Weighted mean smooth L1 distances (beta 1) of memory ratios from a teacher's, on a CPU.

    Parameters
    ----------
    states : torch.Tensor of shape (n_cases, n_timepoints, n_units)
        The student's states.
    lengths : torch.Tensor of shape (n_cases,) or None
        Time points of each series. Subsequences that reach beyond are left out of the mean.
    rows : torch.Tensor of shape (n_cases,)
        The cases' rows in the table.
    table : Table
        Of arrays.
    columns : list of (np.ndarray of shape (n_subsequences,) or None)
        Columns of the table that each term is a mean over; None stands for every one.
    weights : np.ndarray of shape (n_terms,)
        Weight of each term, in float64.
    wants_grad : bool, default=True
        Whether to find the gradient.

    Returns
    -------
    values : list of float
        The terms.
    grad : torch.Tensor of the shape of `states`
        Gradient of their sum; empty if it is not wanted.
    """
    lengths = _NO_LENGTHS if lengths is None else lengths.numpy()
    grad = torch.empty(states.shape if wants_grad else (0, 0, 0), dtype=states.dtype)
    values = np.empty(len(columns))
    chosen = [np.arange(len(table.start)) if part is None else part for part in columns]
    memory_ratios.ratio_distances(
        states.detach().contiguous().numpy(),
        lengths,
        rows.numpy(),
        *table,
        SMALLEST_NORM,
        np.concatenate(chosen),
        np.array([*map(len, chosen)]),
        weights,
        values,
        grad.numpy(),
    )
    return values.tolist(), grad


class MeanDistances(torch.autograd.Function):
    """`compare` in a graph: a scalar for each of the columns and weights."""

    @staticmethod
    def forward(ctx, states, lengths, rows, table, columns, weights):
        given = states, lengths, rows, table
        terms = [
            compare(*given, columns[i : i + 1], weights[i : i + 1], ctx.needs_input_grad[0])
            for i in range(len(columns))
        ]
        ctx.save_for_backward(*(grad for _, grad in terms))
        return tuple(torch.scalar_tensor(value, dtype=states.dtype) for (value,), _ in terms)

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream):
        grads = zip(upstream, ctx.saved_tensors, strict=True)
        return sum(factor * grad for factor, grad in grads), None, None, None, None, None


def tensor_distances(states, lengths, rows, table, columns, weights):
    """Do what `MeanDistances` does with tensor operations, on any device."""
    for chosen, weight in zip(columns, weights.tolist(), strict=True):
        wanted, start, end = table.ratios[rows], table.start, table.end
        if chosen is None:
            ratio = all_memory_ratios(states)
        else:
            wanted, start, end = wanted[:, chosen], start[chosen], end[chosen]
            ratio = memory_ratio(states, start, end)
        distance = smooth_l1_loss(ratio, wanted, reduction="none")
        if lengths is None:
            yield weight * distance.mean()
        else:
            counts = end < lengths.unsqueeze(1)
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
    there are no more than 5,000 (100 time points) or all are asked for, else over 2,000 (or
    `n_subsequences`, if these are more) that are drawn once, from which the batches draw
    theirs, and single steps. So a case costs 20 kB or less, or 8 kB and 4 bytes a time point;
    "all" costs ``2 n_timepoints ** 2`` bytes a case.

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
            return _NothingCompared()
        return _PreparedDiscrepancy(self, parts, n_cases, rng)

    def check(self):
        """Raise ValueError if a parameter makes no sense."""
        check_number("short_weight", self.short_weight, low=0)
        check_number("long_weight", self.long_weight, low=0)
        check_number("n_subsequences", self.n_subsequences, low=1, integer=True, or_one_of=["all"])


class _NothingCompared:
    """The loss of no weight: no terms."""

    def __call__(self, student, index, rng):
        return {}

    def comparisons(self, n_batches, rng):
        """See `memkd_sklearn.losses.comparisons.Comparisons`."""
        return Comparisons()


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
                start, end = self._choose_subsequences(loss, rng)
                ratios = states.new_empty(n_cases, len(start))
            rows = ratios[first : first + len(states)]
            listed = start[: self.n_listed], end[: self.n_listed]
            _tabulate(states, *listed, rows[:, : self.n_listed])
            if self.n_listed < len(start):
                _tabulate(states, None, None, rows[:, self.n_listed :])
            first += len(states)
        self.table = Table(*map(self._put, (ratios, start, end)))
        both = {"short": loss.short_weight, "long": loss.long_weight}
        self.names = [name for name, weight in both.items() if weight]
        self.weights = np.array([both[name] for name in self.names], dtype=np.float64)
        self.steps = self._put(self.steps)

    def __deepcopy__(self, memo):
        # Nobody writes into it: students of one teacher share it.
        return self

    def _choose_subsequences(self, loss, rng):
        """Say which subsequences the table has, and which of its columns are single steps.

        From column `n_listed` on, these are all there are.
        """
        n, asked = self.n_timepoints, loss.n_subsequences
        start = torch.arange(n - 1)
        steps = start, start + 1
        n_all = n * (n - 1) // 2
        # None: every subsequence is compared in every batch.
        self.n_drawn = asked if asked != "all" and n_all > asked else None
        if loss.long_weight and self.n_drawn is None:
            every = torch.triu_indices(n, n, 1)
            self.steps, self.n_listed = torch.where(every[1] == every[0] + 1)[0], 0
            return every
        # Single steps come first, side by side: every batch reads all of them.
        self.steps, self.n_listed = start, n - 1
        if not loss.long_weight:
            return steps
        if n_all <= LARGEST_POOL:
            pool = torch.triu_indices(n, n, 1)
        else:
            pool = draw_subsequences(n, max(POOL_SIZE, asked), rng)
            self.n_listed += len(pool[0])
        return tuple(map(torch.cat, zip(steps, pool, strict=True)))

    def _put(self, tensor):
        """What compiled loops take on the CPU, and what tensor operations take elsewhere."""
        return tensor.numpy() if self.device.type == "cpu" else tensor.to(self.device)

    def _columns(self, student, rng):
        """Columns of the table for each term of a batch."""
        if student.states.shape[1] != self.n_timepoints:
            raise ValueError(
                f"Got teacher states over {self.n_timepoints} time points, "
                f"but expected {student.states.shape[1]}, as the student's."
            )
        columns = [self.steps] if "short" in self.names else []
        if "long" not in self.names:
            return columns
        if self.n_drawn is None:
            return [*columns, None]
        return [*columns, self._put(self._draw(1, rng)[0])]

    def _draw(self, n_batches, rng):
        """Columns of the subsequences that each of some batches compares, (n_batches, n_drawn)."""
        pool = len(self.steps), len(self.table.start)
        return torch.randint(*pool, (n_batches, self.n_drawn), generator=rng)

    def comparisons(self, n_batches, rng):
        """Draw what some batches compare: `memkd_sklearn.losses.comparisons.Comparisons`."""
        if self.device.type != "cpu":
            return None
        columns, draws = [], "long" in self.names and self.n_drawn is not None
        if "short" in self.names:
            columns.append(np.tile(self.steps, (n_batches if draws else 1, 1)))
        if draws:
            columns.append(self._draw(n_batches, rng).numpy())
        elif "long" in self.names:
            columns.append(np.arange(len(self.table.start))[None])
        sizes = np.array([part.shape[1] for part in columns])
        names, columns = tuple(self.names), np.hstack(columns)
        return Comparisons(Ratios(names, *self.table, SMALLEST_NORM, columns, sizes, self.weights))

    def __call__(self, student, index, rng):
        distances = MeanDistances.apply if self.device.type == "cpu" else tensor_distances
        columns = self._columns(student, rng)
        given = student.states, student.lengths, index, self.table
        values = distances(*given, columns, self.weights)
        return dict(zip(self.names, values, strict=True))

    def differentiate(self, student, index, rng, scale):
        """Compute the terms and their gradient: `memkd_sklearn.losses.base.differentiate`."""
        if self.device.type != "cpu":
            return by_graph(self, student, index, rng, scale)
        given = student.states, student.lengths, index, self.table
        values, grad = compare(*given, self._columns(student, rng), self.weights)
        values = dict(zip(self.names, values, strict=True))
        return values, None, grad if scale == 1 else grad * scale


def _tabulate(states, start, end, out):
    """Write the memory ratios of states over subsequences; None stands for all."""
    h, out = states.numpy(), out.numpy()
    smallest = h.dtype.type(SMALLEST_NORM)
    if start is None:
        memory_ratios.all_ratios(h, smallest, out)
    else:
        memory_ratios.pair_ratios(h, start.numpy(), end.numpy(), smallest, out)


def _all_subsequences(states):
    """Positions of every (start, end), start < end, in a flat matrix of time by time."""
    n_timepoints = states.shape[1]
    start, end = torch.triu_indices(n_timepoints, n_timepoints, 1, device=states.device)
    return start * n_timepoints + end
