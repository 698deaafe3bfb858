"""Training: what is minimised, stopped, restored, drawn, and left alone."""

import math

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from memkd_sklearn.kernels import adam_and_scores
from memkd_sklearn.losses import DistillationLoss, MemoryDiscrepancy, Outputs
from memkd_sklearn.network import RecurrentNetwork
from memkd_sklearn.network.initialisation import initialise
from memkd_sklearn.training.data import Batches, Series
from memkd_sklearn.training.loop import train
from memkd_sklearn.training.objective import Objective
from memkd_sklearn.training.one_cycle_adam import OneCycleAdam
from memkd_sklearn.training.plan import TrainingPlan
from memkd_sklearn.training.restarts import final_loss

N_CASES, N_TIMEPOINTS = 40, 10


def problem(seed=0, cell="lstm", hidden_size=4):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(N_CASES, N_TIMEPOINTS, 1, generator=rng)
    y = (x[:, :, 0].mean(dim=1) > 0).long()
    network = RecurrentNetwork.empty(n_channels=1, hidden_size=hidden_size, n_classes=2, cell=cell)
    initialise(network, x, rng)
    index = torch.arange(N_CASES)
    return network, Series(x, y, index[:30]), Series(x, y, index[30:])


def plan(**params):
    return TrainingPlan(**{"n_epochs": 20, "batch_size": 8, "learning_rate": 0.02, **params})


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_training_lowers_the_loss_and_ends_in_eval_mode(cell, global_rng_untouched):
    network, data, _ = problem(cell=cell)
    history = train(network, Objective(), data, None, plan(), seed=0)
    assert [row["epoch"] for row in history] == list(range(1, 21))
    assert history[-1]["train_loss"] < 0.6 * history[0]["train_loss"]
    assert not network.training


def test_same_seed_gives_the_same_bytes():
    weights = []
    for disturbance in (0, 1):
        torch.manual_seed(disturbance)
        np.random.seed(disturbance)
        network, data, valid = problem()
        train(network, Objective(), data, valid, plan(), seed=7)
        weights.append(network.arrays())
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_best_weights_on_validation_cases_are_restored():
    network, data, valid = problem()
    history = train(network, Objective(), data, valid, plan(n_epochs=60, patience=60), seed=0)
    with torch.no_grad():
        loss = Objective()(Outputs(*network(valid.x[30:])), valid.labels[30:], None, None)
    best = min(row["valid_cross_entropy"] for row in history)
    assert loss["cross_entropy"].item() == pytest.approx(best, rel=1e-6)


def test_patience_ends_training():
    network, data, valid = problem()
    valid.labels = 1 - valid.labels  # the better the training, the worse the validation
    history = train(network, Objective(), data, valid, plan(n_epochs=200, patience=3), seed=0)
    losses = [row["valid_cross_entropy"] for row in history]
    assert len(history) == int(np.argmin(losses)) + 1 + 3


