"""Memory discrepancy against plain loops in float64."""

import itertools
import math

import numpy as np
import pytest
import torch
from kernel_losses import terms_and_gradients
from oracles import naive_memory_discrepancy, naive_ratio, naive_smooth_l1

from memkd_sklearn.losses import MemoryDiscrepancy, Outputs
from memkd_sklearn.losses.memory import (
    POOL_SIZE,
    all_memory_ratios,
    draw_subsequences,
    memory_ratio,
)


def networks(n_cases, n_timepoints, student_units=3, teacher_units=7, seed=0, smooth=1.0):
    """States as an LSTM has them, bounded by 1; the smaller `smooth`, the slower they move."""
    rng = np.random.default_rng(seed)

    def states(units):
        start = rng.uniform(0.2, 0.9, (n_cases, 1, units))
        steps = rng.normal(0, 0.2 * smooth, (n_cases, n_timepoints, units))
        return torch.from_numpy(np.tanh(start + steps.cumsum(axis=1)))

    return states(student_units), states(teacher_units)


def outputs(states):
    return Outputs(torch.zeros(len(states), 2), states)


def all_pairs(n):
    return list(itertools.combinations(range(n), 2))


SHAPES = [(4, 2), (4, 3), (1, 20), (5, 20), (2, 150)]


