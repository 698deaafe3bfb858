"""Rows of lanes, and the products with weights that the kernels of layers need.

A row has one number for each of `LANES` cases. A product computes several sums at a time, as many
as registers hold, so that a number that was loaded serves in more than one.
"""

from memkd_sklearn.kernels.arrays import array_at
from memkd_sklearn.kernels.compiling import inlined
from memkd_sklearn.kernels.simd import fill, load, store, sum_of

__all__ = [
    "add_bias_gradient",
    "add_transposed_product",
    "add_weight_gradient",
    "clear",
    "write_sums",
]


@inlined
def clear(rows):
    """Write zeros."""
    for row in range(rows.shape[0]):
        store(rows, (row,), 0.0)


@inlined
def add_transposed_product(result, first_row, weight, gradient, step):
    """Add ``weight.T @ gradient`` of one step to rows of `result`."""
    n_rows, n_columns = weight.shape
    half = n_rows // 2
    for first in range(0, n_columns, 4):
        # Four by four; at the edge, the last column is computed again and written again.
        column_1 = min(first + 1, n_columns - 1)
        column_2 = min(first + 2, n_columns - 1)
        column_3 = min(first + 3, n_columns - 1)
        sum_0 = load(result, (first_row + first,))
        sum_1 = load(result, (first_row + column_1,))
        sum_2 = load(result, (first_row + column_2,))
        sum_3 = load(result, (first_row + column_3,))
        # In two halves: twice as many independent sums hide the latency of multiply-add.
        lower_0 = lower_1 = lower_2 = lower_3 = fill(result.dtype.type(0.0))
        for row in range(half):
            value = load(gradient, (step, row))
            sum_0 += weight[row, first] * value
            sum_1 += weight[row, column_1] * value
            sum_2 += weight[row, column_2] * value
            sum_3 += weight[row, column_3] * value
            value = load(gradient, (step, half + row))
            lower_0 += weight[half + row, first] * value
            lower_1 += weight[half + row, column_1] * value
            lower_2 += weight[half + row, column_2] * value
            lower_3 += weight[half + row, column_3] * value
        if n_rows % 2:
            value = load(gradient, (step, n_rows - 1))
            sum_0 += weight[n_rows - 1, first] * value
            sum_1 += weight[n_rows - 1, column_1] * value
            sum_2 += weight[n_rows - 1, column_2] * value
            sum_3 += weight[n_rows - 1, column_3] * value
        store(result, (first_row + first,), sum_0 + lower_0)
        store(result, (first_row + column_1,), sum_1 + lower_1)
        store(result, (first_row + column_2,), sum_2 + lower_2)
        store(result, (first_row + column_3,), sum_3 + lower_3)


@inlined
def add_weight_gradient(total, gradient, operand, first_row, n_steps):
    """Add ``gradient @ operand.T``, summed over steps, to `total`, case by case."""
    n_rows, n_columns = total.shape[0], total.shape[1]
    for row in range(0, n_rows, 4):
        # Four by two; at an edge, the last sum is computed again and written again.
        row_1 = min(row + 1, n_rows - 1)
        row_2 = min(row + 2, n_rows - 1)
        row_3 = min(row + 3, n_rows - 1)
        for column in range(0, n_columns - 1, 2):
            next_column = column + 1
            sum_00, sum_01 = load(total, (row, column)), load(total, (row, next_column))
            sum_10, sum_11 = load(total, (row_1, column)), load(total, (row_1, next_column))
            sum_20, sum_21 = load(total, (row_2, column)), load(total, (row_2, next_column))
            sum_30, sum_31 = load(total, (row_3, column)), load(total, (row_3, next_column))
            for step in range(n_steps):
                operand_row = first_row + step * n_columns
                operand_0 = load(operand, (operand_row + column,))
                operand_1 = load(operand, (operand_row + next_column,))
                value = load(gradient, (step, row))
                sum_00 += value * operand_0
                sum_01 += value * operand_1
                value = load(gradient, (step, row_1))
                sum_10 += value * operand_0
                sum_11 += value * operand_1
                value = load(gradient, (step, row_2))
                sum_20 += value * operand_0
                sum_21 += value * operand_1
                value = load(gradient, (step, row_3))
                sum_30 += value * operand_0
                sum_31 += value * operand_1
            store(total, (row, column), sum_00)
            store(total, (row, next_column), sum_01)
            store(total, (row_1, column), sum_10)
            store(total, (row_1, next_column), sum_11)
            store(total, (row_2, column), sum_20)
            store(total, (row_2, next_column), sum_21)
            store(total, (row_3, column), sum_30)
            store(total, (row_3, next_column), sum_31)
        if n_columns % 2:
            column = n_columns - 1
            sum_0, sum_1 = load(total, (row, column)), load(total, (row_1, column))
            sum_2, sum_3 = load(total, (row_2, column)), load(total, (row_3, column))
            for step in range(n_steps):
                value = load(operand, (first_row + step * n_columns + column,))
                sum_0 += load(gradient, (step, row)) * value
                sum_1 += load(gradient, (step, row_1)) * value
                sum_2 += load(gradient, (step, row_2)) * value
                sum_3 += load(gradient, (step, row_3)) * value
            store(total, (row, column), sum_0)
            store(total, (row_1, column), sum_1)
            store(total, (row_2, column), sum_2)
            store(total, (row_3, column), sum_3)


@inlined
def add_bias_gradient(total, gradient, n_steps):
    """Add `gradient`, summed over steps, to `total`, case by case."""
    for row in range(total.shape[0]):
        lanes = load(total, (row,))
        for step in range(n_steps):
            lanes += load(gradient, (step, row))
        store(total, (row,), lanes)


@inlined
def write_sums(address, rows, zero):
    """Write the sum over the lanes of each row."""
    result = array_at(address, (rows.shape[0],), zero)
    for row in range(rows.shape[0]):
        result[row] = sum_of(load(rows, (row,)))
