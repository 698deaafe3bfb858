"""Numba kernels of a training step's small parts, which take longer to dispatch than to compute."""

import math

from memkd_sklearn.kernels.compiling import inlined, kernel

__all__ = ["adam_step", "cross_entropy", "highest_of"]


@kernel
def adam_step(
    weights, gradient, mean, square, largest_norm, weight_decay, beta, second_beta, epsilon, rate
):
    """Clip the gradient, update its averages, and move the weights.

    Parameters
    ----------
    weights : np.ndarray of shape (n,), float32
        They are moved.
    gradient : np.ndarray of shape (n,), float32
        The loss's, before it is clipped and the weights' decay added.
    mean, square : np.ndarray of shape (n,), float32
        Averages of gradients and of their squares, which are updated.
    largest_norm : float
        A longer gradient is scaled to this length.
    weight_decay : float
        Factor of the weights in the gradient.
    beta, second_beta : float
        How much of both averages stays.
    epsilon : float
        Is added to the root of the average square.
    rate : float
        How far the weights move.
    """
    total = 0.0
    for value in gradient:
        total += value * value
    norm = math.sqrt(total)
    scale = largest_norm / norm if norm > largest_norm else 1.0
    for i in range(len(weights)):
        slope = gradient[i] * scale + weight_decay * weights[i]
        mean[i] += (1 - beta) * (slope - mean[i])
        square[i] = second_beta * square[i] + (1 - second_beta) * slope * slope
        weights[i] -= rate * mean[i] / (math.sqrt(square[i]) + epsilon)


@kernel(reshapes_loops=False)
def cross_entropy(logits, y, class_weight, grad):
    """Weighted mean cross-entropy of logits (n, k) with classes y (n,); its gradient to `grad`.

    An array of size 0 stands for equal weights of the classes. Cases of class -1 do not count; the
    mean over no case is 0.
    """
    total = weights = 0.0
    for case in range(len(logits)):
        label = y[case]
        if label < 0:
            for k in range(logits.shape[1]):
                grad[case, k] = 0
            continue
        weight = class_weight[label] if class_weight.size else 1.0
        highest = highest_of(logits[case])
        normaliser = 0.0
        for k in range(logits.shape[1]):
            normaliser += math.exp(logits[case, k] - highest)
        total += weight * (math.log(normaliser) + highest - logits[case, label])
        weights += weight
        for k in range(logits.shape[1]):
            proba = math.exp(logits[case, k] - highest) / normaliser
            grad[case, k] = weight * (proba - (k == label))
    if weights == 0.0:
        return 0.0
    for case in range(len(logits)):
        for k in range(logits.shape[1]):
            grad[case, k] /= weights
    return total / weights


@inlined
def highest_of(numbers):
    """The highest of some numbers; NumPy's `max` takes a third of a second to compile."""
    highest = numbers[0]
    for number in numbers:
        highest = max(highest, number)
    return highest
