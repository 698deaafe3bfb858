"""Whole epochs in one compiled call, for networks whose steps take longer to ask for than to do."""

from contextlib import contextmanager

import numpy as np
import torch

from memkd_sklearn.kernels.epoch import (
    CELLS,
    compile_epochs,
    describe_cell,
    describe_losses,
    kernels_of_epochs,
    train_epoch,
)
from memkd_sklearn.kernels.simd import LANES
from memkd_sklearn.kernels.together import compiling_ahead
from memkd_sklearn.network.recurrent import RecurrentNetwork
from memkd_sklearn.training.one_cycle_adam import SECOND_BETA

__all__ = ["compiling_epochs", "run_compiled"]


@contextmanager
def compiling_epochs(layers, device):
    """Have the kernels of epochs compiled while the block does other things, if it will need them.

    Parameters
    ----------
    layers : dict
        Arguments of the `RecurrentNetwork` besides its numbers of channels and classes.
    device : str, torch.device or None
        Where it is trained.
    """
    if layers["cell"] in CELLS and torch.device(device or "cpu").type == "cpu":
        network = RecurrentNetwork.empty(n_channels=1, n_classes=2, **layers)
        if network.is_fused(torch.empty(LANES, 1, 1, dtype=torch.float32, device="cpu")):
            with compiling_ahead(kernels_of_epochs, layers["cell"]):
                yield
            return
    yield


def run_compiled(network, objective, optimizer, batches, rng, scale):
    """Train for an epoch without coming back to Python, if that is possible.

    The result is the same as of one step a batch. The GIL is released.

    Parameters
    ----------
    network : RecurrentNetwork
        Its weights are moved.
    objective : Objective
        The loss that is minimised.
    optimizer : OneCycleAdam
        Of all parameters of the network and then of the objective, in their order.
    batches : Batches
        The epoch's cases.
    rng : torch.Generator
        Source of the objective's draws.
    scale : float
        Weight of the distillation loss beside the cross-entropy.

    Returns
    -------
    terms : dict of str to float, or None
        Means over the cases. The epoch ends at a batch whose terms are not finite, and nor are
        the means then. None, with nothing moved, if the network does not run on the kernel or
        the objective has more than the kernels know.
    """
    bounds, whole = np.array(batches.bounds), batches.dataset.x
    sizes = np.diff(bounds)
    if whole.dtype != torch.float32:
        return None
    if not all(network.is_fused(whole[:size]) for size in {sizes.min(), sizes.max()}):
        return None
    losses = objective.kernel_losses(len(batches), rng)
    if losses is None:
        return None
    x, *lengths, y, index = (tensor.numpy() for tensor in batches.gather())
    weight = objective.class_weight
    names = ["cross_entropy", *(name for loss in losses for name in loss.names)]
    read = [_arguments_of(loss) for loss in losses]
    sums = np.zeros(len(names))
    compile_epochs(network.cell, tuple({loss.kernel: None for loss in losses}))
    train_epoch(
        describe_cell(network.cell),
        (network.n_layers, network.hidden_size, network.n_classes),
        (x, y, lengths[0] if lengths else np.empty(0, np.int64), index),
        bounds,
        np.empty(0, np.float32) if weight is None else weight.numpy(),
        (
            *(tensor.numpy() for tensor in optimizer.state),
            float(optimizer.largest_norm),
            float(optimizer.weight_decay),
            SECOND_BETA,
        ),
        optimizer.next_moves(len(batches)),
        describe_losses(read),
        scale * np.array([weight for loss in losses for weight in loss.weights], np.float64),
        sums,
    )
    sums[1:] /= scale
    terms = {}
    for name, value in zip(names, (sums / len(index)).tolist(), strict=True):
        terms[name] = terms.get(name, 0.0) + value  # two losses may have terms of one name
    return terms


def _arguments_of(loss):
    """The loss as `describe_losses` takes it, in the types that kernels are compiled for."""
    wanted = np.ascontiguousarray(loss.wanted, np.float32)
    wanted = wanted.reshape(len(wanted), -1, wanted.shape[-1])
    integers = (np.ascontiguousarray(array, np.int64) for array in (loss.places, loss.drawn))
    numbers = np.array(loss.numbers, np.float64)
    return loss.kernel, wanted, *integers, numbers, len(loss.names), loss.n_parameters
