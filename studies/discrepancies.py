"""Other ways to compare memory ratios than the method's own: candidates, for `diet.py` to measure.

Each is the loss of MemKD with the same subsequences, drawn alike, but for the distance between
the ratios of student and teacher. They are written in torch, so that a step goes through autograd.
"""

import torch
from torch.nn.functional import smooth_l1_loss

from memkd_sklearn.losses import MemoryDiscrepancy
from memkd_sklearn.losses.memory import memory_ratio

__all__ = ["Deviations", "LogRatios", "ScaledRatios"]

# Ratios are at least this much before their logarithm is taken, and no spread counts as less.
SMALLEST = 1e-3


class _Compared(MemoryDiscrepancy):
    """The same ratios, with a distance of one's own."""

    def prepare_parts(self, parts, n_cases, n_units, rng):
        return _Prepared(super().prepare_parts(parts, n_cases, n_units, rng), self.distance)


class _Prepared:
    def __init__(self, table, distance):
        self.table, self.distance = table, distance
        self.spread = table.ratios.std(dim=0).clamp_min(SMALLEST)

    def __deepcopy__(self, memo):
        return self

    def __call__(self, student, index, rng):
        terms, table = {}, self.table
        for name, weight in table.weights.items():
            if name == "short":
                columns = table.steps
            elif table.n_drawn is None:
                columns = torch.arange(len(table.start))
            else:
                columns = table._draw(1, rng)[0]
            ratios = memory_ratio(student.states, table.start[columns], table.end[columns])
            wanted = table.ratios[index][:, columns]
            terms[name] = weight * self.distance(ratios, wanted, self.spread[columns])
        return terms


class LogRatios(_Compared):
    """Smooth L1 distance of the logarithms."""

    def distance(self, ratios, wanted, spread):
        return smooth_l1_loss(*(r.clamp_min(SMALLEST).log() for r in (ratios, wanted)))


class ScaledRatios(_Compared):
    """Smooth L1 distance in units of the spread of the teacher's ratios over cases."""

    def distance(self, ratios, wanted, spread):
        return smooth_l1_loss(ratios / spread, wanted / spread)


class Deviations(_Compared):
    """One minus the correlation over the batch's cases of log ratios, a subsequence at a time.

    What all cases share does not count.
    """

    def distance(self, ratios, wanted, spread):
        if len(ratios) < 2:
            return 0.0 * ratios.sum()
        a, b = (r.clamp_min(SMALLEST).log() for r in (ratios, wanted))
        a, b = a - a.mean(dim=0), b - b.mean(dim=0)
        size = (a.square().sum(dim=0) * b.square().sum(dim=0) + SMALLEST**2).sqrt()
        return 1 - ((a * b).sum(dim=0) / size).mean()
