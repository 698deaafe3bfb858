"""The optimiser: the same steps as PyTorch's Adam under its OneCycleLR."""

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from memkd_sklearn.training import one_cycle_adam
from memkd_sklearn.training.one_cycle_adam import OneCycleAdam


@pytest.mark.parametrize("where", ["kernel", "tensors"])
@pytest.mark.parametrize("n_steps", [1, 2, 3, 10, 200])
def test_steps_are_those_of_pytorch(n_steps, where, monkeypatch):
    if where == "tensors":  # what other devices do

        def step(*arrays_and_rates):
            tensors = map(torch.from_numpy, arrays_and_rates[:4])
            one_cycle_adam._step_of_tensors(*tensors, *arrays_and_rates[4:])

        monkeypatch.setattr(one_cycle_adam, "adam_step", step)
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(50, generator=rng, dtype=torch.float64)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    ours.grad = torch.zeros_like(start)
    optimiser = OneCycleAdam(ours, 0.02, n_steps, weight_decay=0.1, largest_norm=5.0)
    reference = torch.optim.Adam([theirs], lr=0.02, weight_decay=0.1)
    schedule = OneCycleLR(reference, 0.02, n_steps + 1, pct_start=0.3)
    for _ in range(n_steps):
        (group,) = reference.param_groups
        assert optimiser.rates() == pytest.approx((group["lr"], group["betas"][0]), rel=1e-12)
        size = 10 ** torch.rand(1, generator=rng, dtype=torch.float64) - 1  # norms up to 63
        gradient = size * torch.randn(50, generator=rng, dtype=torch.float64)
        gradient[0] = 0.0
        ours.grad.copy_(gradient)
        theirs.grad = gradient * min(1.0, 5.0 / gradient.norm().item())
        optimiser.step()
        reference.step()
        schedule.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-14)


def test_a_pace_leaves_out_steps_of_the_cycle():
    def at(pace, n_steps):
        parameter = torch.nn.Parameter(torch.zeros(2))
        parameter.grad = torch.ones(2)
        optimiser = OneCycleAdam(parameter, 0.02, 40, weight_decay=0.0, largest_norm=5.0)
        optimiser.pace = pace
        rates = []
        for _ in range(n_steps):
            rates.append(optimiser.rates())
            optimiser.step()
        return optimiser, rates

    slow, of_each = at(1, 40)
    fast, of_some = at(4, 10)
    assert of_some == of_each[::4]
    assert (slow.n_passed, fast.n_passed) == (40, 40)
    # The averages are of the steps that were taken.
    assert (slow.n_done, fast.n_done) == (40, 10)
