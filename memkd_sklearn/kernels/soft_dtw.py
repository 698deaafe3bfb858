"""Soft dynamic time warping and its gradient, many cases at a time.

Cases are worked through in tiles of `LANES`, cell by cell along diagonals: a cell waits for the
diagonals before, but not for its neighbours, nor for another case's.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from memkd_sklearn.kernels.compiling import INLINED, inlined, kernel, spliced
from memkd_sklearn.kernels.linear_maps import (
    STEPS,
    add_outer,
    multiply,
    products_of,
    spread,
    square_of,
    take,
    write_gradient,
)
from memkd_sklearn.kernels.simd import (
    LANES,
    exponent_of,
    fill,
    gather,
    load,
    maximum,
    nearest,
    power_of_two,
    scatter,
    store,
    where_above,
)

__all__ = ["alignment", "soft_dtw"]

# Beyond every sum of costs, and still a number whose differences are numbers.
FAR = 1e30
LOG_2 = math.log(2)
# Square of a share in a gradient that is as good as none.
FAINT = 1e-36


@inlined
def _short_power(x):
    """2 to the power of float32 lanes from -1/2 to 1/2: the exponential series."""
    y = x * LOG_2
    series = y * (1 / 5040) + 1 / 720
    series = series * y + 1 / 120
    series = series * y + 1 / 24
    series = series * y + 1 / 6
    series = series * y + 1 / 2
    series = series * y + 1.0
    return series * y + 1.0


@inlined
def _long_power(x):
    """The same of float64 lanes: the power of an eighth, squared three times."""
    y = x * (LOG_2 / 8)
    series = y * (1 / 3628800) + 1 / 362880
    series = series * y + 1 / 40320
    series = series * y + 1 / 5040
    series = series * y + 1 / 720
    series = series * y + 1 / 120
    series = series * y + 1 / 24
    series = series * y + 1 / 6
    series = series * y + 1 / 2
    series = series * y + 1.0
    part = series * y  # less the 1, which would round it
    part = part * part + 2.0 * part
    part = part * part + 2.0 * part
    return part * part + 2.0 * part + 1.0


def _power(x):
    """2 to the power of lanes from -1/2 to 1/2."""


@overload(_power, jit_options=INLINED)
def _power_of_lanes(x):
    if x.dtype is types.float64:
        return lambda x: _long_power(x)
    return lambda x: _short_power(x)


@kernel
def soft_dtw(first, second, lengths, gamma, distances, first_grad, second_grad):
    """Write soft-DTW distances of pairs of sequences, and the gradient of each.

    Parameters
    ----------
    first, second : np.ndarray of shape (n_cases, n_timepoints, n_numbers)
        Vectors of the time points of both sequences: their product is the cost of a cell.
    lengths : np.ndarray of shape (n_cases,) or (0,)
        Time points of both sequences of a case; empty: all are full.
    gamma : float
        Smoothing.
    distances : np.ndarray of shape (n_cases,)
        The distances are written to it.
    first_grad, second_grad : np.ndarray of the shape of `first`
        The gradients of each case's distance are written to them.
    """
    _align(first, second, lengths, gamma, distances, first_grad, second_grad)


@kernel
def alignment(student, teacher, weights, gradients, values):
    """Soft-DTW distances of a linear map of the states from the teacher's, over lengths.

    The arguments are those that `train_epoch` in `epoch.py` states; the table has the teacher's
    states, and the one number is gamma. The map's parameters are its weight (n_wanted, n_units)
    and its bias.

    A cell costs the mean squared difference of the map z R of a state, z being the student's and
    a 1, and a state t of the teacher: the product of (z R R' z' / n_wanted, 1 / n_wanted,
    z / n_wanted) and (1, t t', -2 t R'), but that the last number of -2 t R' joins t t'.
    """
    states, _, lengths, parameters = student
    rows, wanted, _, _, numbers = teacher
    states_grad, _, parameters_grad = gradients
    n_cases, n_steps, n_units = states.shape
    n_wanted, n_inputs, dtype = wanted.shape[2], n_units + 1, states.dtype
    part = dtype.type(1 / n_wanted)
    columns = spread(parameters, n_units, n_wanted)
    products = products_of(columns, n_inputs)
    first = np.zeros((n_cases, n_steps, 2 + n_units), dtype)
    second = np.zeros_like(first)
    first_grad, second_grad = np.empty_like(first), np.empty_like(first)
    distances, origin = np.empty(n_cases, dtype), np.zeros(max(n_wanted, n_units), dtype)
    targets = np.zeros((STEPS, -(-n_wanted // LANES) * LANES), dtype)
    inputs = np.zeros((STEPS, columns.shape[1]), dtype)
    along, maps = np.empty_like(inputs), np.empty_like(inputs)  # z R R', t R'
    for case in range(n_cases):
        length = lengths[case] if len(lengths) else n_steps
        for begin in range(0, length, STEPS):
            n_here = min(STEPS, length - begin)
            take(inputs, states, case, begin, n_here, origin)
            take(targets, wanted, rows[case], begin, n_here, origin)
            for step in range(STEPS):
                inputs[step, n_units] = step < n_here
            multiply(inputs, 0, products, along)
            multiply(targets, 0, columns, maps)
            for step in range(n_here):
                ours, theirs = first[case, begin + step], second[case, begin + step]
                ours[1], theirs[0] = part, 1
                theirs[1] = square_of(targets, step) - 2 * maps[step, n_units]
                for unit in range(n_units):
                    ours[2 + unit] = part * inputs[step, unit]
                    theirs[2 + unit] = -2 * maps[step, unit]
                for one in range(n_inputs):
                    ours[0] += part * inputs[step, one] * along[step, one]
    _align(first, second, lengths, dtype.type(numbers[0]), distances, first_grad, second_grad)
    sums, squares = np.zeros((n_inputs, targets.shape[1]), dtype), np.zeros_like(products)
    factors = np.empty_like(inputs)
    values[0] = 0
    for case in range(n_cases):
        length = lengths[case] if len(lengths) else n_steps
        scale = dtype.type(weights[0] / (n_cases * length))
        values[0] += scale * distances[case]
        for begin in range(0, length, STEPS):
            n_here = min(STEPS, length - begin)
            take(inputs, states, case, begin, n_here, origin)
            take(targets, wanted, rows[case], begin, n_here, origin)
            for step in range(STEPS):
                inputs[step, n_units] = step < n_here
            factors[:], maps[:] = 0, 0
            multiply(inputs, 0, products, along)
            for step in range(n_here):
                ours, theirs = first_grad[case, begin + step], second_grad[case, begin + step]
                for unit in range(n_units):
                    slope = part * (ours[2 + unit] + 2 * ours[0] * along[step, unit])
                    states_grad[case, begin + step, unit] += scale * slope
                    factors[step, unit] = 2 * scale * theirs[2 + unit]
                factors[step, n_units] = 2 * scale * theirs[1]
                for one in range(n_inputs):
                    maps[step, one] = 2 * part * scale * ours[0] * inputs[step, one]
            add_outer(sums, factors, targets, 0)
            add_outer(squares, maps, inputs, 0)
    write_gradient(parameters_grad, sums, squares, columns, 1.0)


@spliced
def _align(first, second, lengths, gamma, distances, first_grad, second_grad):
    """The soft minimum of all alignments' costs, by sums of exp(-cost / gamma) over alignments.

    The sum of those that end in a cell is exp(-cost / gamma) times the sums of the three cells
    before. It leaves the range of floating point numbers: a sum is m 2^e, with m from 1 to 2.
    """
    n_cases, n_steps, width = first.shape
    n_numbers, dtype = n_steps * width, first.dtype
    scale, none = dtype.type(1 / (gamma * LOG_2)), fill(dtype.type(-FAR))
    # Shares in a cell's sum, by diagonal and row: of the cells before in the first sequence and in
    # the second; the rest is that of the cell before in both.
    shares = np.empty((2 * n_steps - 1, n_steps, 2, LANES), dtype)
    # m and e on three diagonals in turns, or gradients; at i + 1, of row i.
    factors, powers = np.empty((2, 3, n_steps + 2, LANES), dtype)
    is_end = np.empty((n_steps, LANES), dtype)
    u, v = np.zeros((n_numbers, LANES), dtype), np.zeros((n_numbers, LANES), dtype)
    du, dv = np.empty((n_numbers, LANES), dtype), np.empty((n_numbers, LANES), dtype)
    tile, faint = np.zeros((LANES, LANES), dtype), fill(dtype.type(FAINT))
    start = np.int64(0)  # no literal, for which functions would be compiled again
    for begin in range(0, n_cases, LANES):
        n_lanes = min(LANES, n_cases - begin)
        gather(u, first.reshape((n_cases, n_numbers)), begin, start, n_numbers, tile)
        gather(v, second.reshape((n_cases, n_numbers)), begin, start, n_numbers, tile)
        is_end[:] = 0
        n_real = 0
        for lane in range(n_lanes):
            length = lengths[begin + lane] if len(lengths) else n_steps
            is_end[length - 1, lane] = 1
            n_real = max(n_real, length)
        factors[:], powers[:] = 1, -FAR
        powers[1, 0] = 0  # before the first cell
        for diagonal in range(2 * n_real - 1):
            here, last, before = diagonal % 3, (diagonal + 2) % 3, (diagonal + 1) % 3
            for i in range(max(0, diagonal - n_real + 1), min(diagonal + 1, n_real)):
                j = diagonal - i
                cost = load(u, (i * width,)) * load(v, (j * width,))
                for k in range(1, width):
                    cost = load(u, (i * width + k,)) * load(v, (j * width + k,)) + cost
                cost = cost * scale
                whole = nearest(cost)
                from_both, from_first = load(powers, (before, i)), load(powers, (last, i))
                from_second = load(powers, (last, i + 1))
                most = maximum(maximum(from_both, from_first), from_second)
                both = load(factors, (before, i)) * power_of_two(from_both - most)
                one = load(factors, (last, i)) * power_of_two(from_first - most)
                other = load(factors, (last, i + 1)) * power_of_two(from_second - most)
                total = both + one + other
                part = 1.0 / total
                store(shares, (diagonal, i, 0), one * part)
                store(shares, (diagonal, i, 1), other * part)
                total = total * _power(whole - cost)
                power = exponent_of(total)
                store(factors, (here, i + 1), total * power_of_two(0.0 - power))
                store(powers, (here, i + 1), most - whole + power)
            store(powers, (before, 0), none)
            if diagonal % 2 == 0:
                for lane in range(n_lanes):
                    if is_end[diagonal // 2, lane]:
                        factor = factors[here, diagonal // 2 + 1, lane]
                        power_here = powers[here, diagonal // 2 + 1, lane]
                        distance = -gamma * (LOG_2 * power_here + math.log(factor))
                        distances[begin + lane] = distance
        du[:], dv[:], factors[:] = 0, 0, 0
        for diagonal in range(2 * n_real - 2, -1, -1):
            here, last, before = diagonal % 3, (diagonal + 1) % 3, (diagonal + 2) % 3
            for i in range(max(0, diagonal - n_real + 1), min(diagonal + 1, n_real)):
                j = diagonal - i
                mine = fill(dtype.type(0))
                if i == j:
                    mine = load(is_end, (i,))
                if i + 1 < n_real:
                    mine += load(factors, (last, i + 2)) * load(shares, (diagonal + 1, i + 1, 0))
                if j + 1 < n_real:
                    mine += load(factors, (last, i + 1)) * load(shares, (diagonal + 1, i, 1))
                if i + 1 < n_real and j + 1 < n_real:
                    after = diagonal + 2, i + 1
                    rest = 1.0 - load(shares, (*after, 0)) - load(shares, (*after, 1))
                    mine += load(factors, (before, i + 2)) * rest
                # The loss of so little counts nowhere; numbers that go on shrinking would be slow.
                mine = where_above(mine * mine, faint, mine)
                store(factors, (here, i + 1), mine)
                for k in range(width):
                    ours, theirs = i * width + k, j * width + k
                    store(du, (ours,), mine * load(v, (theirs,)) + load(du, (ours,)))
                    store(dv, (theirs,), mine * load(u, (ours,)) + load(dv, (theirs,)))
        scatter(first_grad.reshape((n_cases, n_numbers)), begin, start, n_numbers, du, start, tile)
        scatter(second_grad.reshape((n_cases, n_numbers)), begin, start, n_numbers, dv, start, tile)
