"""Linear maps that losses train with a student, a few time points at a time.

A map's parameters are its weight (n_wanted, n_units) and its bias (n_wanted,). With a 1 at the end
of its input, it is a matrix R of `n_inputs` rows, one for each of the student's units and one for
the bias, and a column for each of the teacher's units.
"""

import numpy as np

from memkd_sklearn.kernels.compiling import inlined
from memkd_sklearn.kernels.simd import LANES, fill, load, load_half, prefetch, store, sum_of

__all__ = [
    "HALF",
    "STEPS",
    "add_outer",
    "fetch",
    "multiply",
    "multiply_few",
    "products_of",
    "rest_of",
    "spread",
    "square_of",
    "take",
    "write_gradient",
]

# Half of the lanes, and the largest rest that costs less column by column than in as many.
HALF, REST = LANES // 2, 3

# Time points that are computed at once: as many sums as registers hold.
STEPS = 4


@inlined
def spread(parameters, n_units, n_wanted):
    """R', a row of lanes for each column of R; zeros fill lanes and rows up, these to STEPS."""
    columns = np.zeros(
        (-(-n_wanted // STEPS) * STEPS, -(-(n_units + 1) // LANES) * LANES), parameters.dtype
    )
    for k in range(n_wanted):
        for unit in range(n_units):
            columns[k, unit] = parameters[k * n_units + unit]
        columns[k, n_units] = parameters[n_wanted * n_units + k]
    return columns


@inlined
def products_of(columns, n_inputs):
    """R R', the products of each two rows of R, as rows of lanes."""
    products = np.zeros((n_inputs, columns.shape[1]), columns.dtype)
    for k in range(0, len(columns), STEPS):
        add_outer(products, columns, columns, k)
    return products


@inlined
def write_gradient(parameters_grad, sums, squares, columns, scale):
    """Write ``scale * (squares @ R - sums)`` to where `spread` reads a map.

    `squares` are symmetric. Return the sum of ``R * (squares @ R - 2 * sums)``, which has this
    gradient with a scale of 2.
    """
    n_inputs, value = len(sums), 0.0
    n_units, n_wanted = n_inputs - 1, len(parameters_grad) // n_inputs
    product = np.empty((STEPS, squares.shape[1]), sums.dtype)
    for first in range(0, n_wanted, STEPS):
        multiply(columns, first, squares, product)
        for k in range(first, min(first + STEPS, n_wanted)):
            for one in range(n_inputs):
                slope = product[k - first, one] - sums[one, k]
                value += columns[k, one] * (slope - sums[one, k])
                place = k * n_units + one if one < n_units else n_wanted * n_units + k
                parameters_grad[place] = scale * slope
    return value


@inlined
def take(vectors, series, case, first, n_steps, origin):
    """Copy a few time points of a series, less `origin`, to `vectors`; to its other rows, zeros."""
    n = series.shape[2]
    n_left = n if n < LANES else 0
    for step in range(n_steps):
        for k in range(0, n - n_left, LANES):
            k = min(k, n - LANES)  # at the end, some numbers are copied again
            lanes = load(series, (case, first + step, k)) - load(origin, (k,))
            store(vectors, (step, k), lanes)
        for k in range(n_left):
            vectors[step, k] = series[case, first + step, k] - origin[k]
    for step in range(n_steps, len(vectors)):
        for k in range(n):
            vectors[step, k] = 0


@inlined
def fetch(series, case, first):
    """Bring STEPS time points closer that `take` will copy later, as far as there are."""
    for step in range(first, min(first + STEPS, series.shape[1])):
        for k in range(0, series.shape[2] - LANES + 1, LANES):
            prefetch(series, (case, step, k))


@inlined
def multiply(inputs, step, rows, out):
    """Write the product of STEPS rows of inputs, from `step` on, and rows (n, k) to `out`."""
    for first in range(0, out.shape[1], LANES):
        sum_0 = sum_1 = sum_2 = sum_3 = fill(out.dtype.type(0))
        for row in range(len(rows)):
            lanes = load(rows, (row, first))
            sum_0 += inputs[step, row] * lanes
            sum_1 += inputs[step + 1, row] * lanes
            sum_2 += inputs[step + 2, row] * lanes
            sum_3 += inputs[step + 3, row] * lanes
        store(out, (0, first), sum_0)
        store(out, (1, first), sum_1)
        store(out, (2, first), sum_2)
        store(out, (3, first), sum_3)


@inlined
def rest_of(columns, n):
    """The last of `n` columns, as rows of lanes: those that `multiply_few` computes one by one."""
    n_rest = n % HALF if n % HALF <= REST else 0
    rest = np.zeros((n_rest, -(-len(columns) // LANES) * LANES), columns.dtype)
    for column in range(n_rest):
        for row in range(len(columns)):
            rest[column, row] = columns[row, n - n_rest + column]
    return rest


@inlined
def multiply_few(inputs, rows, rest, out):
    """Write what `multiply` writes, from STEPS inputs, where few columns would leave lanes idle.

    All but the last columns of `out` are whole halves of lanes; the last are of `rest_of` the rows.
    """
    n_halves = out.shape[1] - len(rest)
    for first in range(0, n_halves, HALF):
        lanes, others = load_half(rows, (0, first)), load_half(rows, (1, first))
        # Even and odd rows apart: as many independent sums hide the latency of multiply-add.
        even_0, even_1 = inputs[0, 0] * lanes, inputs[1, 0] * lanes
        even_2, even_3 = inputs[2, 0] * lanes, inputs[3, 0] * lanes
        odd_0, odd_1 = inputs[0, 1] * others, inputs[1, 1] * others
        odd_2, odd_3 = inputs[2, 1] * others, inputs[3, 1] * others
        for row in range(2, len(rows), 2):
            lanes, others = load_half(rows, (row, first)), load_half(rows, (row + 1, first))
            even_0 += inputs[0, row] * lanes
            even_1 += inputs[1, row] * lanes
            even_2 += inputs[2, row] * lanes
            even_3 += inputs[3, row] * lanes
            odd_0 += inputs[0, row + 1] * others
            odd_1 += inputs[1, row + 1] * others
            odd_2 += inputs[2, row + 1] * others
            odd_3 += inputs[3, row + 1] * others
        store(out, (0, first), even_0 + odd_0)
        store(out, (1, first), even_1 + odd_1)
        store(out, (2, first), even_2 + odd_2)
        store(out, (3, first), even_3 + odd_3)
    for column in range(len(rest)):
        whole_0 = whole_1 = whole_2 = whole_3 = fill(out.dtype.type(0))
        for first in range(0, rest.shape[1], LANES):
            values = load(rest, (column, first))
            whole_0 += load(inputs, (0, first)) * values
            whole_1 += load(inputs, (1, first)) * values
            whole_2 += load(inputs, (2, first)) * values
            whole_3 += load(inputs, (3, first)) * values
        out[0, n_halves + column] = sum_of(whole_0)
        out[1, n_halves + column] = sum_of(whole_1)
        out[2, n_halves + column] = sum_of(whole_2)
        out[3, n_halves + column] = sum_of(whole_3)


@inlined
def add_outer(total, factors, vectors, step):
    """Add the products of STEPS rows of factors and of vectors, from `step` on, to `total`.

    Return the sum of the squares of these vectors.
    """
    squares = fill(vectors.dtype.type(0))
    for first in range(0, total.shape[1], LANES):
        value_0, value_1 = load(vectors, (step, first)), load(vectors, (step + 1, first))
        value_2, value_3 = load(vectors, (step + 2, first)), load(vectors, (step + 3, first))
        squares += value_0 * value_0 + value_1 * value_1 + (value_2 * value_2 + value_3 * value_3)
        for row in range(len(total)):
            lanes = load(total, (row, first))
            lanes += factors[step, row] * value_0
            lanes += factors[step + 1, row] * value_1
            lanes += factors[step + 2, row] * value_2
            lanes += factors[step + 3, row] * value_3
            store(total, (row, first), lanes)
    return sum_of(squares)


@inlined
def square_of(vectors, step):
    """The squared norm of one of the vectors (STEPS, k)."""
    square = fill(vectors.dtype.type(0))
    for first in range(0, vectors.shape[1], LANES):
        lanes = load(vectors, (step, first))
        square += lanes * lanes
    return sum_of(square)
