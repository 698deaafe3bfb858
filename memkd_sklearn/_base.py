"""What the teacher and the students have in common: data in, a trained network, scores out."""

import copy
import math
import threading
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from aeon.classification.base import BaseClassifier
from aeon.utils.conversion import convert_collection
from aeon.utils.validation import check_n_jobs
from joblib import Parallel, delayed
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight

from memkd_sklearn._deploy_mixin import ExportMixin
from memkd_sklearn._standardise import channel_statistics, lengths_of, parts, stretch, to_series
from memkd_sklearn._validation import check_choice, check_number
from memkd_sklearn.deploy import keep_sample
from memkd_sklearn.deploy.int8.arithmetic import MOST_PARAMETERS
from memkd_sklearn.footprint import Footprint, footprint
from memkd_sklearn.network.initialisation import initialise
from memkd_sklearn.network.recurrent import CELLS, RecurrentNetwork
from memkd_sklearn.training.loop import Series, TrainingPlan, train, use_threads
from memkd_sklearn.training.objective import Objective

__all__ = ["BaseRecurrentClassifier"]

# With fewer validation cases than this, "auto" trains on every case to the end of the
# learning rate's cycle: what a held-out part would have taught is worth more than what it
# tells about when to stop (`studies/defaults.py`).
FEWEST_VALIDATION_CASES = 200

# Optimisation steps of n_epochs="auto", and its least and largest number of epochs; small
# networks, of which a step costs little, make all of the steps whatever the number of epochs.
STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 4500, 10, 500

# Peaks of the schedule of learning_rate="auto". A large network now and then stays on a plateau
# for as long as the rate is high: if its training loss, with n_epochs="auto", is never below
# this part of that of guessing, it begins once more at half the rate (`studies/defaults.py`).
SMALL_RATE, RATE, UNLEARNED = 0.01, 0.002, 0.1