@pytest.mark.parametrize("hidden_size", [4, 70])
def test_a_learned_network_hurries_to_the_end_of_its_schedule(hidden_size, monkeypatch):
    passed = []
    next_moves = OneCycleAdam.next_moves

    def recorded(optimiser, n_steps):
        moves = next_moves(optimiser, n_steps)
        passed.append((optimiser.pace, optimiser.n_passed, optimiser.n_steps))
        return moves

    monkeypatch.setattr(OneCycleAdam, "next_moves", recorded)
    network, data, _ = problem(hidden_size=hidden_size)
    hurried = plan(n_epochs=41, learned_loss=0.5)
    history = train(network, Objective(), data, None, hurried, seed=0)
    slow = [row["train_loss"] > 0.5 for row in history]
    assert any(slow)
    assert not all(slow)
    paces = [pace for pace, *_ in passed[:: len(passed) // len(history)]]
    left = 41
    for pace, is_slow in zip(paces, [True, *slow], strict=False):
        assert pace == (1 if is_slow else min(4, left))
        left -= pace
    assert left == 0
    assert passed[-1][1] == passed[-1][2]


def test_what_is_copied_fades_with_the_schedule():
    network, data, _ = problem()
    hurried = plan(n_epochs=20, fade=True, learned_loss=math.inf)
    history = train(network, Objective(), data, None, hurried, seed=0)
    assert [row["fade"] for row in history] == pytest.approx([1.0, 0.95, 0.75, 0.55, 0.35, 0.15])


def test_history_has_every_term_and_they_add_up():
    network, data, valid = problem()
    rng = torch.Generator().manual_seed(0)
    teacher = Outputs(torch.zeros(N_CASES, 2), torch.rand(N_CASES, N_TIMEPOINTS, 6, generator=rng))
    distillation = MemoryDiscrepancy(n_subsequences=5).prepare(teacher, 4, rng)
    history = train(network, Objective(None, distillation), data, valid, plan(n_epochs=3), seed=0)
    terms = ["cross_entropy", "short", "long"]
    expected = {"epoch"} | {f"{s}_{t}" for s in ("train", "valid") for t in [*terms, "loss"]}
    for row in history:
        assert set(row) == expected
        for split in ("train", "valid"):
            total = sum(row[f"{split}_{term}"] for term in terms)
            assert row[f"{split}_loss"] == pytest.approx(total, rel=1e-5)


def test_what_is_copied_can_fade():
    network, data, _ = problem()
    history = train(
        network, Objective(None, _Exploding(999)), data, None, plan(n_epochs=4, fade=True), seed=0
    )
    assert [row["fade"] for row in history] == [1.0, 0.75, 0.5, 0.25]

    class Constant:
        def __call__(self, student, index, rng):
            return {"extra": torch.tensor(2.0)}

    history = train(
        network, Objective(None, Constant()), data, None, plan(n_epochs=4, fade=True), 0
    )
    for row in history:
        assert row["train_extra"] == 2.0
        assert row["train_loss"] == pytest.approx(row["train_cross_entropy"] + 2 * row["fade"])


def test_history_means_are_over_cases_not_batches():
    network, data, _ = problem()
    data.index = data.index[:9]
    history = train(network, Objective(), data, None, plan(n_epochs=1, learning_rate=1e-12), seed=0)
    with torch.no_grad():
        loss = Objective()(Outputs(*network(data.x[:9])), data.labels[:9], None, None)
    assert history[0]["train_loss"] == pytest.approx(loss["cross_entropy"].item(), rel=1e-5)


@pytest.mark.parametrize("class_weight", [None, [1.0, 5.0, 0.5]])
@pytest.mark.parametrize("size", [1.0, 500.0])
def test_cross_entropy_and_its_gradient(class_weight, size):
    rng = torch.Generator().manual_seed(0)
    logits = size * torch.randn(6, 3, dtype=torch.float64, generator=rng)
    y = torch.tensor([0, 2, 1, 0, 1, 0])
    weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float64)
    gradient = torch.empty_like(logits)
    array = np.empty(0) if weight is None else weight.numpy()
    value = adam_and_scores.cross_entropy(logits.numpy(), y.numpy(), array, gradient.numpy())
    weights = [1.0 if weight is None else weight[label].item() for label in y]
    each = [-float(logits[i].log_softmax(0)[y[i]]) for i in range(6)]
    expected = sum(w * e for w, e in zip(weights, each, strict=True)) / sum(weights)
    assert value == pytest.approx(expected)
    terms = Objective(weight)(Outputs(logits.requires_grad_()), y, None, None)
    assert terms["cross_entropy"].item() == pytest.approx(expected)
    terms["cross_entropy"].backward()
    torch.testing.assert_close(gradient, logits.grad)


@pytest.mark.parametrize(
    "terms", [torch.tensor(1.0), {"loss": torch.tensor(1.0)}, {"cross_entropy": torch.tensor(1.0)}]
)
def test_a_loss_that_returns_no_named_terms_is_refused(terms):
    network, data, _ = problem()
    objective = Objective(None, lambda student, index, rng: terms)
    with pytest.raises(ValueError, match=r"Got terms=.* of a loss, but expected a dict"):
        train(network, objective, data, None, plan(), seed=0)


def test_a_term_that_is_no_mean_over_the_batch_is_refused():
    network, data, _ = problem()
    objective = Objective(None, lambda student, index, rng: {"mine": student.logits.sum(dim=1)})
    with pytest.raises(
        ValueError, match=r"Got mine of shape \(\d+,\) of a loss, but expected a sca"
    ):
        train(network, objective, data, None, plan(), seed=0)


def test_a_loss_s_own_parameters_are_trained():
    class Learned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(3.0))

        def forward(self, student, index, rng):
            return {"scale": self.scale.square()}

    learned = Learned()
    network, data, _ = problem()
    train(network, Objective(None, learned), data, None, plan(), seed=0)
    assert learned.scale.item() < 2.9


