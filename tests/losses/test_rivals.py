"""The losses that MemKD is compared with, against plain loops in float64."""

import math
import resource
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import (
    divergence,
    naive_attention,
    naive_decoupled,
    naive_relations,
    naive_soft_dtw,
    softmax,
)
from sklearn.base import clone

from memkd_sklearn import DistillationClassifier
from memkd_sklearn.losses import (
    DT2W,
    AttentionTransfer,
    DecoupledSoftTargets,
    FitNet,
    Outputs,
    RelationalDistillation,
)
from memkd_sklearn.losses.feature import soft_dtw

LOSSES = [
    DecoupledSoftTargets(alpha=0.7, beta=3.0, temperature=2.0),
    RelationalDistillation(0.5, 3.0),
    AttentionTransfer(),
    FitNet(),
    DT2W(gamma=0.3),
]


def outputs(seed, n_units, n_cases=4, n_timepoints=6, n_classes=3, lengths=None):
    rng = torch.Generator().manual_seed(seed)
    return Outputs(
        torch.randn(n_cases, n_classes, dtype=torch.float64, generator=rng),
        torch.randn(n_cases, n_timepoints, n_units, dtype=torch.float64, generator=rng),
        lengths,
        torch.tensor([0, 2, 1, 2][:n_cases]),
    )


def prepared(loss, teacher, n_units=3):
    ready = loss.prepare(teacher, n_units, torch.Generator().manual_seed(5))
    return ready.double() if isinstance(ready, torch.nn.Module) else ready


def test_relations_read_in_inference_mode_can_be_trained_on():
    student, teacher = outputs(0, 3, n_cases=3), outputs(1, 5, n_cases=3)
    with torch.inference_mode():
        RelationalDistillation()(student, teacher, None)
    student.states.requires_grad_()
    sum(RelationalDistillation()(student, teacher, None).values()).backward()
    assert student.states.grad.abs().sum() > 0


