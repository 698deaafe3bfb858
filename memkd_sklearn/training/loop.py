"""Training of a recurrent network through skorch: batches, schedule, early stopping, progress."""

import math
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.helper import predefined_split
from tqdm import tqdm

from memkd_sklearn.losses.base import Outputs
from memkd_sklearn.network.wide import Crew
from memkd_sklearn.training.compiled_epoch import run_compiled
from memkd_sklearn.training.data import Batches
from memkd_sklearn.training.one_cycle_adam import OneCycleAdam

__all__ = ["train"]

GRADIENT_NORM = 1.0
WEIGHT_DECAY = 1e-5
PACE = 8  # epochs that one counts for while there is little left to learn
VALIDATION_BATCH = 128  # losses on each three cases of a batch take their cube of memory


def train(network, objective, data, valid, plan, seed, stopped=None):
    """Train a network in place: Adam, one cycle of the learning rate, clipped gradients.

    With validation cases, the weights of the epoch with the lowest cross-entropy on them
    are restored; without, the last ones are kept. Global random states are not touched.

    Parameters
    ----------
    network : RecurrentNetwork
        Its weights are the initial ones.
    objective : Objective
        What is minimised.
    data : Series
        Training cases.
    valid : Series or None
        Validation cases.
    plan : TrainingPlan
        How long, and in which steps.
    seed : int
        Seed of the order of cases and of what the objective draws.
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
    best = _BestWeights(plan.patience, watch)
    callbacks = [("best", best)]
    if stopped is not None:
        callbacks.append(("stop", _Stop(stopped)))
    if plan.learned_loss is not None:
        callbacks.append(("pace", _Pace(plan.n_epochs, plan.learned_loss)))
    if plan.verbose:
        callbacks.append(("progress", _Progress(plan.n_epochs)))
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
        callbacks=callbacks,
        verbose=0,
        device=plan.device,
        seed=seed,
        fade=plan.fade,
        n_steps=plan.n_epochs * math.ceil(len(data) / plan.batch_size),
    )
    diverged = False
    try:
        with Crew.of(torch.get_num_threads()) as network.crew:
            net.fit(data)
    except FloatingPointError as error:
        if best.weights is None:
            raise
        diverged = True
        best.restore(net)
        warnings.warn(
            f"{error} The best weights, those of epoch {best.epoch}, were restored.",
            ConvergenceWarning,
            stacklevel=2,
        )
    else:
        if valid is not None:
            best.restore(net)
    finally:
        network.crew = None
        network.eval()
    complete = (row for row in net.history if "train_loss" in row)
    history = [{k: v for k, v in row.items() if k != "batches"} for row in complete]
    if diverged:
        history[-1]["restored_epoch"] = best.epoch
    return history


class _EndOfTraining(Exception):
    """Raised by a callback to stop, where skorch would abuse KeyboardInterrupt."""


class _Net(NeuralNet):
    """A skorch net for networks so small that the bookkeeping of a step could rule its cost.

    All parameters are views of one flat tensor, whose gradient is clipped and optimised at
    once; callbacks hear of epochs, not of batches. The criterion names its terms, and
    interrupts go through.
    """

    def __init__(self, *args, seed, fade, n_steps, **kwargs):
        super().__init__(*args, **kwargs)
        self.seed = seed
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
        self.notify("on_train_begin", X=X, y=y)
        try:
            self.fit_loop(X, y)
        except _EndOfTraining:
            pass
        finally:
            self.notify("on_train_end", X=X, y=y)
        return self

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

    def validation_step(self, batch, **fit_params):
        self._record(*self._compute_terms(batch))

    def _compute_terms(self, batch):
        """The named terms of a batch, as tensors, and its number of cases."""
        inputs, (y, index) = batch
        outputs = Outputs(*self.module_(*inputs), *inputs[1:])
        return self.criterion_(outputs, y, index, self.rng_), len(y)

    def _weigh(self, terms):
        """What is minimised."""
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


class _BestWeights(Callback):
    """Remembers the weights of the best epoch; ends training when none is better for long."""

    def __init__(self, patience, watch):
        self.patience = patience
        self.watch = watch
        self.weights = None
        self.lowest, self.epoch = math.inf, 0

    def on_epoch_end(self, net, **kwargs):
        # The loss of a step is that of the weights before it.
        if not np.isfinite(net.flat_.detach().cpu().numpy()).all():
            raise FloatingPointError(
                f"Got weights that are not finite in epoch {len(net.history)}, but expected "
                "finite ones: a lower learning_rate may help."
            )
        value = net.history[-1, self.watch]
        if value < self.lowest:
            self.lowest, self.epoch = value, len(net.history)
            self.weights = net.flat_.detach().clone()
        elif self.patience is not None and len(net.history) - self.epoch >= self.patience:
            raise _EndOfTraining

    def restore(self, net):
        if self.weights is not None:
            net.flat_.data.copy_(self.weights)


class _Pace(Callback):
    """Goes on faster in the schedule while there is little left to learn.

    Parameters
    ----------
    n_epochs : int
        Length of the schedule.
    learned_loss : float
        An epoch after one of no higher training loss counts for `PACE`.
    """

    def __init__(self, n_epochs, learned_loss):
        self.left = n_epochs
        self.learned_loss = learned_loss

    def on_epoch_begin(self, net, **kwargs):
        if self.left <= 0:
            raise _EndOfTraining

    def on_epoch_end(self, net, **kwargs):
        self.left -= net.optimizer_.pace
        pace = PACE if net.history[-1, "train_loss"] <= self.learned_loss else 1
        net.optimizer_.pace = min(pace, self.left)


class _Stop(Callback):
    """Ends training when another thread asks for it."""

    def __init__(self, stopped):
        self.stopped = stopped

    def on_epoch_begin(self, net, **kwargs):
        if self.stopped.is_set():
            raise _EndOfTraining


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


class _Progress(Callback):
    """A progress bar over epochs that shows the loss terms."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_train_begin(self, net, **kwargs):
        self.bar = tqdm(total=self.n_epochs, unit="epoch", leave=True)

    def on_epoch_end(self, net, **kwargs):
        row = net.history[-1]
        shown = {k: f"{v:.3f}" for k, v in row.items() if k.startswith(("train_", "valid_cross"))}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()

    def on_train_end(self, net, **kwargs):
        self.bar.close()
