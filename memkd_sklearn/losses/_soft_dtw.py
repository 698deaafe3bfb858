"""Soft dynamic time warping, forward and backward, many cases at a time.

Arrays end in (LANES,), one tile of cases, for each of which a cell waits for the one before
it; the cells of a tile are worked through row by row.
"""

import numpy as np

from memkd_sklearn._lanes import (
    LANES,
    fill,
    inlined,
    kernel,
    load,
    minimum,
    store,
    tanh_quotient,
)

__all__ = ["LANES", "backward", "forward"]

# Beyond every sum of costs, and still a number whose differences are numbers.
FAR = 1e30


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
def forward(cost, gamma):
    """Return distances up to every cell, and what `backward` needs, of costs.

    Costs and distances are arrays of (n_tiles, T, T, LANES). The second result is, for every
    cell, the shares of its soft minimum that come from the cell before in both sequences, in
    the first, and in the second: (n_tiles, T, T, 3, LANES).
    """
    n_tiles, n, _, _ = cost.shape
    steepness = 1 / gamma
    total = np.empty_like(cost)
    shares = np.empty((n_tiles, n, n, 3, LANES), cost.dtype)
    above = np.empty((n + 1, LANES), cost.dtype)  # the row before, after a cell of its own
    for tile in range(n_tiles):
        above[:] = FAR
        above[0] = 0
        for i in range(n):
            both, second = load(above, (0,)), fill(cost.dtype.type(FAR))
            store(above, (0,), FAR)
            for j in range(n):
                first = load(above, (j + 1,))
                least = minimum(minimum(both, first), second)
                from_both = _falling((both - least) * steepness)
                from_first = _falling((first - least) * steepness)
                from_second = _falling((second - least) * steepness)
                spread = from_both + from_first + from_second
                both = first
                second = load(cost, (tile, i, j)) + least - _log(spread) * gamma
                store(above, (j + 1,), second)
                store(total, (tile, i, j), second)
                part = 1.0 / spread
                store(shares, (tile, i, j, 0), from_both * part)
                store(shares, (tile, i, j, 1), from_first * part)
                store(shares, (tile, i, j, 2), from_second * part)
    return total, shares


@kernel
def backward(grad, shares):
    """Make of gradients by the distances those by the costs, in place."""
    n_tiles, n, _, _ = grad.shape
    zero = grad.dtype.type(0)
    # What cells of the row below hand on, to the one above and to the one before that.
    to_first, to_both = np.empty((2, n, LANES), grad.dtype)
    for tile in range(n_tiles):
        to_first[:] = 0
        to_both[:] = 0
        for i in range(n - 1, -1, -1):
            from_both = from_second = fill(zero)
            for j in range(n - 1, -1, -1):
                mine = load(grad, (tile, i, j)) + load(to_first, (j,)) + from_both + from_second
                from_both = load(to_both, (j,))
                from_second = mine * load(shares, (tile, i, j, 2))
                store(to_first, (j,), mine * load(shares, (tile, i, j, 1)))
                store(to_both, (j,), mine * load(shares, (tile, i, j, 0)))
                store(grad, (tile, i, j), mine)