def test_relations_of_many_held_out_cases_take_little_memory(teacher, italy):
    X, y = np.tile(italy[2][:1000], (3, 1, 1))[:, :, :6], np.tile(italy[3][:1000], 3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    DistillationClassifier(
        teacher, RelationalDistillation(), 2, n_init=1, n_epochs=1, early_stopping=True
    ).fit(X, y)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


@pytest.mark.parametrize("loss", [RelationalDistillation(), AttentionTransfer()])
@pytest.mark.parametrize("lengths", [None, torch.tensor([6, 2, 5, 4])])
def test_of_a_teacher_in_parts_no_part_is_kept_whole(loss, lengths):
    teacher, student = outputs(0, 5, lengths=lengths), outputs(1, 3, lengths=lengths)
    index, rng = torch.arange(4), torch.Generator()
    whole = loss.prepare(teacher, 3, rng)(student, index, rng)
    alive = []

    def parts():
        for cases in (slice(0, 3), slice(3, 4)):
            part = replace(teacher[cases], states=teacher.states[cases].clone())
            alive.append(weakref.ref(part.states))
            yield part
            del part
            assert len(alive) == 1 or alive[0]() is None

    in_parts = loss.prepare_parts(parts(), 4, 3, rng)(student, index, rng)
    assert alive[1]() is None
    assert in_parts == whole


def real(outputs, case):
    length = outputs.states.shape[1] if outputs.lengths is None else outputs.lengths[case]
    return outputs.states[case, :length].tolist()


LENGTHS = [None, torch.tensor([6, 3, 2, 5])]


def test_decoupled_equals_the_loops():
    student, teacher = outputs(0, 3), outputs(1, 5)
    loss = LOSSES[0]
    value = loss(student, teacher, None)["decoupled"].item()
    expected = naive_decoupled(
        student.logits.tolist(), teacher.logits.tolist(), teacher.labels.tolist(), loss
    )
    assert value == pytest.approx(expected, rel=1e-12)


def test_decoupled_with_the_teacher_s_own_weights_is_the_soft_target_loss():
    # KL = KL of the true class + (1 - its probability) * KL of the others, case by case.
    student, teacher = outputs(0, 3, n_cases=1), outputs(1, 5, n_cases=1)
    p = softmax([v / 2.0 for v in teacher.logits[0].tolist()])
    q = softmax([v / 2.0 for v in student.logits[0].tolist()])
    loss = DecoupledSoftTargets(alpha=1.0, beta=1 - p[0], temperature=2.0)
    assert loss(student, teacher, None)["decoupled"].item() == pytest.approx(4 * divergence(p, q))


@pytest.mark.parametrize("lengths", LENGTHS)
def test_relations_equal_the_loops(lengths):
    student, teacher = outputs(0, 3, lengths=lengths), outputs(1, 5, lengths=lengths)
    terms = LOSSES[1](student, teacher, None)
    last = [[real(o, case)[-1] for case in range(4)] for o in (student, teacher)]
    distance, angle = naive_relations(*last)
    assert terms["distance"].item() == pytest.approx(0.5 * distance, rel=1e-12)
    assert terms["angle"].item() == pytest.approx(3.0 * angle, rel=1e-12)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_attention_equals_the_loops(lengths):
    student, teacher = outputs(0, 3, lengths=lengths), outputs(1, 5, lengths=lengths)
    value = AttentionTransfer()(student, teacher, None)["attention"].item()
    each = [naive_attention(real(student, c), real(teacher, c)) for c in range(4)]
    assert value == pytest.approx(sum(each) / 4, rel=1e-12)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_hints_equal_the_loops(lengths):
    student, teacher = outputs(0, 3, lengths=lengths), outputs(1, 5, lengths=lengths)
    ready = prepared(FitNet(), teacher)
    weight, bias = (p.detach().numpy() for p in ready.regressor.parameters())
    gaps = [
        weight[unit] @ np.array(ours) + bias[unit] - theirs[unit]
        for case in range(4)
        for ours, theirs in zip(real(student, case), real(teacher, case), strict=True)
        for unit in range(5)
    ]
    value = ready(student, torch.arange(4), None)["hint"].item()
    assert value == pytest.approx(sum(g * g for g in gaps) / len(gaps), rel=1e-12)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_alignment_equals_the_loops(lengths):
    student, teacher = outputs(0, 3, lengths=lengths), outputs(1, 5, lengths=lengths)
    ready = prepared(DT2W(gamma=0.3), teacher)
    weight, bias = (p.detach().numpy() for p in ready.regressor.parameters())
    each = []
    for case in range(4):
        ours = [weight @ np.array(h) + bias for h in real(student, case)]
        cost = [[np.mean((a - b) ** 2) for b in real(teacher, case)] for a in ours]
        each.append(naive_soft_dtw(cost, 0.3) / len(cost))
    value = ready(student, torch.arange(4), None)["alignment"].item()
    assert value == pytest.approx(sum(each) / 4, rel=1e-10)


def soft_dtw_of_costs(cost, lengths, gamma):
    """A cost is its product with a unit vector."""
    unit = torch.eye(cost.shape[1], dtype=cost.dtype).expand_as(cost)
    return soft_dtw(cost, unit, lengths, gamma)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_cases", [1, 16, 33])
def test_soft_dtw_of_any_number_of_cases(n_cases, dtype):
    draws = torch.Generator().manual_seed(n_cases)
    cost = (3 * torch.rand(n_cases, 9, 9, generator=draws)).to(dtype).requires_grad_()
    lengths = torch.randint(1, 10, (n_cases,), generator=draws)
    value = soft_dtw_of_costs(cost, lengths, 0.5)
    assert value.dtype == dtype
    for case, n in enumerate(lengths.tolist()):
        expected = naive_soft_dtw(cost[case, :n, :n].tolist(), 0.5)
        assert value[case].item() == pytest.approx(expected, rel=2e-6, abs=1e-6)
    value.sum().backward()
    inside = torch.arange(9) < lengths[:, None]
    assert (cost.grad[~(inside[:, :, None] & inside[:, None])] == 0).all()
    # Every alignment goes through both ends once.
    cases = torch.arange(n_cases)
    torch.testing.assert_close(cost.grad[:, 0, 0], torch.ones(n_cases, dtype=dtype))
    torch.testing.assert_close(
        cost.grad[cases, lengths - 1, lengths - 1], torch.ones(n_cases, dtype=dtype)
    )


def test_soft_dtw_of_what_is_not_a_number_is_not_one():
    cost = torch.ones(2, 4, 4)
    cost[1, 1, 2] = float("nan")
    value = soft_dtw_of_costs(cost, None, 1.0)
    assert value.isnan().tolist() == [False, True]


@pytest.mark.parametrize("gamma", [1e-5, 0.1, 5.0])
def test_soft_dtw_value_and_gradient(gamma):
    cost = torch.rand(
        2, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    lengths = torch.tensor([7, 4])
    value = soft_dtw_of_costs(cost, lengths, gamma)
    for case, n in enumerate(lengths.tolist()):
        if gamma > 1e-2:  # the loops overflow
            expected = naive_soft_dtw(cost[case, :n, :n].tolist(), gamma)
            assert value[case].item() == pytest.approx(expected, rel=1e-12)
    if gamma > 1e-2:
        assert torch.autograd.gradcheck(lambda c: soft_dtw_of_costs(c, lengths, gamma), cost)
    else:  # towards dynamic time warping, whose gradient is the best path
        value.sum().backward()
        assert ((cost.grad - cost.grad.round()).abs() < 1e-6).all()


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_gradients_and_padding(loss, lengths):
    teacher = outputs(1, 5, lengths=lengths)
    ready = prepared(loss, teacher)
    student = outputs(0, 3)

    def total(logits, states):
        terms = ready(Outputs(logits, states, lengths), torch.arange(4), None)
        return sum(terms.values())

    inputs = student.logits.requires_grad_(), student.states.requires_grad_()
    assert torch.autograd.gradcheck(total, inputs)
    total(*inputs).backward()
    if lengths is not None and student.states.grad is not None:
        for case, length in enumerate(lengths):
            assert (student.states.grad[case, length:] == 0).all()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_prepared_equals_direct_on_any_cases(loss):
    student, teacher = outputs(0, 3), outputs(1, 5)
    index = torch.tensor([2, 0])
    ready = prepared(loss, teacher)
    part = prepared(loss, teacher[index])
    ahead = ready(student[index], index, None)
    direct = part(student[index], torch.arange(2), None)
    for name, value in ahead.items():
        assert value.item() == pytest.approx(direct[name].item(), rel=1e-12)


def test_one_case_and_equal_cases_have_finite_relations():
    for states in (torch.ones(1, 5, 3), torch.ones(4, 5, 3)):
        states = states.clone().requires_grad_()
        ours = Outputs(torch.zeros(len(states), 2), states)
        theirs = outputs(1, 5, n_cases=len(states))
        terms = RelationalDistillation()(ours, theirs, None)
        sum(terms.values()).backward()
        assert torch.isfinite(states.grad).all()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_distils_a_teacher_reproducibly(loss, teacher, italy, global_rng_untouched):
    X, y, *_ = italy
    student = DistillationClassifier(
        teacher, 1.0 * loss, 4, n_epochs=4, synthetic=0, random_state=0
    )
    first, again = (clone(student).fit(X, y) for _ in range(2))
    assert first.history_ == again.history_
    term = next(name for name in first.history_[0] if name not in ("epoch", "train_loss"))
    assert math.isfinite(first.history_[-1][term])
    assert first.footprint_.parameters == 94


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (DecoupledSoftTargets(alpha=-1), "Got alpha=-1"),
        (DecoupledSoftTargets(temperature=0), "Got temperature=0"),
        (RelationalDistillation(angle_weight=-2), "Got angle_weight=-2"),
        (DT2W(gamma=0), "Got gamma=0"),
    ],
)
def test_senseless_parameters_are_refused(loss, message):
    with pytest.raises(ValueError, match=f"{message}, but expected"):
        loss.check()


def test_soft_dtw_is_derived_by_both_sequences():
    draws = torch.Generator().manual_seed(0)
    pair = torch.randn(2, 3, 6, 4, dtype=torch.float64, generator=draws).unbind()
    pair = tuple(vectors.requires_grad_() for vectors in pair)
    lengths = torch.tensor([6, 2, 5])
    assert torch.autograd.gradcheck(lambda *both: soft_dtw(*both, lengths, 0.7), pair)
