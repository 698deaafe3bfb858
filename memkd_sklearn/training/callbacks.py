"""Callbacks of a training: best weights, pace, an end from outside, a progress bar; users' own."""

import dis
import math

import numpy as np
from skorch.callbacks import Callback

from memkd_sklearn._progress import Progress

__all__ = [
    "BestWeights",
    "EndOfTraining",
    "Pace",
    "ShownProgress",
    "Stop",
    "check_callbacks",
    "is_deliberate",
]

PACE = 4  # epochs that one counts for while there is little left to learn


class EndOfTraining(Exception):
    """Raised by a callback to end a training."""


class BestWeights(Callback):
    """Remembers the weights of the best epoch; ends training when none is better for long.

    Parameters
    ----------
    patience : int or None
        Epochs without a lower value after which training ends; None: never.
    watch : str
        Name in the history of the value that is to be low.
    restores : bool
        Whether a training that ends well gets these weights back; one that diverges does.
    """

    def __init__(self, patience, watch, restores):
        self.patience = patience
        self.watch = watch
        self.restores = restores
        self.weights = None
        self.lowest, self.epoch = math.inf, 0

    def on_epoch_end(self, net, **kwargs):
        """Compare the epoch with the best one.

        Raises
        ------
        FloatingPointError
            If a weight is not finite.
        EndOfTraining
            If no epoch was better for long.
        """
        # The loss of a step is the loss before it: only weights tell of the last step.
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
            raise EndOfTraining

    def on_train_end(self, net, **kwargs):
        """Restore the weights, before other callbacks hear of the end."""
        if self.weights is not None and (self.restores or net.divergence_ is not None):
            net.flat_.data.copy_(self.weights)


class Pace(Callback):
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
        """Raise EndOfTraining at the schedule's end."""
        if self.left <= 0:
            raise EndOfTraining

    def on_epoch_end(self, net, **kwargs):
        """Choose the pace of the next epoch."""
        self.left -= net.optimizer_.pace
        pace = PACE if net.history[-1, "train_loss"] <= self.learned_loss else 1
        net.optimizer_.pace = min(pace, self.left)


class Stop(Callback):
    """Ends training when another thread asks for it.

    Parameters
    ----------
    stopped : threading.Event
        Set to end.
    """

    def __init__(self, stopped):
        self.stopped = stopped

    def on_epoch_begin(self, net, **kwargs):
        """Raise EndOfTraining if training is to end."""
        if self.stopped.is_set():
            raise EndOfTraining


class ShownProgress(Callback):
    """Tells how far the training is in its schedule, and its losses.

    Parameters
    ----------
    title : str
        Which training it is.
    n_epochs : int
        Length of the schedule.
    """

    def __init__(self, title, n_epochs):
        self.title = title
        self.n_epochs = n_epochs

    def on_train_begin(self, net, **kwargs):
        """Begin with none."""
        self.progress = Progress(self.title, self.n_epochs, "epochs")

    def on_epoch_end(self, net, **kwargs):
        """Count the epoch for as many as it counts for in the schedule."""
        row = net.history[-1]
        names = [name for name in row if name.startswith(("train_", "valid_cross"))]
        losses = {name: row[name] for name in names if not name.endswith("_best")}
        passed = round(self.n_epochs * net.optimizer_.n_passed / net.n_steps)
        self.progress.add(passed - self.progress.n_done, **losses)

    def on_train_end(self, net, **kwargs):
        """Tell of the end."""
        self.progress.end()


def check_callbacks(callbacks):
    """Check what a user gave as callbacks.

    Parameters
    ----------
    callbacks : None or list
        Callbacks of skorch, their classes, or pairs of a name and either.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if callbacks is None:
        return
    given = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
    for one in given:
        one = one[1] if isinstance(one, tuple | list) and len(one) == 2 else one
        kind = one if isinstance(one, type) else type(one)
        if given is not callbacks or not issubclass(kind, Callback):
            raise TypeError(
                f"Got callbacks={callbacks!r}, but expected None or a list of skorch's callbacks."
            )


def is_deliberate(interrupt):
    """Tell whether code raised an interrupt, as skorch's callbacks do, or a key that was pressed.

    Parameters
    ----------
    interrupt : KeyboardInterrupt
        One that was caught.

    Returns
    -------
    bool
    """
    raised = interrupt.__traceback__
    while raised.tb_next is not None:
        raised = raised.tb_next
    # A signal comes between two instructions, and never in a `raise`.
    return raised.tb_frame.f_code.co_code[raised.tb_lasti] == dis.opmap["RAISE_VARARGS"]
