"""A network for a data set: several are trained from different initial weights, one is kept."""

import copy
import itertools
import threading
from concurrent.futures import as_completed
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight

from memkd_sklearn._threads import n_threads_of, pool_of
from memkd_sklearn._torch_state import neutral_torch
from memkd_sklearn.augmentation import augmenter_of, n_to_fill_up
from memkd_sklearn.footprint import footprint
from memkd_sklearn.network.initialisation import initialise
from memkd_sklearn.network.recurrent import RecurrentNetwork
from memkd_sklearn.training.data import Cases, TrainingData
from memkd_sklearn.training.loop import train
from memkd_sklearn.training.objective import Objective

__all__ = ["TrainedNetwork", "final_loss", "fit_network"]

# A network has learned little if its training loss was never below this part of the loss of
# guessing by the classes' frequencies.
UNLEARNED = 0.1

# Above this part of the loss of guessing, made-up series are more than the network can learn in
# its steps: it begins once more without them.
OUT_OF_REACH = 0.4


@dataclass(frozen=True)
class TrainedNetwork:
    """A network that was trained on a data set.

    Attributes
    ----------
    network : RecurrentNetwork
        The network, in evaluation mode.
    history : list of dict
        One dict an epoch.
    mean, scale : np.ndarray of shape (n_channels,)
        Statistics with which its series are standardised.
    """

    network: RecurrentNetwork
    history: list
    mean: np.ndarray
    scale: np.ndarray


def fit_network(X, y, classes, layers, settings, distil=None, unlabelled=None):
    """Train networks on labelled series from different initial weights, and keep the best.

    Parameters
    ----------
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
        Training series.
    y : np.ndarray of shape (n_cases,)
        Their labels.
    classes : np.ndarray of shape (n_classes,)
        All labels, sorted.
    layers : dict
        Arguments of `RecurrentNetwork` besides its numbers of channels and classes.
    settings : TrainingSettings
        How to train.
    distil : callable or None, default=None
        ``distil(cases, rng)`` gives a prepared distillation loss over these `Cases`, or None to
        learn from labels alone, and how many of them it is over: the last may be left out.
    unlabelled : collection like X, or None, default=None
        Series without labels.

    Returns
    -------
    TrainedNetwork

    Raises
    ------
    ValueError
        If values are too large to standardise.
    FloatingPointError
        If a network's loss is not finite in its first epoch.
    """
    split_seed, *seeds = check_random_state(settings.random_state).randint(
        np.iinfo(np.int32).max, size=1 + 2 * int(settings.n_init)
    )
    # Without a seed, series are made of the data alone: a teacher that a cache has read on them is
    # not asked again.
    synthetic_seed = 0 if settings.random_state is None else int(split_seed)
    n_jobs = n_threads_of(settings.n_jobs)
    with neutral_torch(n_jobs):
        target = np.searchsorted(classes, y)
        held_out = settings.hold_out(target, split_seed)
        config = {"n_channels": len(X[0]), "n_classes": len(classes)} | layers
        n_parameters = footprint(**config)["parameters"]
        n_auto = n_to_fill_up(X, settings.enough_series(n_parameters) + held_out.sum())
        augmenter = augmenter_of(settings.synthetic, synthetic_seed, n_auto)
        cases = Cases.gather(X, target, held_out, augmenter, unlabelled)
        data, distillation = TrainingData.of(cases, settings.device), None
        if distil is not None:
            distillation, n_cases = distil(cases, torch.Generator().manual_seed(int(split_seed)))
            data = data.first(n_cases)
        objective = Objective(_class_weights(settings.class_weight, classes, y), distillation)
        guessing = _loss_of_guessing(target, objective.class_weight)
        fits = []
        for number in itertools.count():
            sizes = len(data.train), n_parameters, data.valid is not None
            plans = settings.plans(*sizes, guessing)
            title = "{n_layers} x {hidden_size} {cell}".format(**layers)
            if len(plans) > 1:
                title += f", attempt {number + 1} of {'at most ' * (not fits)}{len(plans)}"
            plan = replace(plans[number], restart=len(fits), title=title)
            fits += _run_restarts(config, objective, data, plan, seeds, n_jobs)
            reached = min(row["train_loss"] for _, history in fits for row in history)
            if reached <= UNLEARNED * guessing or number + 1 == len(plans):
                break
            if reached > OUT_OF_REACH * guessing:
                data = data.first(len(X))
    network, history = min(fits, key=lambda fit: final_loss(fit[1], data.valid is not None))
    return TrainedNetwork(network, history, data.mean, data.scale)


def final_loss(history, has_validation):
    """Find the loss of the weights that a training ended with, which restarts are compared by.

    Parameters
    ----------
    history : list of dict
        As `train` returns it.
    has_validation : bool
        Whether cases were held out.

    Returns
    -------
    float
    """
    if has_validation:
        return min(row["valid_cross_entropy"] for row in history)
    kept = history[-1].get("restored_epoch", len(history))
    return history[kept - 1]["train_loss"]


def _run_restarts(config, objective, data, plan, seeds, n_jobs):
    """Train a network from each pair of seeds, and return networks with their histories."""
    pairs = list(zip(seeds[::2], seeds[1::2], strict=True))
    stopped = threading.Event()

    def fit_one(number, weight_seed, train_seed):
        own_plan = replace(plan, restart=plan.restart + number)
        if len(pairs) > 1:
            title = f"{plan.title}, restart {number + 1} of {len(pairs)}"
            own_plan = replace(own_plan, title=title)
        # On one thread, as PyTorch's own layers, which initial weights are found with, round
        # otherwise on several.
        with neutral_torch(1):
            network = RecurrentNetwork.empty(**config)
            initialise(network, data.sample, torch.Generator().manual_seed(int(weight_seed)))
        # One restart computes on all threads, several on one each.
        with neutral_torch(n_jobs if len(pairs) == 1 else 1):
            # A loss may have parameters, which start anew with every student.
            own = copy.deepcopy(objective)
            history = train(
                network, own, data.train, data.valid, own_plan, int(train_seed), stopped
            )
        return network, history

    n_threads = min(n_jobs, len(pairs))
    if n_threads == 1:
        return [fit_one(number, *pair) for number, pair in enumerate(pairs)]
    with pool_of(n_threads) as pool:
        fits = [pool.submit(fit_one, number, *pair) for number, pair in enumerate(pairs)]
        try:
            for fit in as_completed(fits):
                fit.result()  # or the first error
        except BaseException:
            stopped.set()  # the others would train on for nobody
            for fit in fits:
                fit.cancel()
            raise
    return [fit.result() for fit in fits]


def _class_weights(class_weight, classes, y):
    """Weights of the classes in the cross-entropy, as a tensor, or None."""
    if class_weight is None:
        return None
    if isinstance(class_weight, dict):  # scikit-learn takes the label "1" for the number
        weights = [class_weight.get(label, 1.0) for label in classes.tolist()]
    else:
        weights = compute_class_weight(class_weight, classes=classes, y=y)
    return torch.as_tensor(weights, dtype=torch.float32, device="cpu")


def _loss_of_guessing(target, class_weight):
    """Cross-entropy of guesses by how frequent classes are, and by nothing else."""
    counts = np.bincount(target)
    share = counts if class_weight is None else counts * class_weight.numpy()
    share = share / share.sum()
    return -np.sum(share * np.log(share))