class BaseRecurrentClassifier(ExportMixin, BaseClassifier):
    """Base of the classifiers of this package: one recurrent network over the series.

    A subclass says in `_fit` what its network is trained on, and calls `_fit_network`.
    """

    _tags = {
        "X_inner_type": ["np-list", "numpy3D"],
        "algorithm_type": "deeplearning",
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:multithreading": True,
    }
    _learning_rate_names = ()

    def hidden_states(self, X):
        """Read series and return the network's memory of them.

        Parameters
        ----------
        X : array-like of shape (n_cases, n_channels, n_timepoints)
            Series, in any form that `predict` takes and of any length.

        Returns
        -------
        states : np.ndarray of shape (n_cases, n_timepoints, hidden_size)
            Hidden states of the top layer, in float32; a list of arrays of shape
            (n_timepoints, hidden_size) if lengths differ.
        """
        return self._read_trace(X, states=True)[1]

    @property
    def footprint_(self):
        """Parameters, bytes and multiplications of the network, as a `Footprint`."""
        self._check_is_fitted()
        return Footprint.of(self.network_)

    def _fit_network(self, X, y, distil=None):
        """Train a network and set the fitted attributes, all at the end.

        Parameters
        ----------
        X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
            Training series.
        y : np.ndarray of shape (n_cases,)
            Their labels.
        distil : callable or None
            ``distil(rng)`` gives the prepared distillation loss over all cases.
        """
        n_jobs = check_n_jobs(self.n_jobs)
        n_init = int(self.n_init)
        split_seed, *seeds = check_random_state(self.random_state).randint(
            np.iinfo(np.int32).max, size=1 + 2 * n_init
        )
        distillation = distil and distil(torch.Generator().manual_seed(int(split_seed)))
        mean, scale = channel_statistics(X)
        x, lengths = to_series(X, mean, scale)
        target = np.searchsorted(self.classes_, y)
        train_index, valid_index = self._split(target, split_seed)
        # Spread over the cases, which may come sorted by class.
        sampled = train_index[:: math.ceil(len(train_index) / 256)]
        sample = stretch(x[sampled], None if lengths is None else lengths[sampled])
        config = {
            "n_channels": len(mean),
            "hidden_size": int(self.hidden_size),  # a search gives NumPy's integers
            "n_classes": self.n_classes_,
            "n_layers": int(self.n_layers),
            "cell": self.cell,
        }
        x, labels = x.to(self.device), torch.as_tensor(target, device=self.device)
        lengths = None if lengths is None else lengths.to(self.device)
        data = Series(x, labels, train_index, lengths)
        valid = None if valid_index is None else Series(x, labels, valid_index, lengths)
        objective = Objective(self._class_weights(y), distillation)
        is_small = _is_small(config)
        stopped = threading.Event()
        plan_at = partial(self._plan, len(train_index), valid_index is not None, is_small)

        def fit_one(plan, weight_seed, train_seed):
            network = RecurrentNetwork.empty(**config)
            initialise(network, sample, torch.Generator().manual_seed(int(weight_seed)))
            # What a loss trains along starts anew with every student.
            own = copy.deepcopy(objective)
            return network, train(network, own, data, valid, plan, int(train_seed), stopped)

        fits = []
        for plan in map(plan_at, self._learning_rates(is_small)):
            # One restart uses all threads, several use one each.
            with use_threads(n_jobs if n_init == 1 else 1), _setting_if_raised(stopped):
                fits += Parallel(n_jobs=min(n_jobs, n_init), require="sharedmem")(
                    delayed(fit_one)(plan, *pair)
                    for pair in zip(seeds[::2], seeds[1::2], strict=True)
                )
            reached = min(row["train_loss"] for _, history in fits for row in history)
            if reached <= UNLEARNED * _loss_of_guessing(target):
                break
        network, history = min(fits, key=lambda fit: _final_loss(fit[1], valid is not None))
        self._calibration = None
        self._calibration_sample = keep_sample(X, mean, scale) if is_small else None
        self._n_jobs = n_jobs
        self.channel_mean_ = mean
        self.channel_scale_ = scale
        self.network_ = network
        self.history_ = history

    def _split(self, target, seed):
        """Indices of training and of validation cases; the latter None to do without."""
        n_valid = round(self.validation_fraction * len(target))
        wanted = self.early_stopping
        if wanted == "auto":
            wanted = n_valid >= FEWEST_VALIDATION_CASES
        if not wanted:
            return torch.arange(len(target)), None
        valid = stratified_holdout(target, max(n_valid, 1), np.random.RandomState(seed))
        if not valid.any():
            return torch.arange(len(target)), None
        return torch.as_tensor(np.flatnonzero(~valid)), torch.as_tensor(np.flatnonzero(valid))

    def _learning_rates(self, is_small):
        """Peaks of the schedule to train at, a second one if the first leaves much to learn."""
        if self.learning_rate != "auto":
            return [float(self.learning_rate)]
        if is_small:
            return [SMALL_RATE]
        return [RATE, RATE / 2] if self.n_epochs == "auto" else [RATE]

    def _plan(self, n_cases, has_validation, is_small, learning_rate):
        n_epochs = self.n_epochs
        if n_epochs == "auto":
            n_epochs = max(STEPS // math.ceil(n_cases / self.batch_size), FEWEST_EPOCHS)
            n_epochs = n_epochs if is_small else min(n_epochs, MOST_EPOCHS)
        return TrainingPlan(
            n_epochs=int(n_epochs),
            batch_size=int(self.batch_size),
            learning_rate=learning_rate,
            patience=self.n_iter_no_change if has_validation else None,
            device=self.device,
            verbose=self.verbose,
        )

    def _class_weights(self, y):
        if self.class_weight is None:
            return None
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        return torch.as_tensor(weights, dtype=torch.float32)

    def _check_parameters(self):
        """Raise before any work if a parameter makes no sense."""
        for name in ("hidden_size", "n_layers", "n_init", "batch_size", "n_iter_no_change"):
            check_number(name, getattr(self, name), low=1, integer=True)
        check_choice("cell", self.cell, list(CELLS))
        check_number("n_epochs", self.n_epochs, low=1, integer=True, or_one_of=["auto"])
        others = self._learning_rate_names
        check_number("learning_rate", self.learning_rate, low=0, open_low=True, or_one_of=others)
        check_number(
            "validation_fraction", self.validation_fraction, low=0, high=0.9, open_low=True
        )
        check_choice("early_stopping", self.early_stopping, ["auto", True, False])
        check_number("verbose", self.verbose, low=0, or_one_of=[True, False])
        check_number("n_jobs", self.n_jobs, low=-math.inf, integer=True, or_one_of=[None])
        if self.n_jobs == 0:
            raise ValueError("Got n_jobs=0, but expected threads: 1 or more, or -1 for all.")
        check_choice("class_weight", self.class_weight, [None, "balanced"])
        check_device(self.device)
        try:
            check_random_state(self.random_state)
        except ValueError as error:
            raise ValueError(
                f"Got random_state={self.random_state!r}, but expected None, an integer from 0 to "
                "4294967295 or a numpy.random.RandomState."
            ) from error

    def _predict(self, X):
        return self.classes_[self._predict_proba(X).argmax(axis=1)]

    def _predict_proba(self, X):
        return np.exp(_log_proba(self._read(X, states=False)[0]))

    def _read_trace(self, X, states):
        """Logarithms of class probabilities, and hidden states or None, in one pass."""
        X = self._check_at_predict(X)
        logits, memory = self._read(X, states=states)
        if states and isinstance(X, list):
            memory = [one[:n] for one, n in zip(memory, lengths_of(X), strict=True)]
        return _log_proba(logits), memory

    def _read(self, X, states=True):
        """Run the network over checked series, a bounded part at a time.

        Returns
        -------
        logits : np.ndarray of shape (n_cases, n_classes)
        states : np.ndarray of shape (n_cases, n_timepoints, hidden_size) or None
            What is shorter than the longest series is followed by states of no meaning.
        """
        logits = np.empty((len(X), self.n_classes_))
        # Not self's: parameters may have been set for the next fit.
        n_units = self.network_.hidden_size
        shape = (len(X), lengths_of(X).max(), n_units)
        memory = np.empty(shape, np.float32) if states else None
        device = self.network_.head.weight.device
        exact = not states and _is_small(self.network_.config)
        # At most 2^23 values (32 MB) of states at once, whatever the number of cases.
        n_channels = len(self.channel_mean_)
        size = 2**23 * n_channels // max(n_units, n_channels)
        with use_threads(self._n_jobs), torch.inference_mode():
            for part in parts(X, size):
                dtype = np.float64 if exact else np.float32
                x, lengths = to_series(X[part], self.channel_mean_, self.channel_scale_, dtype)
                if exact:
                    logits[part] = self.network_.exact_logits(x, lengths)
                    continue
                given = (x.to(device), None if lengths is None else lengths.to(device))
                out, seen = self.network_(*given)
                logits[part] = out.cpu().numpy()
                if states:
                    memory[part, : seen.shape[1]] = seen.cpu().numpy()
        return logits, memory

    def _check_at_predict(self, X):
        """Check series as aeon's final `predict` does."""
        self._check_is_fitted()
        X = self._preprocess_collection(X, store_metadata=False)
        self._check_shape(X)
        return X

    # What aeon calls to check input, made stricter and clearer.

    def _preprocess_collection(self, X, store_metadata=True):
        if isinstance(X, list) and (not X or isinstance(X[0], list)):
            X = [np.asarray(series, dtype=float) for series in X] or np.empty(0)
        for part in X if isinstance(X, list) else [X]:
            if isinstance(part, np.ndarray) and part.size == 0:
                raise ValueError(f"Got X of shape {part.shape}, but expected at least one value.")
        if isinstance(X, np.ndarray) and X.dtype.kind == "f" and not np.isfinite(X).all():
            raise ValueError("Got X with NaN or infinite values, but expected finite ones.")
        X = super()._preprocess_collection(X, store_metadata=store_metadata)
        if not all(np.isfinite(part).all() for part in ([X] if isinstance(X, np.ndarray) else X)):
            raise ValueError("Got X with infinite values, but expected finite ones.")
        if (shortest := lengths_of(X).min()) < 2:
            raise ValueError(f"Got X of {shortest} time point, but expected at least 2.")
        return X

    def _convert_X(self, X):  # noqa: N802, aeon's name
        # By what X is, and not, as in aeon, by what was seen in fit.
        if isinstance(X, np.ndarray):
            return convert_collection(X, "numpy3D")
        X = convert_collection(X, "np-list")
        return X if len(set(lengths_of(X))) > 1 else np.stack(X)

    def _check_y(self, y, n_cases, update_classes=True, allow_single_class=False):
        if isinstance(y, list | tuple):
            y = np.asarray(y)
        return super()._check_y(y, n_cases, update_classes, allow_single_class)

    def _check_shape(self, X):
        # Not aeon's check: a recurrent network reads series of any length.
        if X[0].shape[0] != self.metadata_["n_channels"]:
            raise ValueError(
                f"Got X of {X[0].shape[0]} channels, but expected "
                f"{self.metadata_['n_channels']}, as in fit."
            )


def stratified_holdout(target, n_valid, rng):
    """Draw about `n_valid` cases, in every class's proportion, leaving one of each class.

    Parameters
    ----------
    target : np.ndarray of shape (n_cases,)
        Class indices.
    n_valid : int
        How many are wanted; fewer are drawn if classes are too small.
    rng : np.random.RandomState
        Source of randomness.

    Returns
    -------
    valid : np.ndarray of bool of shape (n_cases,)
        True for the cases that are held out.
    """
    counts = np.bincount(target)
    share = n_valid * counts / len(target)
    quota = np.floor(share).astype(int)
    # The largest remainders take what is left, ties in random order.
    order = np.lexsort((rng.permutation(len(counts)), quota - share))
    quota[order[: n_valid - quota.sum()]] += 1
    quota = np.minimum(quota, np.maximum(counts - 1, 0))
    valid = np.zeros(len(target), dtype=bool)
    for label, n in enumerate(quota):
        valid[rng.permutation(np.flatnonzero(target == label))[:n]] = True
    return valid


def check_device(device):
    """Raise ValueError unless tensors can be made on the device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"Got device={device!r}, but expected one that PyTorch can use here, such as 'cpu'."
        ) from error


def _is_small(config):
    # Such a network may go to a microcontroller. Of its training series `fit` keeps what
    # twelve-bit weights are chosen on; its class scores are computed in float64, as by a stream,
    # because some make of float32's rounding errors more than 1e-5 over a long series, with
    # which nothing that leaves Python could agree.
    return footprint(**config)["parameters"] <= MOST_PARAMETERS


@contextmanager
def _setting_if_raised(event):
    # Joblib does not wait for its threads, which would train on for nobody.
    try:
        yield
    except BaseException:
        event.set()
        raise


def _loss_of_guessing(target):
    """Cross-entropy of who knows how frequent classes are, and nothing else."""
    share = np.bincount(target) / len(target)
    return -np.sum(share * np.log(share))


def _final_loss(history, has_validation):
    """Loss of the weights that a fit ended with: what restarts are compared by."""
    if has_validation:
        return min(row["valid_cross_entropy"] for row in history)
    kept = history[-1].get("restored_epoch", len(history))
    return history[kept - 1]["train_loss"]


def _log_proba(logits):
    return torch.from_numpy(logits).log_softmax(dim=1).numpy()