class _Exploding:
    """Terms that are finite for so many calls."""

    def __init__(self, n_calls, what=math.nan):
        self.left, self.what = n_calls, what

    def __call__(self, student, index, rng):
        self.left -= 1
        if self.left >= 0:
            return {"extra": student.states.sum() * 0}
        if isinstance(self.what, BaseException):
            raise self.what
        return {"extra": student.states.sum() * self.what}


def test_divergence_restores_the_best_weights_and_warns():
    network, data, _ = problem()
    with pytest.warns(ConvergenceWarning, match="The weights of epoch 2, the best, were restored"):
        history = train(network, Objective(None, _Exploding(9)), data, None, plan(), seed=0)
    assert [row["epoch"] for row in history] == [1, 2]
    assert all(np.isfinite(a).all() for a in network.arrays().values())
    assert not network.training
    reference, data, _ = problem()
    train(reference, Objective(None, _Exploding(999)), data, None, plan(), seed=0)
    # Not the weights of the end, but of an epoch in between.
    assert not np.array_equal(network.arrays()["head.bias"], reference.arrays()["head.bias"])


def test_restarts_compare_the_loss_of_the_weights_that_are_kept():
    network, data, _ = problem()
    with pytest.warns(ConvergenceWarning, match="of epoch 1, the best, were restored"):
        history = train(network, Objective(None, _Worse()), data, None, plan(), seed=0)
    assert [row["train_extra"] for row in history] == [0.0, 5.0]
    assert final_loss(history, has_validation=False) == history[0]["train_loss"]


class _Worse(torch.nn.Module):
    """Nothing in the first epoch of four batches, 5 in the second, then NaN."""

    def __init__(self):
        super().__init__()
        self.n_batches = 0

    def forward(self, student, index, rng):
        self.n_batches += 1
        return {"extra": torch.tensor([0.0, 5.0, math.nan][(self.n_batches - 1) // 4])}


def test_divergence_in_the_first_epoch_raises():
    network, data, _ = problem()
    with pytest.raises(FloatingPointError, match="Got a loss of nan in epoch 1, but expected"):
        train(network, Objective(None, _Exploding(2)), data, None, plan(), seed=0)


class _Zero(DistillationLoss):
    """Of the value 0, and without a gradient there."""

    def __call__(self, student, index, rng):
        return {"root": (student.states * 0).sum().sqrt()}


@pytest.mark.parametrize("has_validation", [True, False])
def test_weights_that_are_not_finite_are_never_kept(has_validation):
    network, data, valid = problem()
    given = data, valid if has_validation else None, plan(batch_size=30)
    with pytest.raises(FloatingPointError, match="Got weights that are not finite in epoch 1, but"):
        train(network, Objective(None, _Zero()), *given, seed=0)


def test_interrupts_go_through():
    network, data, _ = problem()
    objective = Objective(None, _Exploding(5, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        train(network, objective, data, None, plan(verbose=1), seed=0)
    assert not network.training


def test_silent_by_default_and_lines_if_asked(capfd):
    network, data, _ = problem()
    train(network, Objective(), data, None, plan(n_epochs=2), seed=0)
    assert capfd.readouterr() == ("", "")
    shown = plan(n_epochs=6, verbose=1, title="The teacher", learned_loss=math.inf)
    train(network, Objective(), data, None, shown, seed=0)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("The teacher: 6 of 6 epochs, 0 s, train_")
    assert ", train_cross_entropy=0." in line
    assert "best" not in line


@pytest.mark.parametrize(
    ("n_cases", "sizes"), [(33, [17, 16]), (32, [32]), (1, [1]), (65, [22, 22, 21])]
)
def test_batches_are_of_near_equal_size(n_cases, sizes):
    x = torch.arange(n_cases).reshape(-1, 1, 1)
    data = Series(x, x[:, 0, 0], torch.arange(n_cases))
    batches = list(Batches(data, 32, torch.Generator().manual_seed(0)))
    assert [len(x) for (x,), _ in batches] == sizes
    seen = torch.cat([index for _, (_, index) in batches])
    assert sorted(seen.tolist()) == list(range(n_cases))


def test_a_loss_must_define_its_terms():
    with pytest.raises(NotImplementedError, match="DistillationLoss does not define __call__"):
        DistillationLoss()(None, None, None)
