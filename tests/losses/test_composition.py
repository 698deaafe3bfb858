"""Losses as values: sums, weights, parameters, and soft targets against an oracle."""

import math
import pickle

import pytest
import torch
from oracles import naive_soft_target
from sklearn.base import clone

from memkd_sklearn.losses import DistillationLoss, LossSum, MemoryDiscrepancy, Outputs, SoftTargets


def some_outputs(seed, units):
    rng = torch.Generator().manual_seed(seed)
    return Outputs(
        torch.randn(5, 3, generator=rng, dtype=torch.float64),
        torch.randn(5, 12, units, generator=rng, dtype=torch.float64),
    )


@pytest.mark.parametrize("tau", [1.0, 4.0, 20.0])
def test_soft_targets_equal_the_loops(tau):
    student, teacher = some_outputs(0, 3), some_outputs(1, 4)
    (value,) = SoftTargets(tau)(student, teacher, None).values()
    expected = naive_soft_target(student.logits, teacher.logits, tau)
    assert value.item() == pytest.approx(expected, rel=1e-10)


def test_soft_targets_read_log_probabilities_as_logits():
    student, teacher = some_outputs(0, 3), some_outputs(1, 4)
    scores = Outputs(teacher.logits.log_softmax(dim=1))
    assert torch.allclose(
        SoftTargets()(student, teacher, None)["soft_target"],
        SoftTargets()(student, scores, None)["soft_target"],
    )


def test_soft_targets_gradient():
    student, teacher = some_outputs(0, 3), some_outputs(1, 4)
    assert torch.autograd.gradcheck(
        lambda logits: SoftTargets()(Outputs(logits), teacher, None)["soft_target"],
        student.logits.requires_grad_(),
    )


def test_losses_add_up():
    student, teacher = some_outputs(0, 3), some_outputs(1, 4)
    total = MemoryDiscrepancy(n_subsequences="all") + 0.5 * SoftTargets(2.0)
    memory = MemoryDiscrepancy(n_subsequences="all")(student, teacher, None)
    soft = SoftTargets(2.0)(student, teacher, None)["soft_target"]
    for terms in (
        total(student, teacher, None),
        total.prepare(teacher, 3, None)(student, torch.arange(5), None),
        (2 * total * 0.5)(student, teacher, None),
    ):
        assert set(terms) == {"short", "long", "soft_target"}
        assert torch.allclose(terms["short"], memory["short"])
        assert torch.allclose(terms["soft_target"], 0.5 * soft)
    assert total.reads_states
    assert not (SoftTargets() + SoftTargets()).reads_states


def test_sums_are_flat_and_print_as_scikit_learn_objects():
    total = SoftTargets(1.0) + 2 * SoftTargets(2.0) + 3 * SoftTargets(3.0)
    assert [loss.temperature for loss in total.losses] == [1.0, 2.0, 3.0]
    assert total.weights == [1.0, 2.0, 3.0]
    assert (
        repr(3 * SoftTargets(3.0))
        == "LossSum(losses=[SoftTargets(temperature=3.0)], weights=[3.0])"
    )


def test_losses_survive_clone_and_pickle():
    total = MemoryDiscrepancy(n_subsequences=7) + 0.5 * SoftTargets()
    for copied in (clone(total), pickle.loads(pickle.dumps(total))):
        assert isinstance(copied, LossSum)
        assert repr(copied) == repr(total)
        assert copied.losses[0] is not total.losses[0]


def test_adding_something_else_is_an_error():
    with pytest.raises(TypeError):
        SoftTargets() + 1


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (-1 * SoftTargets(), "Got weights=-1.0, but expected a number of at least 0"),
        (SoftTargets() * math.nan, "Got weights=nan, but expected"),
        (LossSum([], []), r"Got losses=\[\] and weights=\[\], but expected a weight for each"),
        (LossSum([SoftTargets()] * 2, [1.0]), "but expected a weight for each"),
        (SoftTargets() + SoftTargets(-1.0), "Got temperature=-1.0, but expected"),
    ],
)
def test_sums_that_make_no_sense_are_refused(loss, message):
    with pytest.raises(ValueError, match=message):
        loss.check()


class _Learned(DistillationLoss):
    """A loss with a parameter of its own, as a regressor would be."""

    def __call__(self, student, teacher, rng):
        raise NotImplementedError

    def prepare(self, teacher, n_units, rng):
        module = torch.nn.Linear(n_units, 1)
        module.forward = lambda student, index, rng: {"learned": student.states.mean()}
        return module


def test_parameters_of_a_part_are_parameters_of_the_sum():
    prepared = (SoftTargets() + _Learned()).prepare(some_outputs(0, 3), 3, None)
    assert len(list(prepared.parameters())) == 2
    assert set(prepared(some_outputs(1, 3), torch.arange(5), None)) == {"soft_target", "learned"}
