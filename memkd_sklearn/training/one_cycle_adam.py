"""The optimiser: Adam, whose learning rate goes through one cycle."""

import math

import numpy as np
import torch

from memkd_sklearn.kernels.adam_and_scores import adam_step

__all__ = ["OneCycleAdam"]

WARM_UP = 0.3  # part of the steps during which the learning rate rises
FIRST_RATE, LAST_RATE = 1 / 25, 1 / 25e4  # of the highest
FIRST_BETA, LOWEST_BETA = 0.95, 0.85
SECOND_BETA = 0.999
EPSILON = 1e-8


class OneCycleAdam:
    """Adam for one flat parameter, with ``OneCycleLR``.

    It moves as ``torch.optim.Adam`` under ``torch.optim.lr_scheduler.OneCycleLR`` does, at
    their defaults: for a few hundred weights, their bookkeeping would take longer than the
    network.

    Parameters
    ----------
    parameter : torch.nn.Parameter
        Has a gradient, which a step changes.
    lr : float
        The highest learning rate.
    n_steps : int
        Length of the cycle.
    weight_decay : float
        Weight of half the squared norm of the parameter in the loss.
    largest_norm : float
        A gradient of a larger norm is scaled down to it.

    Attributes
    ----------
    pace : int
        Steps of the cycle that an optimisation step counts for; 1 at first.
    n_passed : int
        Steps of the cycle that lie behind.
    """

    def __init__(self, parameter, lr, n_steps, weight_decay, largest_norm):
        self.parameter = parameter
        self.lr = lr
        self.n_steps = n_steps
        self.weight_decay = weight_decay
        self.largest_norm = largest_norm
        self.n_done = self.n_passed = 0
        self.pace = 1
        self.mean = torch.zeros_like(parameter.grad)
        self.square = torch.zeros_like(parameter.grad)

    def rates(self):
        """The learning rate and the first beta of the cycle's next step."""
        peak = WARM_UP * (self.n_steps + 1) - 1
        if self.n_passed <= peak:
            part, lowest_rate = self.n_passed / peak, FIRST_RATE
        else:
            part, lowest_rate = (self.n_steps - self.n_passed) / (self.n_steps - peak), LAST_RATE
        height = (1 - math.cos(math.pi * part)) / 2
        rate = lowest_rate + (1 - lowest_rate) * height
        return self.lr * rate, FIRST_BETA + (LOWEST_BETA - FIRST_BETA) * height

    @property
    def state(self):
        """The parameter, its gradient, and the averages of that and of its square."""
        return self.parameter.detach(), self.parameter.grad, self.mean, self.square

    def state_dict(self):
        """The averages and the place in the cycle, as ``torch.save`` takes them."""
        counts = {"n_done": self.n_done, "n_passed": self.n_passed}
        return {"mean": self.mean, "square": self.square} | counts

    def load_state_dict(self, state):
        """Go back to a state that `state_dict` returned."""
        self.mean.copy_(state["mean"])
        self.square.copy_(state["square"])
        self.n_done, self.n_passed = state["n_done"], state["n_passed"]

    def next_moves(self, n_steps):
        """Go on in the cycle, and say how far and how smoothly the parameter is to move.

        Parameters
        ----------
        n_steps : int
            How many steps will be taken.

        Returns
        -------
        moves : np.ndarray of shape (n_steps, 3)
            For each, the rate, the first beta and the epsilon. They make up for averages that
            start at zero, which are not divided by the sums of their weights.
        """
        moves = np.empty((n_steps, 3))
        for step in range(n_steps):
            rate, beta = self.rates()
            self.n_passed += self.pace
            self.n_done += 1
            spread = math.sqrt(1 - SECOND_BETA**self.n_done)
            moves[step] = rate * spread / (1 - beta**self.n_done), beta, EPSILON * spread
        return moves

    def step(self):
        """Move the parameter."""
        rate, beta, epsilon = self.next_moves(1)[0].tolist()
        rates = self.largest_norm, self.weight_decay, beta, SECOND_BETA, epsilon, rate
        if self.parameter.is_cpu:
            adam_step(*(tensor.numpy() for tensor in self.state), *rates)
        else:
            _step_of_tensors(*self.state, *rates)


def _step_of_tensors(
    weights, gradient, mean, square, largest_norm, weight_decay, beta, second_beta, epsilon, rate
):
    """The kernel's step in tensor operations, on any device."""
    norm = torch.linalg.vector_norm(gradient)
    gradient.mul_((largest_norm / norm).clamp_max(1.0)).add_(weights, alpha=weight_decay)
    mean.lerp_(gradient, 1 - beta)
    square.mul_(second_beta).addcmul_(gradient, gradient, value=1 - second_beta)
    weights.addcdiv_(mean, square.sqrt().add_(epsilon), value=-rate)