@pytest.mark.parametrize(("n_cases", "n_timepoints"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("smooth", [1.0, 1e-3])
def test_values_equal_the_loops(n_cases, n_timepoints, dtype, smooth):
    student, teacher = (s.to(dtype) for s in networks(n_cases, n_timepoints, smooth=smooth))
    terms = MemoryDiscrepancy(2.0, 0.5, n_subsequences="all")(
        outputs(student), outputs(teacher), torch.Generator()
    )
    single_steps = [(t, t + 1) for t in range(n_timepoints - 1)]
    expected = {
        "short": 2.0 * naive_memory_discrepancy(student, teacher, single_steps),
        "long": 0.5 * naive_memory_discrepancy(student, teacher, all_pairs(n_timepoints)),
    }
    assert set(terms) == set(expected)
    for name, value in terms.items():
        assert value.item() == pytest.approx(expected[name], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sampled_value_equals_the_loops_over_the_same_pairs(dtype):
    student, teacher = (s.to(dtype) for s in networks(3, 40))
    loss = MemoryDiscrepancy(short_weight=0, n_subsequences=17)
    terms = loss(outputs(student), outputs(teacher), torch.Generator().manual_seed(5))
    start, end = draw_subsequences(40, 17, torch.Generator().manual_seed(5))
    pairs = list(zip(start.tolist(), end.tolist(), strict=True))
    assert set(terms) == {"long"}
    assert terms["long"].item() == pytest.approx(
        naive_memory_discrepancy(student, teacher, pairs), rel=1e-5
    )


@pytest.mark.parametrize("n_subsequences", [6, "all"])
@pytest.mark.parametrize(("n_cases", "n_timepoints"), [(3, 2), (2, 3), (1, 7), (2, 12)])
def test_gradient_equals_finite_differences(n_cases, n_timepoints, n_subsequences):
    student, teacher = networks(n_cases, n_timepoints)
    loss = MemoryDiscrepancy(n_subsequences=n_subsequences)

    def total(states):
        rng = torch.Generator().manual_seed(0)
        return sum(loss(outputs(states), outputs(teacher), rng).values())

    assert torch.autograd.gradcheck(total, student.requires_grad_())


@pytest.mark.parametrize("n_subsequences", [50, "all"])
def test_float32_gradient_equals_float64(n_subsequences):
    student, teacher = networks(4, 60, smooth=0.05)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        states = student.float().to(dtype).requires_grad_()
        loss = MemoryDiscrepancy(n_subsequences=n_subsequences)
        rng = torch.Generator().manual_seed(0)
        sum(loss(outputs(states), outputs(teacher.float().to(dtype)), rng).values()).backward()
        gradients.append(states.grad.double())
    assert (gradients[0] - gradients[1]).norm() <= 1e-4 * gradients[1].norm()


@pytest.mark.parametrize("fill", [0.0, 1e-12, 0.5])
@pytest.mark.parametrize("n_subsequences", [10, "all"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_states_give_finite_values_and_gradients(fill, n_subsequences, dtype):
    states = torch.full((2, 30, 4), fill, dtype=dtype, requires_grad=True)
    teacher = networks(2, 30)[1].to(dtype)
    loss = MemoryDiscrepancy(n_subsequences=n_subsequences)
    total = sum(loss(outputs(states), outputs(teacher), torch.Generator()).values())
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(states.grad).all()


def test_ratio_of_constant_states_is_zero():
    states = torch.full((1, 5, 3), 0.25)
    start, end = torch.tensor([0, 1]), torch.tensor([3, 2])
    assert memory_ratio(states, start, end).tolist() == [[0.0, 0.0]]
    assert all_memory_ratios(states).abs().max() < 1e-6


def test_ratios_of_all_subsequences_are_those_of_each():
    states = networks(3, 25, smooth=1e-4)[0].float()
    start, end = torch.triu_indices(25, 25, 1)
    direct = memory_ratio(states.double(), start, end)
    assert torch.allclose(all_memory_ratios(states).double(), direct, rtol=1e-5, atol=0)


def test_subsequences_are_uniform_ordered_and_never_empty():
    rng = torch.Generator().manual_seed(0)
    start, end = draw_subsequences(6, 60_000, rng)
    assert (start < end).all()
    assert start.min() == 0
    assert end.max() == 5  # the last state can be an end
    counts = torch.bincount(start * 6 + end, minlength=36)
    counts = counts[counts > 0]
    assert len(counts) == 15
    assert (counts - 4000).abs().max() < 6 * math.sqrt(4000)


def test_few_time_points_use_every_subsequence():
    student, teacher = networks(2, 5)
    sampled = MemoryDiscrepancy(n_subsequences=10)
    every = MemoryDiscrepancy(n_subsequences="all")
    terms = [
        loss(outputs(student), outputs(teacher), torch.Generator()) for loss in (sampled, every)
    ]
    assert terms[0] == terms[1]


@pytest.mark.parametrize("n_subsequences", [30, "all"])
def test_prepared_loss_equals_the_direct_one(n_subsequences):
    student, teacher = networks(9, 50)
    loss = MemoryDiscrepancy(n_subsequences=n_subsequences)
    parts = [outputs(teacher[:4]), outputs(teacher[4:])]
    prepared = loss.prepare_parts(parts, 9, 3, torch.Generator())
    index = torch.tensor([7, 0, 3])
    direct = loss(
        outputs(student[index]), outputs(teacher[index]), torch.Generator().manual_seed(1)
    )
    ahead = prepared(outputs(student[index]), index, torch.Generator().manual_seed(1))
    assert set(direct) == set(ahead)
    for name in direct:
        assert ahead[name].item() == pytest.approx(direct[name].item(), rel=1e-6)


def test_long_series_draw_from_a_pool_whatever_their_length():
    student, teacher = networks(3, 400)
    loss = MemoryDiscrepancy(short_weight=0, n_subsequences=70)
    prepared = loss.prepare(outputs(teacher), 3, torch.Generator().manual_seed(2))
    assert prepared.ratios.shape == (3, 399 + POOL_SIZE)
    index = torch.tensor([2, 0])
    value = prepared(outputs(student[index]), index, torch.Generator().manual_seed(3))["long"]
    start, end = draw_subsequences(400, POOL_SIZE, torch.Generator().manual_seed(2))
    drawn = torch.randint(POOL_SIZE, (70,), generator=torch.Generator().manual_seed(3))
    pairs = list(zip(start[drawn].tolist(), end[drawn].tolist(), strict=True))
    expected = naive_memory_discrepancy(student[index], teacher[index], pairs)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_a_pool_may_be_larger_than_what_there_is_but_is_not_it():
    student, teacher = networks(2, 110)
    n_subsequences = 110 * 109 // 2 - 50
    loss = MemoryDiscrepancy(short_weight=0, n_subsequences=n_subsequences)
    prepared = loss.prepare(outputs(teacher), 3, torch.Generator().manual_seed(2))
    expected = memory_ratio(teacher, prepared.start, prepared.end)
    assert prepared.ratios.shape == (2, 109 + n_subsequences)
    assert np.allclose(prepared.ratios, expected, rtol=1e-12)


@pytest.mark.parametrize("n_subsequences", [40, "all"])
def test_padding_is_ignored(n_subsequences):
    lengths = [12, 5, 2]
    loss = MemoryDiscrepancy(n_subsequences=n_subsequences)
    student, teacher = networks(3, 12)
    for case, length in enumerate(lengths):
        student[case, length:], teacher[case, length:] = 9.0, math.nan
    rng = torch.Generator().manual_seed(0)
    student.requires_grad_()
    ours = Outputs(torch.zeros(3, 2), student, torch.tensor(lengths))
    terms = loss(ours, outputs(teacher), rng)
    start, end = draw_subsequences(12, 40, torch.Generator().manual_seed(0))
    drawn = list(zip(start.tolist(), end.tolist(), strict=True))
    drawn = all_pairs(12) if n_subsequences == "all" else drawn
    single_steps = [(t, t + 1) for t in range(11)]
    for name, pairs in {"short": single_steps, "long": drawn}.items():
        seen = [
            naive_smooth_l1(
                naive_ratio(student[c].tolist(), i, j - i),
                naive_ratio(teacher[c].tolist(), i, j - i),
            )
            for c, length in enumerate(lengths)
            for i, j in pairs
            if j < length
        ]
        assert terms[name].item() == pytest.approx(sum(seen) / len(seen), rel=1e-6)
    sum(terms.values()).backward()
    for case, length in enumerate(lengths):
        assert (student.grad[case, length:] == 0).all()
        assert (student.grad[case, :length] != 0).any()


def test_memory_that_others_left_is_not_read():
    student, teacher = networks(3, 12)
    ours = Outputs(torch.zeros(3, 2, dtype=torch.float64), student, torch.tensor([12, 5, 2]))
    ready = MemoryDiscrepancy(n_subsequences=40).prepare(outputs(teacher), 3, torch.Generator())
    values = set()
    for _ in range(20):
        # Allocated, and freed, of about the sizes of a kernel's arrays.
        for size in range(50, 1000, 10):
            np.full((2, size, 16), np.nan)
        rng = torch.Generator().manual_seed(0)
        terms, _ = terms_and_gradients(ready, ours, torch.arange(3), rng)
        values.add((terms["short"], terms["long"]))
    (first,) = values
    assert np.isfinite(first).all()


def test_teacher_carries_no_gradient_and_zero_weights_leave_terms_out():
    student, teacher = networks(2, 10)
    assert MemoryDiscrepancy(0, 0)(outputs(student), outputs(teacher), torch.Generator()) == {}


def test_states_of_another_length_are_refused():
    student, teacher = networks(2, 10)
    with pytest.raises(ValueError, match="Got teacher states over 9 time points, but expected 10"):
        MemoryDiscrepancy()(outputs(student), outputs(teacher[:, :9]), torch.Generator())


@pytest.mark.parametrize(
    "params",
    [
        {"short_weight": -1},
        {"long_weight": float("nan")},
        {"n_subsequences": 0},
        {"n_subsequences": 2.5},
        {"n_subsequences": "some"},
    ],
)
def test_senseless_parameters_are_refused(params):
    name, value = next(iter(params.items()))
    with pytest.raises((TypeError, ValueError), match=f"Got {name}={value!r}, but expected"):
        MemoryDiscrepancy(**params).check()
