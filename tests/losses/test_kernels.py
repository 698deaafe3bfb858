"""Kernels of losses give what tensor operations give, which are tested against plain loops."""

import math

import numpy as np
import pytest
import torch
from kernel_losses import check_against_tensors, terms_and_gradients

from memkd_sklearn.kernels import soft_dtw, state_losses
from memkd_sklearn.losses import (
    DT2W,
    AttentionTransfer,
    DecoupledSoftTargets,
    FitNet,
    MemoryDiscrepancy,
    Outputs,
    RelationalDistillation,
    SoftTargets,
)

LOSSES = [
    MemoryDiscrepancy(2.0, 0.5, n_subsequences=30),
    MemoryDiscrepancy(short_weight=0, n_subsequences="all"),
    MemoryDiscrepancy(long_weight=0),
    MemoryDiscrepancy(0, 0),
    SoftTargets(3.0),
    DecoupledSoftTargets(0.7, 3.0, 2.0),
    RelationalDistillation(0.5, 3.0),
    RelationalDistillation(angle_weight=0),
    AttentionTransfer(),
    FitNet(),
    DT2W(gamma=0.3),
    # Terms of one name, gradients that add up, and parameters one after the other.
    MemoryDiscrepancy(n_subsequences=20) + 0.3 * MemoryDiscrepancy(long_weight=0) + SoftTargets(),
    FitNet() + 2 * (AttentionTransfer() + 0.5 * DT2W() + RelationalDistillation()),
]


def outputs(seed, n_cases, n_timepoints, n_units, n_classes=3, lengths=None):
    rng = torch.Generator().manual_seed(seed)

    def numbers(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=rng)

    logits, states = numbers(n_cases, n_classes), numbers(n_cases, n_timepoints, n_units).tanh()
    labels = torch.randint(n_classes, (n_cases,), generator=rng)
    return Outputs(logits, states, lengths, labels)


def prepared(loss, teacher, n_units):
    ready = loss.prepare(teacher, n_units, torch.Generator().manual_seed(5))
    return ready.double() if isinstance(ready, torch.nn.Module) else ready


# Of fewer, as many and more cases and teacher's units than lanes.
@pytest.mark.parametrize(
    ("n_cases", "n_timepoints", "n_units", "n_wanted", "n_classes"),
    [(1, 9, 3, 5, 2), (16, 10, 4, 16, 3), (19, 11, 2, 37, 5)],
)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_kernels_give_what_tensors_give(
    loss, padded, n_cases, n_timepoints, n_units, n_wanted, n_classes
):
    draws = torch.Generator().manual_seed(n_cases)
    every = None
    if padded:
        every = torch.randint(1, n_timepoints + 1, (n_cases + 2,), generator=draws)
    index = torch.randperm(n_cases + 2, generator=draws)[:n_cases]
    teacher = outputs(1, n_cases + 2, n_timepoints, n_wanted, n_classes, every)
    student = outputs(2, n_cases + 2, n_timepoints, n_units, n_classes, every)[index]
    check_against_tensors(
        prepared(loss, teacher, n_units), student, index, lambda: torch.Generator().manual_seed(7)
    )


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_gradients_by_outputs_are_added_to(loss):
    teacher, student = outputs(1, 6, 9, 5), outputs(2, 6, 9, 3)
    ready, index = prepared(loss, teacher, 3), torch.arange(6)
    _, once = terms_and_gradients(ready, student, index, torch.Generator().manual_seed(7))
    _, added = terms_and_gradients(
        ready, student, index, torch.Generator().manual_seed(7), start=1.0
    )
    for ours, theirs in zip(added[:2], once[:2], strict=True):
        torch.testing.assert_close(ours, theirs + 1)
    torch.testing.assert_close(added[2], once[2])


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_constant_and_equal_states_have_finite_gradients(loss):
    teacher = outputs(1, 5, 9, 4)
    for value in (0.0, 1e-12, 0.5):
        student = outputs(2, 5, 9, 3)
        student.states[:] = value
        _, gradients = terms_and_gradients(
            prepared(loss, teacher, 3), student, torch.arange(5), torch.Generator()
        )
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_two_equal_cases_among_others_do_not_explode():
    teacher, student = outputs(1, 5, 9, 4), outputs(2, 5, 9, 3)
    student.states[3] = student.states[1]
    ready = RelationalDistillation().prepare(teacher, 3, None)
    check_against_tensors(ready, student, torch.arange(5))
    _, (_, by_states, _) = terms_and_gradients(ready, student, torch.arange(5))
    assert by_states.abs().max() < 100


