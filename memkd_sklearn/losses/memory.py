"""Memory discrepancy: the student moves its memory as much as the teacher does.

N. Udayangani, K. Nandakishor and M. Palaniswami published the method: "MemKD:
Memory-Discrepancy Knowledge Distillation for Efficient Time Series Classification",
ICASSP 2025, arXiv:2601.04264.
"""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import smooth_l1_loss

from memkd_sklearn._validation import check_number
from memkd_sklearn.kernels import memory_ratios
from memkd_sklearn.losses.base import DistillationLoss, LossSum, Outputs
from memkd_sklearn.losses.kernel_loss import KernelLoss

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
    """`memory_ratio` of every subsequence, with one matrix of distances a case.

    Parameters
    ----------
    states : torch.Tensor of shape (n_cases, n_timepoints, n_units)
        Hidden states.

    Returns
    -------
    ratio : torch.Tensor of shape (n_cases, n_timepoints * (n_timepoints - 1) / 2)
        In the order of ``torch.triu_indices(n_timepoints, n_timepoints, 1)``.
    """
    start, end = torch.triu_indices(*[states.shape[1]] * 2, 1, device=states.device)
    size = torch.linalg.vector_norm(states, dim=2).clamp_min(SMALLEST_NORM)
    # Of differences, as a Gram matrix would leave nothing of the slow moves of a large state.
    moved = torch.cdist(states, states, compute_mode="donot_use_mm_for_euclid_dist")
    return (moved / size.unsqueeze(2))[:, start, end]


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

    def __init__(
        self,
        short_weight: float = 1.0,
        long_weight: float = 1.0,
        n_subsequences: int | Literal["all"] = 100,
    ) -> None:
        self.short_weight = short_weight
        self.long_weight = long_weight
        self.n_subsequences = n_subsequences

    @property
    def reads_states(self) -> bool:  # type: ignore[override]
        """Whether a term counts at all; else any classifier can be the teacher."""
        return bool(self.short_weight or self.long_weight)

    def __call__(
        self, student: Outputs, teacher: Outputs, rng: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted terms "short" and "long"."""
        index = torch.arange(len(teacher.logits), device=teacher.logits.device)
        return self.prepare(teacher, 0, rng)(student, index, rng)

    def prepare(self, teacher: Outputs, n_units: int, rng: torch.Generator) -> Any:
        """Compute the teacher's ratios once."""
        return self.prepare_parts([teacher], len(teacher.logits), n_units, rng)

    def prepare_parts(
        self, parts: Iterable[Outputs], n_cases: int, n_units: int, rng: torch.Generator
    ) -> Any:
        """Compute the teacher's ratios once, and let its states go part by part."""
        if not self.reads_states:
            return LossSum([], []).prepare_parts(parts, n_cases, n_units, rng)
        return _PreparedDiscrepancy(self, parts, n_cases, rng)

    def check(self) -> None:
        """Raise ValueError if a parameter makes no sense."""
        check_number("short_weight", self.short_weight, low=0)
        check_number("long_weight", self.long_weight, low=0)
        check_number("n_subsequences", self.n_subsequences, low=1, integer=True, or_one_of=["all"])


class _PreparedDiscrepancy:
    """The loss on a data set of which the teacher's ratios are all that is kept.

    Parameters
    ----------
    loss : MemoryDiscrepancy
        The loss, of which terms without weight are left out.
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
            listed, every = rows[:, : self.n_listed], rows[:, self.n_listed :]
            if every.shape[1]:  # all there are; only these steps may be listed as well
                _tabulate(states, None, None, every)
                listed[:] = every[:, self._single_steps(start, end)]
            else:
                _tabulate(states, start, end, listed)
            first += len(states)
        # In the order of ``torch.triu_indices(n, n, 1)``, if these are all subsequences.
        self.ratios, self.start, self.end = (t.to(self.device) for t in (ratios, start, end))
        both = {"short": loss.short_weight, "long": loss.long_weight}
        self.weights = {name: float(weight) for name, weight in both.items() if weight}

    def __deepcopy__(self, memo):
        # Nobody writes into it: students of one teacher share it.
        return self

    def _single_steps(self, start, end):
        """Which of the columns from `n_listed` on are the listed steps."""
        is_step = end[self.n_listed :] == start[self.n_listed :] + 1
        return torch.where(is_step)[0][: self.n_listed]

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

    def _draw(self, n_batches, rng):
        """Columns of the subsequences that each of some batches compares, (n_batches, n_drawn)."""
        pool = len(self.steps), len(self.start)
        return torch.randint(*pool, (n_batches, self.n_drawn), generator=rng)

    def __call__(self, student, index, rng):
        if student.states.shape[1] != self.n_timepoints:
            raise ValueError(
                f"Got teacher states over {self.n_timepoints} time points, "
                f"but expected {student.states.shape[1]}, as the student's."
            )
        terms = {}
        for name, weight in self.weights.items():
            wanted, start, end = self.ratios[index], self.start, self.end
            if name == "long" and self.n_drawn is None:
                gap = all_memory_ratios(student.states) - wanted
            else:
                columns = self.steps if name == "short" else self._draw(1, rng)[0]
                columns = columns.to(self.device)
                start, end = start[columns], end[columns]
                gap = memory_ratio(student.states, start, end) - wanted[:, columns]
            n_gaps = gap.numel()
            if student.lengths is not None:
                is_real = end < student.lengths.unsqueeze(1)
                gap, n_gaps = torch.where(is_real, gap, 0.0), is_real.sum().clamp_min(1)
            distance = smooth_l1_loss(gap, torch.zeros_like(gap), reduction="sum")
            terms[name] = weight * distance / n_gaps
        return terms

    def kernel_losses(self, n_batches, rng):
        """Draw the subsequences that the batches of an epoch compare."""
        columns, draws = [], "long" in self.weights and self.n_drawn is not None
        if "short" in self.weights:
            columns.append(self.steps.expand(n_batches if draws else 1, -1))
        if draws:
            columns.append(self._draw(n_batches, rng))
        elif "long" in self.weights:
            columns.append(torch.arange(len(self.start))[None])
        return [
            KernelLoss(
                memory_ratios.memory_discrepancy,
                tuple(self.weights),
                np.array([*self.weights.values()]),
                self.ratios,
                places=torch.stack([self.start, self.end]),
                drawn=torch.hstack(columns),
                numbers=(SMALLEST_NORM, *(part.shape[1] for part in columns)),
            )
        ]


def _tabulate(states, start, end, out):
    """Write the memory ratios of states over subsequences; None stands for all."""
    h, out = states.numpy(), out.numpy()
    smallest = h.dtype.type(SMALLEST_NORM)
    if start is None:
        memory_ratios.all_ratios(h, smallest, out)
    else:
        memory_ratios.pair_ratios(h, start.numpy(), end.numpy(), smallest, out)
