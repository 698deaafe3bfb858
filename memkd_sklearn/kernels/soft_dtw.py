"""Soft dynamic time warping and its gradient, many cases at a time.

Cases are worked through in tiles of `LANES`, cell by cell along diagonals: a cell waits for the
diagonals before, but not for its neighbours, nor for another case's.
"""

import numpy as np

from memkd_sklearn.kernels.compiling import inlined, kernel, spliced
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
    fill,
    gather,
    load,
    minimum,
    scatter,
    store,
    tanh_quotient,
    where_above,
)

__all__ = ["alignment", "soft_dtw"]

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
    n_cases, n_steps, width = first.shape
    n_numbers, dtype = n_steps * width, first.dtype
    steepness, far = 1 / gamma, fill(dtype.type(FAR))
    # Shares of the soft minimum of each cell of a diagonal, by its row: of the cell before in
    # both, in the first, and in the second sequence.
    shares = np.empty((2 * n_steps - 1, n_steps, 3, LANES), dtype)
    # Distances on three diagonals in turns, or the gradients by them; at i + 1, of row i.
    turns = np.empty((3, n_steps + 2, LANES), dtype)
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
        turns[:] = FAR
        turns[1, 0] = 0  # before the first cell
        for diagonal in range(2 * n_real - 1):
            here, last, before = diagonal % 3, (diagonal + 2) % 3, (diagonal + 1) % 3
            for i in range(max(0, diagonal - n_real + 1), min(diagonal + 1, n_real)):
                j = diagonal - i
                cost = load(u, (i * width,)) * load(v, (j * width,))
                for k in range(1, width):
                    cost = load(u, (i * width + k,)) * load(v, (j * width + k,)) + cost
                from_both, from_first = load(turns, (before, i)), load(turns, (last, i))
                from_second = load(turns, (last, i + 1))
                least = minimum(minimum(from_both, from_first), from_second)
                both = _falling((from_both - least) * steepness)
                one = _falling((from_first - least) * steepness)
                other = _falling((from_second - least) * steepness)
                total = both + one + other
                store(turns, (here, i + 1), cost + least - _log(total) * gamma)
                part = 1.0 / total
                store(shares, (diagonal, i, 0), both * part)
                store(shares, (diagonal, i, 1), one * part)
                store(shares, (diagonal, i, 2), other * part)
            store(turns, (before, 0), far)
            if diagonal % 2 == 0:
                for lane in range(n_lanes):
                    if is_end[diagonal // 2, lane]:
                        distances[begin + lane] = turns[here, diagonal // 2 + 1, lane]
        du[:], dv[:], turns[:] = 0, 0, 0
        for diagonal in range(2 * n_real - 2, -1, -1):
            here, last, before = diagonal % 3, (diagonal + 1) % 3, (diagonal + 2) % 3
            for i in range(max(0, diagonal - n_real + 1), min(diagonal + 1, n_real)):
                j = diagonal - i
                mine = fill(dtype.type(0))
                if i == j:
                    mine = load(is_end, (i,))
                if i + 1 < n_real:
                    mine += load(turns, (last, i + 2)) * load(shares, (diagonal + 1, i + 1, 1))
                if j + 1 < n_real:
                    mine += load(turns, (last, i + 1)) * load(shares, (diagonal + 1, i, 2))
                if i + 1 < n_real and j + 1 < n_real:
                    mine += load(turns, (before, i + 2)) * load(shares, (diagonal + 2, i + 1, 0))
                # The loss of so little counts nowhere; numbers that go on shrinking would be slow.
                mine = where_above(mine * mine, faint, mine)
                store(turns, (here, i + 1), mine)
                for k in range(width):
                    ours, theirs = i * width + k, j * width + k
                    store(du, (ours,), mine * load(v, (theirs,)) + load(du, (ours,)))
                    store(dv, (theirs,), mine * load(u, (ours,)) + load(dv, (theirs,)))
        scatter(first_grad.reshape((n_cases, n_numbers)), begin, start, n_numbers, du, start, tile)
        scatter(second_grad.reshape((n_cases, n_numbers)), begin, start, n_numbers, dv, start, tile)
