"""The interface of distillation losses: two networks' outputs in, named terms out."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from sklearn.base import BaseEstimator

from memkd_sklearn._validation import check_number

__all__ = ["DistillationLoss", "LossSum", "Outputs", "TableLoss"]


@dataclass(frozen=True)
class Outputs:
    """A network's outputs for some series: one row a case.

    Attributes
    ----------
    logits : torch.Tensor of shape (n_cases, n_classes)
        Unnormalised class scores; of a teacher, logarithms of its class probabilities.
    states : torch.Tensor of shape (n_cases, n_timepoints, n_units) or None
        Hidden states of the top layer; None for a teacher that has none.
    lengths : torch.Tensor of shape (n_cases,) or None
        Number of time points of each series, in integers: states from there on are padding,
        which no loss may look at. None: all series fill the whole length.
    labels : torch.Tensor of shape (n_cases,) or None
        The true classes, as indices; a teacher's outputs have them.
    """

    logits: torch.Tensor
    states: torch.Tensor | None = None
    lengths: torch.Tensor | None = None
    labels: torch.Tensor | None = None

    @property
    def last_states(self) -> torch.Tensor:
        """States at the end of each series, of shape (n_cases, n_units)."""
        assert self.states is not None
        if self.lengths is None:
            return self.states[:, -1]
        return self.states[torch.arange(len(self.states)), self.lengths - 1]

    @property
    def is_real(self) -> torch.Tensor | None:
        """Which time points are no padding, of shape (n_cases, n_timepoints); None if all."""
        if self.lengths is None:
            return None
        assert self.states is not None
        time = torch.arange(self.states.shape[1], device=self.states.device)
        return time < self.lengths.unsqueeze(1)

    def __getitem__(self, index):
        """The outputs of the cases at `index`."""
        return Outputs(*(None if part is None else part[index] for part in self._parts()))

    def _parts(self):
        return self.logits, self.states, self.lengths, self.labels

    def __deepcopy__(self, memo):
        # Nobody writes into outputs: copies of a prepared loss share them.
        return self

    @staticmethod
    def join(parts: Iterable["Outputs"]) -> "Outputs":
        """Join outputs of consecutive cases."""
        columns = zip(*(part._parts() for part in parts), strict=True)
        logits, *others = (None if column[0] is None else torch.cat(column) for column in columns)
        assert logits is not None
        return Outputs(logits, *others)


class DistillationLoss(BaseEstimator):
    """Base class of the losses that make a student copy its teacher.

    A loss of your own needs `__call__`, and, as every scikit-learn object, an ``__init__``
    that stores its parameters and nothing else. Losses add up and can be weighted:
    ``MemoryDiscrepancy() + 0.5 * SoftTargets()``.

    Attributes
    ----------
    reads_states : bool
        Whether the loss needs the teacher's hidden states.

    Examples
    --------
    >>> from memkd_sklearn.losses import DistillationLoss
    >>> class LogitMatching(DistillationLoss):
    ...     def __call__(self, student, teacher, rng):
    ...         return {"logit": (student.logits - teacher.logits).square().mean()}
    >>> 0.5 * LogitMatching()
    LossSum(losses=[LogitMatching()], weights=[0.5])
    """

    reads_states = False

    def __call__(
        self, student: Outputs, teacher: Outputs, rng: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Compare a student with its teacher on one batch.

        Parameters
        ----------
        student, teacher : Outputs
            Outputs of both for the same cases. The teacher's tensors carry no gradient.
        rng : torch.Generator
            The only source of random numbers that a loss may use.

        Returns
        -------
        terms : dict of str to torch.Tensor
            Scalars, weighted: they add up to the loss.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define __call__.")

    def prepare(self, teacher: Outputs, n_units: int, rng: torch.Generator) -> Any:
        """Compute, once a fit, all that does not depend on the student's outputs.

        Override it to compute the teacher's side ahead, or to bring parameters that are
        trained with the student (return a ``torch.nn.Module`` then).

        Parameters
        ----------
        teacher : Outputs
            The teacher's outputs for all cases, also the held-out ones.
        n_units : int
            Width of the student's states.
        rng : torch.Generator
            The only source of random numbers that a loss may use.

        Returns
        -------
        prepared : callable
            ``prepared(student, index, rng)`` is `__call__` on the cases at `index`, in tensors
            with a graph: training goes step by step. Whole epochs are one compiled call, where
            the network runs on the kernel, if it also has a method
            ``kernel_losses(n_batches, rng)``, which makes the draws of an epoch's batches and
            returns a list of `KernelLoss`, or None. All losses of this package have it.
        """
        return lambda student, index, rng: self(student, teacher[index], rng)

    def prepare_parts(
        self, parts: Iterable[Outputs], n_cases: int, n_units: int, rng: torch.Generator
    ) -> Any:
        """Prepare the loss, as `prepare` does, from outputs that come in parts.

        Override it where a part can be reduced to less than the teacher's states: they then
        never are in memory as a whole.

        Parameters
        ----------
        parts : iterable of Outputs
            The teacher's outputs for consecutive cases, to be gone through once.
        n_cases : int
            How many cases these are in all.
        n_units, rng
            As `prepare` takes them.

        Returns
        -------
        prepared : callable
            As `prepare` returns it.
        """
        return self.prepare(Outputs.join(parts), n_units, rng)

    def check(self) -> None:
        """Raise ValueError or TypeError if a parameter makes no sense."""

    def __add__(self, other: "DistillationLoss") -> "LossSum":
        return LossSum([self], [1.0]) + other

    def __mul__(self, weight: float) -> "LossSum":
        return LossSum([self], [1.0]) * weight

    __rmul__ = __mul__


class TableLoss(DistillationLoss):
    """Base of losses that know of the teacher one table, with a row a case.

    A subclass defines `tabulate`, `terms` and, to be trained on in compiled epochs,
    `kernel_losses`.

    Examples
    --------
    >>> from numba import njit
    >>> from memkd_sklearn.losses.base import TableLoss
    >>> from memkd_sklearn.losses.kernel_loss import KernelLoss
    >>> @njit
    ... def match_logits(student, teacher, weights, gradients, values):
    ...     logits, rows, wanted = student[1], teacher[0], teacher[1]
    ...     scale, values[0] = weights[0] / logits.size, 0
    ...     for case in range(len(logits)):
    ...         for k in range(logits.shape[1]):
    ...             gap = logits[case, k] - wanted[rows[case], 0, k]
    ...             values[0] += scale * gap * gap
    ...             gradients[1][case, k] += 2 * scale * gap
    >>> class LogitMatching(TableLoss):
    ...     def tabulate(self, teacher):
    ...         return teacher.logits
    ...
    ...     def terms(self, student, wanted):
    ...         return {"logit": (student.logits - wanted).square().mean()}
    ...
    ...     def kernel_losses(self, table):
    ...         return [KernelLoss(match_logits, ("logit",), [1.0], table)]
    """

    def tabulate(self, teacher: Outputs) -> Any:
        """Reduce the teacher's outputs to the table.

        Parameters
        ----------
        teacher : Outputs
            The teacher's outputs for some cases.

        Returns
        -------
        table : torch.Tensor of shape (n_cases, ...)
            A row a case, of up to two further dimensions.
        """
        raise NotImplementedError

    def terms(self, student: Outputs, wanted: Any) -> dict[str, torch.Tensor]:
        """Compute the weighted terms, with a graph.

        Parameters
        ----------
        student : Outputs
            The student's outputs for a batch.
        wanted : torch.Tensor of shape (n_cases, ...)
            The rows of the table for the same cases.

        Returns
        -------
        terms : dict of str to torch.Tensor
            Scalars, by name.
        """
        raise NotImplementedError

    def kernel_losses(self, table: Any) -> Any:
        """Describe the loss to compiled epochs.

        Parameters
        ----------
        table : torch.Tensor of shape (n_cases, ...)
            As `tabulate` returns it, of all cases.

        Returns
        -------
        losses : list of KernelLoss, or None
            None if the loss has no kernel.
        """
        return None

    def __call__(
        self, student: Outputs, teacher: Outputs, rng: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted terms."""
        return self.terms(student, self.tabulate(teacher))

    def prepare(self, teacher: Outputs, n_units: int, rng: torch.Generator) -> Any:
        """Keep the table."""
        return _PreparedTable(self, self.tabulate(teacher))

    def prepare_parts(
        self, parts: Iterable[Outputs], n_cases: int, n_units: int, rng: torch.Generator
    ) -> Any:
        """Keep the table, made part by part."""
        return _PreparedTable(self, torch.cat([self.tabulate(part) for part in parts]))


