"""Soft dynamic time warping, forward and backward, compiled.

Cases are innermost: a cell waits for the one before it, but not for another case's. All
functions take contiguous arrays of one dtype and release the GIL.
"""

import math

import numpy as np
from numba import njit

__all__ = ["backward", "forward"]


@njit(cache=True, nogil=True)
def forward(cost, lengths, gamma):
    """Return the distances (n,) and what `backward` needs, of costs (T, T, n).

    The latter are, for every cell, the shares of its soft minimum that come from the cell
    before in both sequences, in the first, and in the second: an array of (3, T, T, n).
    """
    n, _, n_cases = cost.shape
    total = np.full((n + 1, n + 1, n_cases), np.inf, cost.dtype)
    total[0, 0] = 0
    shares = np.empty((3, n, n, n_cases), cost.dtype)
    for i in range(n):
        for j in range(n):
            for case in range(n_cases):
                both, first, second = (
                    total[i, j, case],
                    total[i, j + 1, case],
                    total[i + 1, j, case],
                )
                least = min(both, first, second)
                both = math.exp((least - both) / gamma)
                first = math.exp((least - first) / gamma)
                second = math.exp((least - second) / gamma)
                spread = both + first + second
                total[i + 1, j + 1, case] = cost[i, j, case] + least - gamma * math.log(spread)
                shares[0, i, j, case] = both / spread
                shares[1, i, j, case] = first / spread
                shares[2, i, j, case] = second / spread
    distance = np.empty(n_cases, cost.dtype)
    for case in range(n_cases):
        distance[case] = total[lengths[case], lengths[case], case]
    return distance, shares


@njit(cache=True, nogil=True)
def backward(lengths, shares):
    """Return the gradient of the distances by the costs, (T, T, n)."""
    _, n, _, n_cases = shares.shape
    # The spare rows take what the first cells hand on to none.
    passed = np.zeros((n + 1, n + 1, n_cases), shares.dtype)
    for case in range(n_cases):
        passed[lengths[case], lengths[case], case] = 1
    # A cell hands on to those before it what it got from those after it.
    for i in range(n, 0, -1):
        for j in range(n, 0, -1):
            for case in range(n_cases):
                mine = passed[i, j, case]
                passed[i - 1, j - 1, case] += mine * shares[0, i - 1, j - 1, case]
                passed[i - 1, j, case] += mine * shares[1, i - 1, j - 1, case]
                passed[i, j - 1, case] += mine * shares[2, i - 1, j - 1, case]
    return passed[1:, 1:]
