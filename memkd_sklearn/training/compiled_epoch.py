"""Whole epochs in one compiled call, for networks whose steps take longer to ask for than to do."""

import numpy as np

from memkd_sklearn.kernels.epoch import gru_epoch, lstm_epoch
from memkd_sklearn.training.one_cycle_adam import SECOND_BETA

__all__ = ["run_compiled"]

EPOCHS = {"lstm": lstm_epoch, "gru": gru_epoch}


def run_compiled(network, objective, optimizer, batches, rng, scale):
    """Train for an epoch without coming back to Python, if that is possible.

    Does what one step a batch does, with the GIL released.

    Parameters
    ----------
    network : RecurrentNetwork
        Its weights are moved.
    objective : Objective
        What is minimised.
    optimizer : OneCycleAdam
        Of all parameters of the network, in their order, and of no others.
    batches : Batches
        The epoch's cases.
    rng : torch.Generator
        Source of what the objective draws.
    scale : float
        Factor of what is copied from a teacher in what is minimised.

    Returns
    -------
    terms : dict of str to float, or None
        Means over the cases, not finite if those of a batch were not, where the epoch then
        ended. None, with nothing moved, where the network does not run on the kernel or the
        objective has more than the kernels know.
    """
    bounds, whole = np.array(batches.bounds), batches.dataset.x
    sizes = np.diff(bounds)
    if not all(network.is_fused(whole[:size]) for size in {sizes.min(), sizes.max()}):
        return None
    compared = objective.comparisons(len(batches), rng)
    if compared is None:
        return None
    x, *lengths, y, index = (tensor.numpy() for tensor in batches.gather())
    ratios, scores = compared.weighted(scale)
    names = [*ratios.names, *scores.names]
    weight = objective.class_weight
    sums = np.zeros(1 + len(names))
    EPOCHS[network.cell](
        (network.n_layers, network.hidden_size, network.n_classes),
        (x, y, lengths[0] if lengths else np.empty(0, np.int64), index),
        bounds,
        np.empty(0, np.float32) if weight is None else weight.numpy(),
        (
            *(tensor.numpy() for tensor in optimizer.state),
            optimizer.largest_norm,
            optimizer.weight_decay,
            SECOND_BETA,
        ),
        optimizer.next_moves(len(batches)),
        ratios[1:],
        scores[1:],
        sums,
    )
    sums[1:] /= scale
    return dict(zip(["cross_entropy", *names], (sums / len(index)).tolist(), strict=True))
