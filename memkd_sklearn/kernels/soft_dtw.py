"""Soft dynamic time warping, forward and backward, many cases at a time.

Cases are worked through in tiles of `LANES`, cell by cell and row by row: a cell waits for the
one before it, but not for another case's.
"""

import numpy as np

from memkd_sklearn.kernels.compiling import inlined, kernel
from memkd_sklearn.kernels.simd import (
    LANES,
    fill,
    gather,
    load,
    minimum,
    scatter,
    store,
    tanh_quotient,
    where_above,
)

__all__ = ["LANES", "backward", "forward"]

# Beyond every sum of costs, and still a number whose differences are numbers.
FAR = 1e30
# Square of a share in a gradient that is as good as none.
FAINT = 1e-36


@inlined
def _falling(gap):
    """``exp(-gap)`` of lanes that are not negative; of large ones, 0."""
    numerator, denominator = tanh_quotient(gap * 0.5)
    return (denominator - numerator) / (denominator + numerator)


@inlined
def _log(value):
    """Logarithm of lanes from 1 to 3: the series of log(sqrt(3)) + 2 artanh(part)."""
    part = (value - 1.7320508075688772) / (value + 1.7320508075688772)
    square = part * part
    series = square * (1 / 27) + 1 / 25
    series = series * square + 1 / 23
    series = series * square + 1 / 21
    series = series * square + 1 / 19
    series = series * square + 1 / 17
    series = series * square + 1 / 15
    series = series * square + 1 / 13
    series = series * square + 1 / 11
    series = series * square + 1 / 9
    series = series * square + 1 / 7
    series = series * square + 1 / 5
    series = series * square + 1 / 3
    series = series * square + 1.0
    return part * series * 2.0 + 0.5493061443340549


@kernel
def forward(first, second, gamma):
    """Return distances up to every cell, and what `backward` needs.

    The cost of a cell is the product of a vector of either sequence, both of shape (n_cases,
    T, k). Distances are (n_tiles, T, T, LANES). The second result is, for every cell, the
    shares of its soft minimum that come from the cell before in both sequences, in the first,
    and in the second: (n_tiles, T, T, 3, LANES).
    """
    n_cases, n, width = first.shape
    n_tiles, n_numbers, dtype = -(-n_cases // LANES), n * width, first.dtype
    steepness = 1 / gamma
    total = np.empty((n_tiles, n, n, LANES), dtype)
    shares = np.empty((n_tiles, n, n, 3, LANES), dtype)
    above = np.empty((n + 1, LANES), dtype)  # the row before, after a cell of its own
    u, v = np.zeros((2, n_numbers, LANES), dtype)
    tile = np.zeros((LANES, LANES), dtype)
    for block in range(n_tiles):
        gather(u, first.reshape((n_cases, n_numbers)), block * LANES, 0, n_numbers, tile)
        gather(v, second.reshape((n_cases, n_numbers)), block * LANES, 0, n_numbers, tile)
        above[:] = FAR
        above[0] = 0
        for i in range(n):
            from_both, from_second = load(above, (0,)), fill(dtype.type(FAR))
            store(above, (0,), FAR)
            for j in range(n):
                cost = load(u, (i * width,)) * load(v, (j * width,))
                for k in range(1, width):
                    cost = load(u, (i * width + k,)) * load(v, (j * width + k,)) + cost
                from_first = load(above, (j + 1,))
                least = minimum(minimum(from_both, from_first), from_second)
                both = _falling((from_both - least) * steepness)
                one = _falling((from_first - least) * steepness)
                other = _falling((from_second - least) * steepness)
                spread = both + one + other
                from_both, from_second = from_first, cost + least - _log(spread) * gamma
                store(above, (j + 1,), from_second)
                store(total, (block, i, j), from_second)
                part = 1.0 / spread
                store(shares, (block, i, j, 0), both * part)
                store(shares, (block, i, j, 1), one * part)
                store(shares, (block, i, j, 2), other * part)
    return total, shares


@kernel
def backward(first, second, grad, shares, first_grad, second_grad):
    """Write the gradients by the vectors of both sequences, from those by the distances.

    The latter are (n_tiles, T, T, LANES), zero but where a case ends; those by the costs take
    their place.
    """
    n_cases, n, width = first.shape
    n_numbers, dtype = n * width, first.dtype
    # What cells of the row below hand on, to the one above and to the one before that.
    to_first, to_both = np.empty((2, n, LANES), dtype)
    u, v = np.zeros((2, n_numbers, LANES), dtype)
    du, dv = np.empty((2, n_numbers, LANES), dtype)
    tile = np.zeros((LANES, LANES), dtype)
    faint = fill(dtype.type(FAINT))
    for block in range(len(grad)):
        begin = block * LANES
        gather(u, first.reshape((n_cases, n_numbers)), begin, 0, n_numbers, tile)
        gather(v, second.reshape((n_cases, n_numbers)), begin, 0, n_numbers, tile)
        du[:], dv[:], to_first[:], to_both[:] = 0, 0, 0, 0
        for i in range(n - 1, -1, -1):
            from_both = from_second = fill(dtype.type(0))
            for j in range(n - 1, -1, -1):
                mine = load(grad, (block, i, j)) + load(to_first, (j,)) + from_both + from_second
                # What is lost counts nowhere; numbers that go on shrinking would be slow.
                mine = where_above(mine * mine, faint, mine)
                from_both = load(to_both, (j,))
                from_second = mine * load(shares, (block, i, j, 2))
                store(to_first, (j,), mine * load(shares, (block, i, j, 1)))
                store(to_both, (j,), mine * load(shares, (block, i, j, 0)))
                for k in range(width):
                    here, there = i * width + k, j * width + k
                    store(du, (here,), mine * load(v, (there,)) + load(du, (here,)))
                    store(dv, (there,), mine * load(u, (here,)) + load(dv, (there,)))
        scatter(first_grad.reshape((n_cases, n_numbers)), begin, 0, n_numbers, du, 0, tile)
        scatter(second_grad.reshape((n_cases, n_numbers)), begin, 0, n_numbers, dv, 0, tile)
