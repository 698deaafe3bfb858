"""Settings of a training, as a user gives them, and the plan that they make for a data set."""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from sklearn.utils import check_random_state

from memkd_sklearn._validation import check_choice, check_number
from memkd_sklearn.augmentation import check_synthetic
from memkd_sklearn.augmentation.augmenter import ENOUGH
from memkd_sklearn.training.callbacks import check_callbacks
from memkd_sklearn.training.data import stratified_holdout

__all__ = ["TrainingPlan", "TrainingSettings"]

# With fewer validation cases than this, early_stopping="auto" trains on every case to the end of
# the learning rate's cycle: a held-out part would teach more than it tells about when to stop
# (`studies/defaults.py`).
FEWEST_VALIDATION_CASES = 200

# Optimisation steps of n_epochs="auto", and its least and largest number of epochs. Networks of
# few parameters, of which a step costs little, make more steps, whatever the number of epochs
# (`studies/diet.py`, and `studies/hurry.py` for the others).
STEPS, SMALL_NETWORK_STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 2250, 20250, 10, 500
MOST_PARAMETERS_FOR_ALL_STEPS = 5000

# Series that synthetic="auto" fills a training split up to: more for networks of few parameters,
# which make more steps, and would learn a smaller pool by heart (`studies/diet.py`).
SERIES, SMALL_NETWORK_SERIES = 1500, ENOUGH
MOST_PARAMETERS_FOR_ALL_SERIES = 5000

# With n_epochs="auto", a network of more parameters than this, of which a step costs much, goes
# faster through its schedule while its training loss is at most a part of the loss of guessing by
# the classes' frequencies (`studies/hurry.py`).
MOST_PARAMETERS_WITHOUT_HURRY = 5000
LEARNED = 0.03

# Peaks of the schedule of learning_rate="auto", for networks of few parameters and for others. One
# of the others now and then stays on a plateau for as long as the rate is high: with
# n_epochs="auto" there is a second rate to begin once more at (`studies/defaults.py`,
# `studies/hurry.py`).
SMALL_RATE, RATE = 0.01, 0.003
MOST_PARAMETERS_FOR_SMALL_RATE = 5000


@dataclass(frozen=True)
class TrainingPlan:
    """How long and in which steps one network is trained.

    Attributes
    ----------
    n_epochs : int
        Passes over the training cases; the learning rate's cycle ends with the last.
    batch_size : int
        Largest number of cases a step.
    learning_rate : float
        Peak of the one-cycle schedule.
    patience : int or None
        Epochs without a lower validation loss after which training stops; None: never.
    device : str
        Where to compute.
    verbose : int
        Whether to show a progress bar.
    learned_loss : float or None
        Mean training loss of an epoch up to which there is little left to learn: the schedule is
        then gone through faster, in fewer epochs; None: never.
    fade : bool
        Whether the distillation loss's weight falls, epoch by epoch, from 1 towards 0, so that the
        labels have the last word.
    callbacks : tuple
        A user's callbacks, of which each training has its own copy.
    restart : int
        Number of the training within a fit, from 0.
    title : str
        Which training it is, in words, for who watches.
    """

    n_epochs: int
    batch_size: int
    learning_rate: float
    patience: int | None = None
    learned_loss: float | None = None
    device: str = "cpu"
    verbose: int = 0
    fade: bool = False
    callbacks: tuple = ()
    restart: int = 0
    title: str = "Training"


