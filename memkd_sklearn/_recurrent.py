"""A recurrent network as an aeon classifier: the usual teacher, and the baseline."""

from typing import Any, Literal

import torch

from memkd_sklearn._base import BaseRecurrentClassifier
from memkd_sklearn._types import Cell, RandomState
from memkd_sklearn.augmentation import Augmenter
from memkd_sklearn.training.compiled_epoch import compiling_epochs
from memkd_sklearn.training.plan import TrainingSettings
from memkd_sklearn.training.restarts import fit_network

__all__ = ["RecurrentClassifier"]


class RecurrentClassifier(BaseRecurrentClassifier):
    """Recurrent network (LSTM, GRU or plain RNN) trained from labels.

    A stack of recurrent layers reads the series, and a linear layer classifies its last
    state. With its defaults, three layers of 100 LSTM units, and ``synthetic=0`` it is the teacher
    of the MemKD experiments [1]_; with ``hidden_size=8, n_layers=1`` it is the student that learns
    without a teacher, to which a distilled one is compared.

    Series are standardised per channel with the mean and the standard deviation of the
    training split. Training is Adam with weight decay 1e-5, gradients clipped at norm 1
    and a learning rate that rises and falls in one cycle [2]_, from weights that are
    scaled layer by layer to the data.

    Parameters
    ----------
    hidden_size : int, default=100
        Units of each recurrent layer.
    n_layers : int, default=3
        Recurrent layers, stacked.
    cell : {"lstm", "gru", "rnn"}, default="lstm"
        Kind of recurrent unit.
    n_init : int, default=1
        Networks that are trained, from different initial weights; the one with the lowest
        validation loss is kept, or with the lowest training loss if every case is trained on.
        Of these, `n_jobs` are trained at once.
    n_epochs : int or "auto", default="auto"
        Passes over the training split. "auto" counts optimisation steps: it takes as many
        epochs as give 20,250 steps, at least 10. Networks of more than 5,000 parameters make
        2,250 steps in at most 500 epochs. Such a network hurries once it has learned: an epoch
        counts for four if the training loss of the one before was at most 3 % of the loss of
        guessing by the classes' frequencies.
    batch_size : int, default=16
        Largest number of cases in an optimisation step.
    learning_rate : float or "auto", default="auto"
        Peak of the one-cycle schedule. "auto" is 0.01 for networks of up to 5,000 parameters,
        and 0.003 for larger ones. One of these is trained once more, from the same initial
        weights at half the rate, if with ``n_epochs="auto"`` its training loss is never below a
        tenth of the loss of guessing by the classes' frequencies; the better is kept, as with
        `n_init`. If the loss is never below 40 % of that, the second training is without
        made-up series.
    early_stopping : bool or "auto", default="auto"
        Whether to hold out part of the training split, stop when the loss on it no longer
        falls, and restore the weights with the lowest. "auto" does so if that part has at
        least 200 cases; with fewer, every case is trained on to the end of the schedule.
    validation_fraction : float, default=0.2
        The part held out, stratified; a class's last case always stays for training.
    n_iter_no_change : int, default=50
        Epochs without a lower validation loss after which training stops.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the cross-entropy. A dict gives labels their weights, and
        the labels that it leaves out count 1; "balanced" makes weights inversely proportional
        to the classes' frequencies; None counts every case alike.
    synthetic : "auto", int or augmenter, default="auto"
        Series that are made of those that are trained on, and keep their class's label:
        weighted means of two series of a class, bent in time, cut, scaled and with noise (see
        `memkd_sklearn.augmentation.Augmenter`). An integer says how many, 0 for none; "auto"
        makes 6,000 less the training cases, or, for a network of more than 5,000 parameters, 1,500
        less these, none if there are as many, and never of more than 2**20 time points in all, so
        that memory stays bounded. Instead, an `Augmenter` can be given, or any object with a method
        ``make(X, y)`` that takes and returns series and their classes, as indices of ``classes_``.
        Cases that are held out are not made into others.
    callbacks : list or None, default=None
        Callbacks of skorch, such as ``EpochScoring``, ``Checkpoint`` and ``EarlyStopping``, or
        your own. They hear when a training and each of its epochs begin and end, but not of
        batches, and may score ``dataset_train`` and, if cases are held out,
        ``dataset_valid``; the classes are indices there. `history_` has their records.
        Each of the `n_init` trainings has its own copies, and its number as ``net.restart``.
        Those that change the learning rate, whose cycle is set, do not work.
    device : str, default="cpu"
        Where to compute, for PyTorch: "cpu", "cuda", ...
    n_jobs : int or None, default=1
        Threads to compute with; -1 uses all processors, None one. With ``n_init=1`` they share
        the batches of an LSTM or a GRU that is too wide for the kernel of small ones. Processes
        of loky, dask or ``spawn`` may use any number; a child of ``os.fork`` always uses one.
        The first fit of an environment compiles kernels, some in a second process that ends with
        it, unless the environment variable ``NUMBA_NUM_THREADS`` is 1.
    verbose : int, default=0
        Whether to show how far the training is, and its loss: a bar on a terminal, elsewhere a
        line a minute.
    random_state : int, RandomState or None, default=None
        Source of the split, the initial weights and the order of cases. The same integer, at
        the same `n_jobs`, gives the same weights, whatever the global seeds.

    Attributes
    ----------
    classes_ : np.ndarray of shape (n_classes,)
        Class labels.
    network_ : RecurrentNetwork
        The fitted torch module, in evaluation mode.
    history_ : list of dict
        One dict an epoch, with the means of the loss over training cases and, if some are
        held out, over these.
    footprint_ : Footprint
        Parameters, bytes and multiplications of the network.
    channel_mean_, channel_scale_ : np.ndarray of shape (n_channels,)
        Statistics with which series are standardised.

    See Also
    --------
    MemKDClassifier : The same network, taught by another.

    Notes
    -----
    Series may be of different lengths, in fit and at predict; nothing that is learned or said
    depends on the padding that they then get.

    References
    ----------
    .. [1] Udayangani, N., Nandakishor, K., Palaniswami, M. "MemKD: Memory-Discrepancy
       Knowledge Distillation for Efficient Time Series Classification." ICASSP 2025.
       arXiv:2601.04264.
    .. [2] Smith, L., Topin, N. "Super-Convergence: Very Fast Training of Neural Networks
       Using Large Learning Rates." 2019. arXiv:1708.07120.

    Examples
    --------
    >>> from aeon.datasets import load_unit_test
    >>> from memkd_sklearn import RecurrentClassifier
    >>> X, y = load_unit_test(split="train")
    >>> classifier = RecurrentClassifier(hidden_size=4, n_layers=1, n_epochs=5, random_state=0)
    >>> classifier.fit(X, y).hidden_states(X).shape
    (20, 24, 4)
    """

    def __init__(
        self,
        hidden_size: int = 100,
        n_layers: int = 3,
        cell: Cell = "lstm",
        *,
        n_init: int = 1,
        n_epochs: int | Literal["auto"] = "auto",
        batch_size: int = 16,
        learning_rate: float | Literal["auto"] = "auto",
        early_stopping: bool | Literal["auto"] = "auto",
        validation_fraction: float = 0.2,
        n_iter_no_change: int = 50,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        synthetic: int | Literal["auto"] | Augmenter = "auto",
        callbacks: Any = None,
        device: str | torch.device = "cpu",
        n_jobs: int | None = 1,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.hidden_size = hidden_size
        self.n_layers = n_layers
        self.cell = cell
        self.n_init = n_init
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.synthetic = synthetic
        self.callbacks = callbacks
        self.device = device
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.random_state = random_state
        super().__init__()

    def _fit(self, X, y):
        self._check_parameters(self.classes_)
        settings = TrainingSettings.of(self)
        with compiling_epochs(self._layers, self.device):
            trained = fit_network(X, y, self.classes_, self._layers, settings)
        return self._keep(X, trained)

    def _check_parameters(self, classes=None):
        super()._check_parameters()
        TrainingSettings.of(self).check(classes, rates=["auto"])

    @classmethod
    def _get_test_params(cls, parameter_set="default"):
        return [
            {"hidden_size": 4, "n_layers": 1, "n_epochs": 2, "synthetic": 9},
            {"hidden_size": 3, "n_layers": 2, "cell": "gru", "n_epochs": 2, "synthetic": 0},
        ]
