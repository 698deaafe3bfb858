"""The contract with aeon that all classifiers of this package keep: data in, class scores out."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from aeon.utils.conversion import convert_collection

from memkd_sklearn._aeon import BaseClassifier
from memkd_sklearn._check_series import check_series, warn_of_labels, warn_of_series
from memkd_sklearn._deploy_mixin import ExportMixin
from memkd_sklearn._standardise import lengths_of, parts, to_series
from memkd_sklearn._threads import n_threads_of
from memkd_sklearn._torch_state import neutral_torch
from memkd_sklearn._types import ArrayLike, Cell, Floats, FloatsOrList
from memkd_sklearn._validation import check_choice, check_number
from memkd_sklearn.data import to_labels
from memkd_sklearn.deploy import input_peak
from memkd_sklearn.footprint import Footprint, footprint
from memkd_sklearn.network.recurrent import CELLS, RecurrentNetwork

__all__ = ["BaseRecurrentClassifier"]

# Class scores of a network of at most so many parameters are computed in float64, as a stream of it
# computes: some such networks make of float32's rounding errors more than 1e-5 over a long series,
# with which nothing that leaves Python could agree.
MOST_PARAMETERS_IN_FLOAT64 = 5000


class BaseRecurrentClassifier(ExportMixin, BaseClassifier):
    """Base of the classifiers of this package: one recurrent network over the series.

    A subclass trains the network in `_fit`, and hands it to `_keep`.
    """

    hidden_size: int
    n_layers: int
    cell: Cell
    n_jobs: int | None
    network_: RecurrentNetwork
    history_: list[dict[str, Any]]
    channel_mean_: Floats
    channel_scale_: Floats

    _tags = {
        "X_inner_type": ["np-list", "numpy3D"],
        "algorithm_type": "deeplearning",
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:missing_values": True,
        "capability:multithreading": True,
    }

    def hidden_states(self, X: ArrayLike) -> FloatsOrList:
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

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If the series have another number of channels than in `fit`, or are none.
        """
        return self._read_trace(X, states=True)[1]

    def running_proba(self, X: ArrayLike) -> FloatsOrList:
        """Read series and return the class probabilities after each time point.

        Parameters
        ----------
        X : array-like of shape (n_cases, n_channels, n_timepoints)
            Series, in any form that `predict` takes and of any length.

        Returns
        -------
        proba : np.ndarray of shape (n_cases, n_timepoints, n_classes)
            Class probabilities of what has been read so far, in float64 as a stream gives them; a
            list of arrays of shape (n_timepoints, n_classes) if lengths differ.
        """
        series = self._check_at_predict(X)
        n_units = max(self.network_.hidden_size, self.n_classes_)
        found: list[Floats] = []
        with neutral_torch(self._n_jobs, torch.device("cpu")):
            # States in float64, of which as many bytes as in `_read`.
            for part in parts(series, 2**22 * len(self.channel_mean_) // n_units):
                x, _ = to_series(series[part], self.channel_mean_, self.channel_scale_, np.float64)
                logits = self.network_.exact_running_logits(x).numpy()
                found.extend(np.exp(_log_softmax(logits)))
        if isinstance(series, list):
            return [proba[:n] for proba, n in zip(found, lengths_of(series), strict=True)]
        return np.stack(found)

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        metric: str | Callable[..., float] = "accuracy",
        use_proba: bool = False,
        metric_params: dict[str, Any] | None = None,
    ) -> float:
        """Score predictions against labels.

        Parameters
        ----------
        X : array-like of shape (n_cases, n_channels, n_timepoints)
            Series, in any form that `predict` takes.
        y : array-like of shape (n_cases,)
            Their labels, in any container that scikit-learn's classifiers take.
        metric : str or callable, default="accuracy"
            The name of a scikit-learn scorer, or a function of labels and predictions.
        use_proba : bool, default=False
            Whether the metric takes class probabilities instead of labels.
        metric_params : dict or None, default=None
            More arguments of the metric.

        Returns
        -------
        score : float

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If the series have another number of channels than in `fit`, or are none, or a label
            is missing.
        """
        series = self._check_at_predict(X)  # of a frame, rows need not be cases
        return super().score(series, to_labels(y), metric, use_proba, metric_params)

    @property
    def footprint_(self) -> Footprint:
        """Parameters, bytes and multiplications of the network, as a `Footprint`.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        """
        self._check_is_fitted()
        return Footprint.of(self.network_)

    def _keep(self, X, trained):
        """Set the fitted attributes.

        Parameters
        ----------
        X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
            Training series.
        trained : TrainedNetwork
            The network that learned them.

        Returns
        -------
        self
        """
        self._n_jobs = n_threads_of(self.n_jobs)
        self.channel_mean_ = trained.mean
        self.channel_scale_ = trained.scale
        self.network_ = trained.network
        self.history_ = trained.history
        self._peak = input_peak(X, trained.mean, trained.scale)
        return self

    @property
    def _layers(self):
        """Arguments of the network, besides its numbers of channels and classes."""
        # A search gives NumPy's integers.
        sizes = {name: int(getattr(self, name)) for name in ("hidden_size", "n_layers")}
        return sizes | {"cell": self.cell}

    def _check_parameters(self, classes=None):
        """Raise before any work if a parameter makes no sense, given the labels if known."""
        for name in ("hidden_size", "n_layers"):
            check_number(name, getattr(self, name), low=1, integer=True)
        check_choice("cell", self.cell, list(CELLS))

    def _predict(self, X):
        return self.classes_[self._predict_proba(X).argmax(axis=1)]

    def _predict_proba(self, X):
        return np.exp(_log_softmax(self._read(X, states=False)[0]))

    def _read_trace(self, X, states):
        """Logarithms of class probabilities, and hidden states or None, in one pass."""
        X = self._check_at_predict(X)
        logits, memory = self._read(X, states=states)
        if states and isinstance(X, list):
            memory = [one[:n] for one, n in zip(memory, lengths_of(X), strict=True)]
        return _log_softmax(logits), memory

    def _read(self, X, states=True):
        """Run the network over checked series, a bounded part at a time.

        Returns
        -------
        logits : np.ndarray of shape (n_cases, n_classes)
        states : np.ndarray of shape (n_cases, n_timepoints, hidden_size) or None
            States without meaning follow a series that is shorter than the longest.
        """
        logits = np.empty((len(X), self.n_classes_))
        # Not self's: parameters may have been set for the next fit.
        n_units = self.network_.hidden_size
        shape = (len(X), lengths_of(X).max(), n_units)
        memory = np.empty(shape, np.float32) if states else None
        device = self.network_.head.weight.device
        n_parameters = footprint(**self.network_.config)["parameters"]
        exact = not states and n_parameters <= MOST_PARAMETERS_IN_FLOAT64
        # At most 2^23 values (32 MB) of states at once, whatever the number of cases.
        n_channels = len(self.channel_mean_)
        size = 2**23 * n_channels // max(n_units, n_channels)
        with neutral_torch(self._n_jobs, device), torch.inference_mode():
            for part in parts(X, size):
                dtype = np.float64 if exact else np.float32
                x, lengths = to_series(X[part], self.channel_mean_, self.channel_scale_, dtype)
                if exact:
                    logits[part] = self.network_.exact_logits(x, lengths).numpy()
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

    # aeon calls these to check input; they are stricter and clearer than its own.

    def _preprocess_collection(self, X, store_metadata=True):
        X = check_series(X)
        with warnings.catch_warnings():
            # aeon's statistics of a series of which a channel is missing, or of large numbers.
            of_statistics = "All-NaN|Degrees of freedom|overflow|invalid value"
            warnings.filterwarnings("ignore", of_statistics, RuntimeWarning)
            X = super()._preprocess_collection(X, store_metadata=store_metadata)
        if (shortest := lengths_of(X).min()) < 2:
            raise ValueError(f"Got X of {shortest} time point, but expected at least 2.")
        if store_metadata:
            warn_of_series(X)
        return X

    def _convert_X(self, X):  # noqa: N802, aeon's name
        # By X itself, and not, as in aeon, by the series in fit. Contiguous, as the order in memory
        # is the order in which NumPy adds.
        if isinstance(X, np.ndarray):
            return np.ascontiguousarray(convert_collection(X, "numpy3D"))
        X = [np.ascontiguousarray(series) for series in convert_collection(X, "np-list")]
        return X if len(set(lengths_of(X))) > 1 else np.stack(X)

    def _check_y(self, y, n_cases, update_classes=True, allow_single_class=False):
        single = allow_single_class or not update_classes  # a part to score on may be of one class
        y = super()._check_y(to_labels(y), n_cases, update_classes, single)
        if update_classes:
            warn_of_labels(y)
        return y

    def _check_shape(self, X):
        # Not aeon's check: a recurrent network reads series of any length.
        n_channels, expected = X[0].shape[0], self.metadata_["n_channels"]
        if n_channels != expected:
            swapped = X[0].shape[1] == expected
            hint = " Transpose (cases, time, channels): X.transpose(0, 2, 1)." if swapped else ""
            raise ValueError(
                f"Got X of {n_channels} channels, but expected {expected}, as in fit.{hint}"
            )


def _log_softmax(logits):
    """Logarithms of class probabilities, of the shape of the scores, classes last."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
