"""Kernels of losses on class scores; `train_epoch` in `epoch.py` has the arguments."""

import math

from memkd_sklearn.kernels.adam_and_scores import highest_of
from memkd_sklearn.kernels.compiling import inlined, kernel

__all__ = ["decoupled", "soft_targets"]


@kernel
def soft_targets(student, teacher, weights, gradients, values):
    """Soft targets: the table has logarithms of the teacher's probabilities (n_rows, 1, n_classes).

    The one number is the temperature.
    """
    logits, logits_grad = student[1], gradients[1]
    rows, wanted, _, _, numbers = teacher
    temperature = numbers[0]
    total, factor = 0.0, weights[0] * temperature / len(logits)
    for case in range(len(logits)):
        theirs = wanted[rows[case], 0]
        highest = highest_of(logits[case]) / temperature
        normaliser = 0.0
        for k in range(logits.shape[1]):
            normaliser += math.exp(logits[case, k] / temperature - highest)
        for k in range(logits.shape[1]):
            ours = logits[case, k] / temperature - highest - math.log(normaliser)
            proba = math.exp(theirs[k])
            total += proba * (theirs[k] - ours)
            logits_grad[case, k] += factor * (math.exp(ours) - proba)
    values[0] = factor * temperature * total


@kernel
def decoupled(student, teacher, weights, gradients, values):
    """Decoupled soft targets.

    A row of the table has the true class, and logarithms of the teacher's probabilities of that
    and of the rest, and of each other class if it is another: (n_rows, 1, 2 + n_classes). The
    numbers are the temperature and the weights alpha and beta of the two parts.
    """
    logits, logits_grad = student[1], gradients[1]
    rows, wanted, _, _, numbers = teacher
    temperature, alpha, beta = numbers
    n_cases, n_classes = logits.shape
    total, factor = 0.0, weights[0] * temperature / n_cases
    for case in range(n_cases):
        row = wanted[rows[case], 0]
        label = int(row[0])
        log_all = _log_sum(logits[case], temperature, -1)
        log_rest = _log_sum(logits[case], temperature, label)
        log_own = logits[case, label] / temperature - log_all
        own, rest, wanted_own, wanted_rest = (
            math.exp(log_own), math.exp(log_rest - log_all), math.exp(row[1]), math.exp(row[2]),
        )  # fmt: skip
        total += alpha * wanted_own * (row[1] - log_own)
        total += alpha * wanted_rest * (row[2] - (log_rest - log_all))
        logits_grad[case, label] += factor * alpha * (own - wanted_own)
        for k in range(n_classes):
            if k != label:
                theirs = row[3 + k - (k > label)]
                ours, wanted_other = logits[case, k] / temperature - log_rest, math.exp(theirs)
                total += beta * wanted_other * (theirs - ours)
                slope = alpha * (rest - wanted_rest) * math.exp(ours)
                slope += beta * (math.exp(ours) - wanted_other)
                logits_grad[case, k] += factor * slope
    values[0] = factor * temperature * total


@inlined
def _log_sum(logits, temperature, left_out):
    """Logarithm of the sum of exponentials of scores, but for one of them."""
    highest = -math.inf
    for k in range(len(logits)):
        if k != left_out:
            highest = max(highest, logits[k] / temperature)
    total = 0.0
    for k in range(len(logits)):
        if k != left_out:
            total += math.exp(logits[k] / temperature - highest)
    return highest + math.log(total)
