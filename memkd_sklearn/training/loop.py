"""Training of one recurrent network through skorch: epochs, steps, and the end."""

import copy
import math
import warnings
from functools import partial

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNetClassifier
from skorch.helper import predefined_split

from memkd_sklearn.losses.base import Outputs
from memkd_sklearn.network.wide import Crew
from memkd_sklearn.training.callbacks import (
    BestWeights,
    EndOfTraining,
    Pace,
    ShownProgress,
    Stop,
    is_deliberate,
)
from memkd_sklearn.training.compiled_epoch import run_compiled
from memkd_sklearn.training.data import Batches
from memkd_sklearn.training.one_cycle_adam import OneCycleAdam

__all__ = ["train"]

GRADIENT_NORM = 1.0
WEIGHT_DECAY = 1e-5
VALIDATION_BATCH = 128  # losses on each three cases of a batch take their cube of memory
# Of skorch's history, for its callbacks.
NOT_KEPT = {"batches", "train_loss_best", "valid_loss_best"}


def train(network, objective, data, valid, plan, seed, stopped=None):
    """Train a network in place: Adam, one cycle of the learning rate, clipped gradients.

    With validation cases, the weights of the epoch with the lowest cross-entropy on them
    are restored; without, the last ones are kept. Global random states are not touched.

    Parameters
    ----------
    network : RecurrentNetwork
        Its weights are the initial ones.
    objective : Objective
        The loss that is minimised.
    data : Series
        Training cases.
    valid : Series or None
        Validation cases.
    plan : TrainingPlan
        How long, and in which steps.
    seed : int
        Seed of the order of cases and of the objective's draws.
    stopped : threading.Event or None, default=None
        Training ends before the next epoch once it is set.

    Returns
    -------
    history : list of dict
        One dict an epoch: "epoch", and "train_" and "valid_" means of every term and of
        their sum, the "loss"; in the sum, all terms but the cross-entropy count times
        "fade", which is there if the plan has it. If training diverged, the last has
        "restored_epoch".

    Raises
    ------
    FloatingPointError
        If the loss is not finite before one epoch is complete. Later, the best weights so
        far are restored and a ConvergenceWarning is given.
    """
    watch = "train_loss" if valid is None else "valid_cross_entropy"
    best = BestWeights(plan.patience, watch, restores=valid is not None)
    callbacks = [("best", best)]
    if stopped is not None:
        callbacks.append(("stop", Stop(stopped)))
    if plan.learned_loss is not None:
        callbacks.append(("pace", Pace(plan.n_epochs, plan.learned_loss)))
    if plan.verbose:
        callbacks.append(("progress", ShownProgress(plan.title, plan.n_epochs)))
    net = _Net(
        network,
        criterion=objective,
        lr=plan.learning_rate,
        max_epochs=plan.n_epochs,
        batch_size=plan.batch_size,
        iterator_train=Batches,
        iterator_train__rng=torch.Generator().manual_seed(seed),
        iterator_valid=Batches,
        iterator_valid__batch_size=VALIDATION_BATCH,
        train_split=None if valid is None else predefined_split(valid),
        callbacks=[*callbacks, *copy.deepcopy(list(plan.callbacks))],
        verbose=plan.verbose,
        device=plan.device,
        classes=np.arange(network.n_classes),
        predict_nonlinearity=partial(torch.softmax, dim=1),
        use_caching=False,  # callbacks that score ask the net, as batches are not recorded
        best=best,
        seed=seed,
        restart=plan.restart,
        fade=plan.fade,
        n_steps=plan.n_epochs * math.ceil(len(data) / plan.batch_size),
    )
    try:
        with Crew.of(torch.get_num_threads()) as network.crew:
            net.fit(data, None)
    finally:
        network.crew = None
        network.eval()
    complete = (row for row in net.history if "train_loss" in row)
    history = [{k: v for k, v in row.items() if k not in NOT_KEPT} for row in complete]
    if net.divergence_ is not None:
        history[-1]["restored_epoch"] = best.epoch
        warnings.warn(
            f"{net.divergence_} The weights of epoch {best.epoch}, the best, were restored.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return history


class _Net(NeuralNetClassifier):
    """A skorch net for networks so small that the bookkeeping of a step could rule its cost.

    All parameters are views of one flat tensor, whose gradient is clipped and optimised at
    once; callbacks hear of epochs, not of batches. The criterion names its terms, and
    interrupts go through. Classes are indices.
    """

    def __init__(self, *args, best, seed, restart, fade, n_steps, **kwargs):
        super().__init__(*args, **kwargs)
        self.best = best
        self.seed = seed
        self.restart = restart
        self.fade = fade
        self.n_steps = n_steps

    @property
    def _default_callbacks(self):
        return []

    def initialize_optimizer(self, *args, **kwargs):
        trained = [*self.module_.parameters(), *self.criterion_.parameters()]
        self.flat_ = _flatten([parameter for parameter in trained if parameter.requires_grad])
        self.optimizer_ = OneCycleAdam(
            self.flat_, self.lr, self.n_steps, WEIGHT_DECAY, GRADIENT_NORM
        )
        self.train_rng_ = torch.Generator().manual_seed(self.seed)
        return self

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        if not self.initialized_:
            self.initialize()
        self.divergence_ = None
        self.lowest_ = {}
        self.labelled_ = X.labelled()
        self.notify("on_train_begin", X=X, y=y)
        try:
            self.fit_loop(X, y)
        except EndOfTraining:
            pass
        except FloatingPointError as error:
            if self.best.weights is None:
                raise
            self.divergence_ = error
        finally:
            self.notify("on_train_end", X=X, y=y)
        return self

    def notify(self, method_name, **kwargs):
        """Tell the callbacks, of which some end training by a KeyboardInterrupt of their own."""
        if "dataset_train" in kwargs:  # which scorers compare with predictions
            kwargs["dataset_train"] = self.labelled_
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt as interrupt:
            if method_name.startswith("on_epoch") and is_deliberate(interrupt):
                raise EndOfTraining from None
            raise

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Average the terms over the epoch's cases, keeping no record of single batches."""
        if iterator is None:
            return
        # Validation draws the same subsequences in every epoch, so that epochs compare.
        self.rng_ = self.train_rng_ if training else torch.Generator().manual_seed(self.seed)
        if training:
            passed = self.optimizer_.n_passed / self.n_steps
            self.copying_weight_ = 1 - passed if self.fade else 1.0
        self.sums_ = {}
        if training:
            self.history.new_batch()  # a callback may look for the last one
        if self.module_.training != training:
            self._set_training(training)
        with torch.no_grad():
            terms = self._run_compiled(iterator) if training else None
            if terms is not None:
                self._check(self._record(terms, len(iterator.dataset)))
            else:
                for batch in iterator:
                    step_fn(batch)
        for name, total in self.sums_.items():
            self.history.record(f"{prefix}_{name}", total / len(iterator.dataset))
        loss = self.sums_["loss"]
        is_best = loss < self.lowest_.get(prefix, math.inf)
        self.history.record(f"{prefix}_loss_best", is_best)
        if is_best:
            self.lowest_[prefix] = loss
        if self.fade:
            self.history.record("fade", self.copying_weight_)

    def _run_compiled(self, iterator):
        return run_compiled(
            self.module_,
            self.criterion_,
            self.optimizer_,
            iterator,
            self.rng_,
            self.copying_weight_,
        )

    def train_step(self, batch, **fit_params):
        self.flat_.grad.zero_()
        with torch.enable_grad():
            terms, n_cases = self._compute_terms(batch)
            loss = self._weigh(terms)
        self._check(self._record(terms, n_cases))
        loss.backward()
        self.optimizer_.step()

    def infer(self, inputs, **fit_params):
        """Class scores, for callbacks that ask the net."""
        return self.module_(*inputs)[0]

    def validation_step(self, batch, **fit_params):
        self._record(*self._compute_terms(batch))

    def _compute_terms(self, batch):
        """The named terms of a batch, as tensors, and its number of cases."""
        inputs, (y, index) = batch
        outputs = Outputs(*self.module_(*inputs), *inputs[1:])
        return self.criterion_(outputs, y, index, self.rng_), len(y)

    def _weigh(self, terms):
        """The loss that is minimised, of its terms."""
        copied = sum(value for name, value in terms.items() if name != "cross_entropy")
        return terms["cross_entropy"] + self.copying_weight_ * copied

    def _check(self, loss):
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"Got a loss of {loss} in epoch {len(self.history)}, but expected a finite one: "
                f"a lower learning_rate may help."
            )

    def _record(self, terms, n_cases):
        """Add the terms of a batch to the sums of the epoch, and return its loss."""
        terms = {name: float(value) for name, value in terms.items()}
        loss = self._weigh(terms)
        for name, value in (terms | {"loss": loss}).items():
            self.sums_[name] = self.sums_.get(name, 0.0) + value * n_cases
        return loss


def _flatten(parameters):
    """Make parameters, and their gradients, views of one flat parameter with a gradient."""
    flat = torch.nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    sizes = [p.numel() for p in parameters]
    parts = zip(flat.detach().split(sizes), flat.grad.split(sizes), strict=True)
    for parameter, (value, gradient) in zip(parameters, parts, strict=True):
        parameter.data = value.view_as(parameter)
        parameter.grad = gradient.view_as(parameter)
    return flat
