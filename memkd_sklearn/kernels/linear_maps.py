"""Linear maps that losses train with a student, a few time points at a time.

A map's parameters are its weight (n_wanted, n_units) and its bias (n_wanted,). With a 1 at the end
of its input, it is a matrix R of `n_inputs` rows, one for each of the student's units and one for
the bias, and a column for each of the teacher's units.
"""

import numpy as np

from memkd_sklearn.kernels.compiling import inlined
from memkd_sklearn.kernels.simd import LANES, fill, load, prefetch, store, sum_of

__all__ = [
    "STEPS",
    "add_outer",
    "fetch",
    "multiply",
    "products_of",
    "spread",
    "square_of",
    "take",
    "write_gradient",
]

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
    for step in range(n_steps):
        for k in range(series.shape[2]):
            vectors[step, k] = series[case, first + step, k] - origin[k]
    for step in range(n_steps, len(vectors)):
        for k in range(series.shape[2]):
            vectors[step, k] = 0


@inlined
def fetch(series, case, first, n_steps):
    """Bring time points closer that `take` will copy later."""
    for step in range(first, first + n_steps):
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