class _PreparedTable:
    def __init__(self, loss, table):
        self.loss, self.table = loss, table

    def __deepcopy__(self, memo):
        # Nobody writes into it: students of one teacher share it.
        return self

    def __call__(self, student, index, rng):
        return self.loss.terms(student, self.table[index])

    def kernel_losses(self, n_batches, rng):
        return self.loss.kernel_losses(self.table)


class LossSum(DistillationLoss):
    """A weighted sum of losses.

    Parameters
    ----------
    losses : list of DistillationLoss
        The losses that are summed.
    weights : list of float
        One factor for each.
    """

    def __init__(self, losses: list[DistillationLoss], weights: list[float]) -> None:
        self.losses = losses
        self.weights = weights

    @property
    def reads_states(self) -> bool:  # type: ignore[override]
        """Whether any of the losses needs the teacher's hidden states."""
        return any(loss.reads_states for loss in self.losses)

    def __call__(
        self, student: Outputs, teacher: Outputs, rng: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted terms of all losses."""
        return self._gather(loss(student, teacher, rng) for loss in self.losses)

    def prepare(self, teacher: Outputs, n_units: int, rng: torch.Generator) -> Any:
        """Prepare every loss."""
        return self.prepare_parts([teacher], len(teacher.logits), n_units, rng)

    def prepare_parts(
        self, parts: Iterable[Outputs], n_cases: int, n_units: int, rng: torch.Generator
    ) -> Any:
        """Prepare every loss, letting the one that reads states reduce them, if it is one."""
        readers = [loss for loss in self.losses if loss.reads_states]
        kept = []

        def passing():
            for part in parts:
                kept.append(replace(part, states=None))
                yield part

        if len(readers) == 1:
            ready = {id(readers[0]): readers[0].prepare_parts(passing(), n_cases, n_units, rng)}
        else:
            kept, ready = [Outputs.join(parts)], {}
        prepared = [
            ready[id(loss)]
            if id(loss) in ready
            else loss.prepare_parts(kept, n_cases, n_units, rng)
            for loss in self.losses
        ]
        return _PreparedSum(self, prepared)

    def check(self) -> None:
        """Raise TypeError or ValueError if a weight or a parameter of a loss makes no sense."""
        if not self.losses or len(self.losses) != len(self.weights):
            raise ValueError(
                f"Got losses={self.losses!r} and weights={self.weights!r}, but expected a weight "
                "for each of one or more losses."
            )
        for loss, weight in zip(self.losses, self.weights, strict=True):
            check_number("weights", weight, low=0)
            loss.check()

    def _gather(self, all_terms):
        """Weight and merge terms; losses that share a term's name share its entry."""
        merged = {}
        for weight, terms in zip(self.weights, all_terms, strict=True):
            for name, value in terms.items():
                merged[name] = merged.get(name, 0.0) + weight * value
        return merged

    def __add__(self, other: "DistillationLoss") -> "LossSum":
        if not isinstance(other, DistillationLoss):
            return NotImplemented
        other = other if isinstance(other, LossSum) else LossSum([other], [1.0])
        return LossSum(self.losses + other.losses, self.weights + other.weights)

    def __mul__(self, weight: float) -> "LossSum":
        return LossSum(self.losses, [weight * w for w in self.weights])

    __rmul__ = __mul__


class _PreparedSum(torch.nn.Module):
    """A module, so that parameters of its parts reach the optimiser."""

    def __init__(self, loss, parts):
        super().__init__()
        self.loss = loss
        self.parts = parts
        self.trained = torch.nn.ModuleList(p for p in parts if isinstance(p, torch.nn.Module))

    def forward(self, student, index, rng):
        return self.loss._gather(part(student, index, rng) for part in self.parts)

    def kernel_losses(self, n_batches, rng):
        found = []
        for weight, part in zip(self.loss.weights, self.parts, strict=True):
            losses = part.kernel_losses(n_batches, rng) if hasattr(part, "kernel_losses") else None
            if losses is None:
                return None
            found += [loss.weighted(weight) for loss in losses]
        return found
