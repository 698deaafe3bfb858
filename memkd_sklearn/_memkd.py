"""Memory-discrepancy knowledge distillation as an estimator."""

from typing import Any, Literal

import torch

from memkd_sklearn._distillation import BaseDistillationClassifier, _test_params
from memkd_sklearn._types import ArrayLike, Cell, RandomState
from memkd_sklearn._validation import check_number
from memkd_sklearn.augmentation import Augmenter
from memkd_sklearn.losses import MemoryDiscrepancy, SoftTargets

__all__ = ["MemKDClassifier"]


class MemKDClassifier(BaseDistillationClassifier):
    """Memory-discrepancy knowledge distillation (MemKD).

    A recurrent network's hidden state is its memory of the series so far. A tiny student
    learns from labels and, at the same time, to move its memory as far as a big teacher
    moves its own while both read the same subsequences, relative to its size [1]_. These
    movements are scalars, so that neither widths nor depths nor cells need to agree.

    Parameters
    ----------
    teacher : estimator
        A classifier with hidden states, such as `RecurrentClassifier`, or with feature maps
        over time: `memkd_sklearn.teachers` reads torch modules, skorch nets, Keras
        classifiers and pipelines. Any classifier will do if only soft targets count. A
        fitted one is used as it is and never changed; of an unfitted one a clone is fitted
        on the same training data.
    hidden_size : int, default=9
        Units of each recurrent layer.
    n_layers : int, default=1
        Recurrent layers, stacked.
    cell : {"lstm", "gru", "rnn"}, default="gru"
        Kind of recurrent unit; it need not be the teacher's. A GRU of 9 units has about as many
        parameters as an LSTM of 8, 344 of one channel and two classes, and learns more
        (``studies/diet.py``).
    short_weight : float, default=1.0
        Weight of the memory discrepancy over single steps.
    long_weight : float, default=1.0
        Weight of the memory discrepancy over longer subsequences.
    n_subsequences : int or "all", default=100
        Longer subsequences drawn a batch; "all" compares every one.
    soft_target_weight : float, default=1.0
        Weight of the teacher's soft targets: the memory alone does not tell of which class a
        series is. 0 leaves them out, as the paper does; students learn less then
        (``studies/diet.py``).
    temperature : float, default=4.0
        Temperature of the soft targets.
    fade : bool, default=False
        Whether the weight of all terms but the cross-entropy falls linearly towards zero in the
        course of training: the memory is shaped first, and the labels have the last word. It
        suits stronger weights, such as 10.
    n_init : int, default=2
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
    learning_rate : float, default=0.03
        Peak of the one-cycle schedule. The default is for small students; give less to one of
        more than 5,000 parameters.
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
        The teacher reads these series as well. If "auto" asks a teacher whose states do not matter,
        perhaps an ensemble, it stops after a minute; `verbose` says how many were read.
    unlabelled : collection of series or None, default=None
        Series whose classes nobody knows, such as hours of recordings, in the form that `fit`
        gets the others. The student copies its teacher's answers for them; the cross-entropy
        counts for labelled cases alone. It is a parameter of the constructor because aeon's
        ``fit(X, y)`` is final, and pipelines and searches hand it nothing else; a transformer that
        stands before the student in a pipeline does not see these series.
    callbacks : list or None, default=None
        Callbacks of skorch, such as ``EpochScoring``, ``Checkpoint`` and ``EarlyStopping``, or
        your own. They hear when a training and each of its epochs begin and end, but not of
        batches, and may score ``dataset_train``, which has no unlabelled series, and, if cases are
        held out, ``dataset_valid``; the classes are indices there. `history_` has their records.
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
    memory : path-like, joblib.Memory or None, default=None
        Where to keep the teacher's answers on the training data, and a teacher that was
        fitted on them: a search over students then asks, and fits, the teacher once a fold,
        whatever the number of candidates, processes and runs. With ``random_state=None``
        students differ from fit to fit, but not a teacher that is there. Its files are
        unpickled, which can run anything: give no folder that others may write.
    verbose : int, default=0
        Whether to show how far the training is, and its loss: a bar on a terminal, elsewhere a
        line a minute.
    random_state : int, RandomState or None, default=None
        Source of the split, the initial weights and the order of cases. The same integer, at
        the same `n_jobs`, gives the same weights, whatever the global seeds.

    Attributes
    ----------
    teacher_ : estimator
        The fitted teacher that was used.
    classes_ : np.ndarray of shape (n_classes,)
        Class labels.
    network_ : RecurrentNetwork
        The student's torch module, in evaluation mode.
    history_ : list of dict
        One dict an epoch: means over training and held-out cases of the weighted terms
        "cross_entropy", "short", "long" and "soft_target" and of their sum, "loss", in which all
        terms but the first count times "fade", if that is on.
    footprint_ : Footprint
        Size and cost of student and teacher, and the compression.
    channel_mean_, channel_scale_ : np.ndarray of shape (n_channels,)
        Statistics with which series are standardised.

    See Also
    --------
    RecurrentClassifier : The usual teacher.
    DistillationClassifier : The same student with another loss.

    Notes
    -----
    The teacher reads the training series, and the made ones, once a fit. If it makes more than half
    as many errors on them as guessing the most frequent class does, there is a warning, and the
    student learns from the labels alone.

    The paper's students [1]_ are ``MemKDClassifier(teacher, hidden_size=8, cell="lstm",
    soft_target_weight=0, synthetic=0, n_init=1)``, of a teacher
    ``RecurrentClassifier(synthetic=0)``, on series of at most 100 time points.

    A teacher that was fitted on all of the data has seen the test part of every
    cross-validation fold, and so, through it, has the student. For honest scores give an
    unfitted teacher, which is refitted in every fold.

    References
    ----------
    .. [1] Udayangani, N., Nandakishor, K., Palaniswami, M. "MemKD: Memory-Discrepancy
       Knowledge Distillation for Efficient Time Series Classification." ICASSP 2025.
       arXiv:2601.04264.

    Examples
    --------
    >>> from aeon.datasets import load_unit_test
    >>> from memkd_sklearn import MemKDClassifier, RecurrentClassifier
    >>> X, y = load_unit_test(split="train")
    >>> teacher = RecurrentClassifier(16, n_layers=1, n_epochs=5, random_state=0).fit(X, y)
    >>> student = MemKDClassifier(teacher, hidden_size=4, n_epochs=5, random_state=0).fit(X, y)
    >>> student.footprint_.parameters
    94
    """

    def __init__(
        self,
        teacher: Any,
        hidden_size: int = 9,
        n_layers: int = 1,
        cell: Cell = "gru",
        *,
        short_weight: float = 1.0,
        long_weight: float = 1.0,
        n_subsequences: int | Literal["all"] = 100,
        soft_target_weight: float = 1.0,
        temperature: float = 4.0,
        fade: bool = False,
        n_init: int = 2,
        n_epochs: int | Literal["auto"] = "auto",
        batch_size: int = 16,
        learning_rate: float = 0.03,
        early_stopping: bool | Literal["auto"] = "auto",
        validation_fraction: float = 0.2,
        n_iter_no_change: int = 50,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        synthetic: int | Literal["auto"] | Augmenter = "auto",
        unlabelled: ArrayLike | None = None,
        callbacks: Any = None,
        device: str | torch.device = "cpu",
        n_jobs: int | None = 1,
        memory: Any = None,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.teacher = teacher
        self.hidden_size = hidden_size
        self.n_layers = n_layers
        self.cell = cell
        self.short_weight = short_weight
        self.long_weight = long_weight
        self.n_subsequences = n_subsequences
        self.soft_target_weight = soft_target_weight
        self.temperature = temperature
        self.fade = fade
        self.n_init = n_init
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.synthetic = synthetic
        self.unlabelled = unlabelled
        self.callbacks = callbacks
        self.device = device
        self.n_jobs = n_jobs
        self.memory = memory
        self.verbose = verbose
        self.random_state = random_state
        super().__init__()

    def _make_loss(self):
        weight = self.soft_target_weight
        check_number("soft_target_weight", weight, low=0)
        loss = MemoryDiscrepancy(self.short_weight, self.long_weight, self.n_subsequences)
        return loss + weight * SoftTargets(self.temperature) if weight else loss

    def _check_parameters(self, classes=None):
        super()._check_parameters(classes)
        SoftTargets(self.temperature).check()  # also where it is not used

    @classmethod
    def _get_test_params(cls, parameter_set="default"):
        return _test_params(n_subsequences=5)