@dataclass(frozen=True)
class TrainingSettings:
    """Parameters of an estimator that say how its network is trained.

    The estimators describe them: each attribute is the parameter of its name.
    """

    n_init: int
    n_epochs: int | str
    batch_size: int
    learning_rate: float | str
    early_stopping: bool | str
    validation_fraction: float
    n_iter_no_change: int
    class_weight: dict | str | None
    device: str
    n_jobs: int | None
    verbose: int
    random_state: object
    synthetic: object = 0
    callbacks: list | None = None
    fade: bool = False

    @classmethod
    def of(cls, estimator):
        """The settings of an estimator."""
        given = vars(estimator)
        return cls(**{f.name: given[f.name] for f in fields(cls) if f.name in given})

    def check(self, classes=None, rates=()):
        """Raise before any work if a setting makes no sense.

        Parameters
        ----------
        classes : np.ndarray of shape (n_classes,) or None, default=None
            The labels, if they are known.
        rates : sequence of str, default=()
            Names that stand for a learning rate.

        Raises
        ------
        TypeError, ValueError
            With the setting's name, its value, and the values that are expected.
        """
        for name in ("n_init", "batch_size", "n_iter_no_change"):
            check_number(name, getattr(self, name), low=1, integer=True)
        check_number("n_epochs", self.n_epochs, low=1, integer=True, or_one_of=["auto"])
        check_number("learning_rate", self.learning_rate, low=0, open_low=True, or_one_of=rates)
        check_number(
            "validation_fraction", self.validation_fraction, low=0, high=0.9, open_low=True
        )
        check_choice("early_stopping", self.early_stopping, ["auto", True, False])
        check_choice("fade", self.fade, [True, False])
        check_number("verbose", self.verbose, low=0, or_one_of=[True, False])
        check_number("n_jobs", self.n_jobs, low=-math.inf, integer=True, or_one_of=[None])
        if self.n_jobs == 0:
            raise ValueError("Got n_jobs=0, but expected threads: 1 or more, or -1 for all.")
        check_synthetic(self.synthetic)
        _check_class_weight(self.class_weight, classes)
        _check_device(self.device)
        _check_random_state(self.random_state)
        check_callbacks(self.callbacks)

    def hold_out(self, target, seed):
        """Choose the cases that early stopping goes by.

        Parameters
        ----------
        target : np.ndarray of shape (n_cases,)
            Class indices.
        seed : int
            Seed of the choice.

        Returns
        -------
        held_out : np.ndarray of bool of shape (n_cases,)
            All False to train on every case.
        """
        n_valid = round(self.validation_fraction * len(target))
        wanted = self.early_stopping
        if wanted == "auto":
            wanted = n_valid >= FEWEST_VALIDATION_CASES
        if not wanted:
            return np.zeros(len(target), dtype=bool)
        return stratified_holdout(target, max(n_valid, 1), np.random.RandomState(seed))

    def plans(self, n_cases, n_parameters, has_validation, guessing):
        """Plan the training of a network.

        Parameters
        ----------
        n_cases : int
            Training cases.
        n_parameters : int
            The network's parameters.
        has_validation : bool
            Whether cases are held out.
        guessing : float
            Loss of guessing by the classes' frequencies.

        Returns
        -------
        plans : list of TrainingPlan
            The second, if there is one, is for a network that learns little by the first.
        """
        return [
            TrainingPlan(
                n_epochs=self._n_epochs(n_cases, n_parameters),
                batch_size=int(self.batch_size),
                learning_rate=rate,
                patience=self.n_iter_no_change if has_validation else None,
                learned_loss=LEARNED * guessing if self._may_hurry(n_parameters) else None,
                device=self.device,
                verbose=self.verbose,
                fade=self.fade,
                callbacks=tuple(self.callbacks or ()),
            )
            for rate in self._learning_rates(n_parameters)
        ]

    @staticmethod
    def enough_series(n_parameters):
        """How many series synthetic="auto" fills up to, for a network of so many parameters."""
        is_small = n_parameters <= MOST_PARAMETERS_FOR_ALL_SERIES
        return SMALL_NETWORK_SERIES if is_small else SERIES

    def _n_epochs(self, n_cases, n_parameters):
        if self.n_epochs != "auto":
            return int(self.n_epochs)
        is_small = n_parameters <= MOST_PARAMETERS_FOR_ALL_STEPS
        n_steps = SMALL_NETWORK_STEPS if is_small else STEPS
        n_epochs = max(n_steps // math.ceil(n_cases / self.batch_size), FEWEST_EPOCHS)
        return n_epochs if is_small else min(n_epochs, MOST_EPOCHS)

    def _may_hurry(self, n_parameters):
        return self.n_epochs == "auto" and n_parameters > MOST_PARAMETERS_WITHOUT_HURRY

    def _learning_rates(self, n_parameters):
        if self.learning_rate != "auto":
            return [float(self.learning_rate)]
        if n_parameters <= MOST_PARAMETERS_FOR_SMALL_RATE:
            return [SMALL_RATE]
        return [RATE, RATE / 2] if self.n_epochs == "auto" else [RATE]


def _check_class_weight(class_weight, classes):
    if not isinstance(class_weight, dict):
        check_choice("class_weight", class_weight, [None, "balanced"])
        return
    for label, weight in class_weight.items():
        check_number(f"class_weight[{label!r}]", weight, low=0, open_low=True)
    labels = [] if classes is None else classes.tolist()
    unknown = [label for label in class_weight if label not in labels]
    without = [label for label in labels if label not in class_weight]
    if unknown and without:  # a fold may lack classes that have a weight
        raise ValueError(
            f"Got class_weight of {unknown}, which are no classes of y, but expected {without}."
        )


def _check_device(device):
    try:
        torch.zeros(1, device=device).item()  # "meta" has no values
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"Got device={device!r}, but expected one that PyTorch can use here, such as 'cpu'."
        ) from error


def _check_random_state(random_state):
    try:
        check_random_state(random_state)
    except ValueError as error:
        raise ValueError(
            f"Got random_state={random_state!r}, but expected None, an integer from 0 to "
            "4294967295 or a numpy.random.RandomState."
        ) from error