@pytest.mark.parametrize("size", [1.0, 500.0])
def test_scores_may_be_large(size):
    teacher, student = outputs(1, 5, 9, 4), outputs(2, 5, 9, 3)
    student.logits.mul_(size)
    for loss in (SoftTargets(), DecoupledSoftTargets(temperature=0.5)):
        check_against_tensors(loss.prepare(teacher, 3, None), student, torch.arange(5))


def test_what_is_not_a_number_shows_in_the_terms():
    teacher, student = outputs(1, 5, 9, 4), outputs(2, 5, 9, 3)
    student.states[2], student.logits[2] = np.nan, np.nan
    for loss in LOSSES:
        ready = prepared(loss, teacher, 3)
        terms, _ = terms_and_gradients(ready, student, torch.arange(5), torch.Generator())
        assert all(math.isnan(value) for value in terms.values())


# The student's units fill lanes, halves of them or neither, and leave few or many over.
@pytest.mark.parametrize("n_wanted", [5, 16, 45])
@pytest.mark.parametrize("n_units", [1, 3, 4, 8, 9, 11, 12, 16, 17, 21])
@pytest.mark.parametrize("loss", [FitNet(), DT2W()], ids=str)
def test_maps_of_every_width_give_what_tensors_give(loss, n_units, n_wanted):
    lengths = torch.tensor([50, 7, 32, 41, 1])
    teacher = outputs(1, 5, 50, n_wanted, lengths=lengths)
    student = outputs(2, 5, 50, n_units, lengths=lengths)
    index = torch.tensor([3, 1, 0, 4, 2])
    check_against_tensors(
        prepared(loss, teacher, n_units), student[index], index,
        lambda: torch.Generator().manual_seed(7),
    )  # fmt: skip


@pytest.mark.parametrize("gamma", [1e-4, 1.0, 100.0])
def test_alignments_of_long_series_are_exact_in_float32(gamma):
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(2, 3, 300, 4)).cumsum(axis=2)
    one = np.ones((3, 300, 1))
    # The products of these are the squared distances.
    first = np.concatenate([np.square(ours).sum(axis=2, keepdims=True), one, ours], axis=2)
    second = np.concatenate(
        [one, np.square(theirs).sum(axis=2, keepdims=True), -2 * theirs], axis=2
    )
    found = {}
    for dtype in (np.float64, np.float32):
        pair = first.astype(dtype), second.astype(dtype)
        written = np.zeros(3, dtype), np.zeros_like(pair[0]), np.zeros_like(pair[1])
        soft_dtw.soft_dtw(*pair, np.empty(0, np.int64), dtype(gamma), *written)
        found[dtype] = written
    for exact, rounded in zip(found[np.float64], found[np.float32], strict=True):
        np.testing.assert_allclose(rounded, exact, rtol=1e-5, atol=3e-6 * np.abs(exact).max())


def test_hints_of_a_teacher_far_from_zero_are_exact_in_float32():
    rng = np.random.default_rng(0)
    states, wanted = rng.normal(size=(16, 50, 9)), rng.normal(size=(16, 50, 30)) + 300
    own = np.concatenate([0.1 * rng.normal(size=270), 300 + rng.normal(size=30)])
    nothing = np.empty(0, np.int64)
    found = []
    for dtype in (np.float64, np.float32):
        arrays = [np.ascontiguousarray(part, dtype) for part in (states, wanted, own)]
        grads = np.zeros_like(arrays[0]), np.zeros((16, 2), dtype), np.zeros_like(arrays[2])
        student = arrays[0], np.zeros((16, 2), dtype), nothing, arrays[2]
        teacher = np.arange(16), arrays[1], np.empty((0, 0), np.int64), nothing, np.empty(0)
        value = np.zeros(1)
        state_losses.hints(student, teacher, np.ones(1), grads, value)
        found.append((value, grads[0], grads[2]))
    for exact, rounded in zip(*found, strict=True):
        assert np.abs(exact - rounded).max() < 2e-4 * np.abs(exact).max()
