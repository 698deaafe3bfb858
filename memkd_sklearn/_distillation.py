"""Any teacher, any distillation loss, one tiny recurrent student."""

import sys
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from tqdm import tqdm

from memkd_sklearn._base import BaseRecurrentClassifier
from memkd_sklearn._types import ArrayLike, Cell, RandomState
from memkd_sklearn.augmentation import Augmenter
from memkd_sklearn.footprint import Footprint
from memkd_sklearn.losses import DistillationLoss, Outputs, SoftTargets
from memkd_sklearn.network import RecurrentNetwork
from memkd_sklearn.teachers import (
    check_teacher,
    fit_teacher,
    is_fitted,
    is_plain,
    open_memory,
    reader_of,
)
from memkd_sklearn.teachers.reading import TeacherReading, fill_for
from memkd_sklearn.training.compiled_epoch import compiling_epochs
from memkd_sklearn.training.plan import TrainingSettings
from memkd_sklearn.training.restarts import fit_network

__all__ = ["BaseDistillationClassifier", "DistillationClassifier"]


class BaseDistillationClassifier(BaseRecurrentClassifier):
    """Base of the students; a subclass gives their loss in `_make_loss`.

    A fitted teacher is a value, not a part to be reset: it survives ``clone``, is not
    cloned with its student, and its parameters are not the student's nested parameters.
    """

    teacher: Any
    teacher_: Any

    _not_saved: tuple[str, ...] = ("teacher", "unlabelled", "memory", "callbacks")

    @property
    def footprint_(self) -> Footprint:
        """The student's and the teacher's size and cost, as a `Footprint`.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        """
        self._check_is_fitted()
        return Footprint.of(self.network_, teacher=_footprint_of(self.teacher_))

    def _fit(self, X, y):
        self._check_parameters(self.classes_)
        unlabelled = self._checked_unlabelled()
        loss = self._make_loss()

        def distil(cases, rng):
            reading = self._reading(teacher, cases, X, loss.reads_states)
            parts = (self._to_outputs(part) for part in reading)
            prepared = loss.prepare_parts(parts, len(cases), int(self.hidden_size), rng)
            if not reading.n_read:  # nothing is copied
                return prepared, len(cases)
            self._tell(len(X), cases, reading.n_read)
            n_known = reading.n_known(cases.n_real)
            return (prepared, n_known) if n_known else (None, reading.n_read)

        settings = TrainingSettings.of(self)
        with compiling_epochs(self._layers, self.device):
            teacher = self._fitted_teacher(fill_for(self.teacher, X, X), y)
            trained = fit_network(X, y, self.classes_, self._layers, settings, distil, unlabelled)
        self._keep(X, trained)
        self.teacher_ = teacher
        return self

    def _checked_unlabelled(self):
        """Unlabelled series as `fit` has the others, or None."""
        if self.unlabelled is None:
            return None
        try:
            X = self._preprocess_collection(self.unlabelled, store_metadata=False)
            self._check_shape(X)
        except ValueError as error:
            raise ValueError(f"unlabelled: {error}") from error
        return X

    def _tell(self, n_labelled, cases, n_read):
        if not self.verbose:
            return
        n_made = n_read - cases.n_real
        counts = f"{n_labelled} labelled series, {cases.n_real - n_labelled} unlabelled, {n_made}"
        tqdm.write(f"Learning from {counts} made of the labelled ones.", file=sys.stderr)
        if n_read < len(cases):
            reason = f"the teacher is too slow for the other {len(cases) - n_read}"
            tqdm.write(f"There could be more of these, but {reason}.", file=sys.stderr)

    def _fitted_teacher(self, X, y):
        if is_fitted(self.teacher):
            return self.teacher
        # With no seed of ours, any teacher will do, and so one that a cache has.
        seed = self.random_state
        if seed is not None:
            seed = int(check_random_state(seed).randint(2**31 - 1))
        return fit_teacher(clone(self.teacher), X, y, seed, self.memory)

    def _reading(self, teacher, cases, X, reads_states):
        # Of a slow teacher, "auto" does without some of the series that were made.
        n_needed = cases.n_real if self.synthetic == "auto" else None
        series = fill_for(teacher, cases.X, X)
        return TeacherReading(
            teacher, series, cases.target, self.classes_, reads_states, self.memory, n_needed
        )

    def _to_outputs(self, part):
        """Arrays of a part of the reading, as a loss takes them."""
        return Outputs(*(None if a is None else _to_tensor(a).to(self.device) for a in part))

    def _check_parameters(self, classes=None):
        super()._check_parameters()
        TrainingSettings.of(self).check(classes)
        _check_memory(self.memory)
        loss = self._make_loss()
        loss.check()
        check_teacher(self.teacher, loss.reads_states)

    def _make_loss(self):
        raise NotImplementedError

    def _become(self, student, n_jobs):
        super()._become(student, n_jobs)
        self.teacher_ = None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get parameters, without a fitted teacher's, which are its own."""
        params = super().get_params(deep=False)
        if not deep:
            return params
        nested = super().get_params(deep=True)
        frozen = _is_fitted_estimator(self.teacher)
        return {k: v for k, v in nested.items() if not (frozen and k.startswith("teacher__"))}

    def set_params(self, **params: Any) -> Self:
        """Set parameters, but for a fitted teacher's, which stay as they are.

        Raises
        ------
        ValueError
            If there is no such parameter, or it is a fitted teacher's.
        """
        teacher = params.get("teacher", self.teacher)
        inside = [name for name in params if name.startswith("teacher__")]
        if inside and _is_fitted_estimator(teacher):
            raise ValueError(
                f"Got {inside[0]}={params[inside[0]]!r}, but expected no parameter of a fitted "
                "teacher, which is used as it is. Give an unfitted one to have it refitted."
            )
        return super().set_params(**params)

    def __sklearn_clone__(self):
        params = self.get_params(deep=False)
        teacher, unlabelled = params.pop("teacher"), params.pop("unlabelled")
        if not _is_fitted_estimator(teacher):
            teacher = clone(teacher, safe=False)
        params = {name: clone(value, safe=False) for name, value in params.items()}
        return type(self)(teacher, unlabelled=unlabelled, **params)


class DistillationClassifier(BaseDistillationClassifier):
    """A tiny recurrent network that learns from labels and from a teacher.

    Parameters
    ----------
    teacher : estimator
        A classifier to learn from: any one for soft targets; for the losses that compare hidden
        states, one that has them, such as `RecurrentClassifier`, or feature maps over time:
        `memkd_sklearn.teachers` reads torch modules, skorch nets, Keras classifiers and
        pipelines. A fitted one is used as it is and never changed; of an unfitted one a clone
        is fitted on the same training data.
    loss : DistillationLoss or None, default=None
        The loss by which the student copies its teacher; it is added to the cross-entropy
        with the labels. None stands for ``SoftTargets()``.
    hidden_size : int, default=9
        Units of each recurrent layer.
    n_layers : int, default=1
        Recurrent layers, stacked.
    cell : {"lstm", "gru", "rnn"}, default="gru"
        Kind of recurrent unit; it need not be the teacher's. A GRU of 9 units has about as many
        parameters as an LSTM of 8, 344 of one channel and two classes, and learns more
        (``studies/diet.py``).
    fade : bool, default=False
        Whether the weight of the loss falls linearly towards zero in the course of training,
        so that the labels have the last word.
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
        One dict an epoch: means over training and held-out cases of "cross_entropy", of every
        weighted term of the loss and of their sum, "loss", in which all terms but the first
        count times "fade", if that is on.
    footprint_ : Footprint
        Size and cost of student and teacher, and the compression.
    channel_mean_, channel_scale_ : np.ndarray of shape (n_channels,)
        Statistics with which series are standardised.

    See Also
    --------
    MemKDClassifier : The student that copies its teacher's memory.

    Notes
    -----
    A teacher that was fitted on all of the data has seen the test part of every
    cross-validation fold, and so, through it, has the student. For honest scores give an
    unfitted teacher, which is refitted in every fold.

    Examples
    --------
    >>> from aeon.datasets import load_unit_test
    >>> from memkd_sklearn import DistillationClassifier, RecurrentClassifier
    >>> from memkd_sklearn.losses import SoftTargets
    >>> X, y = load_unit_test(split="train")
    >>> teacher = RecurrentClassifier(16, n_layers=1, n_epochs=5, random_state=0).fit(X, y)
    >>> student = DistillationClassifier(
    ...     teacher, loss=SoftTargets(temperature=4.0), hidden_size=4, n_epochs=5, random_state=0
    ... ).fit(X, y)
    >>> student.predict_proba(X).shape
    (20, 2)
    """

    _not_saved: tuple[str, ...] = ("teacher", "loss", "unlabelled", "memory", "callbacks")

    def __init__(
        self,
        teacher: Any,
        loss: DistillationLoss | None = None,
        hidden_size: int = 9,
        n_layers: int = 1,
        cell: Cell = "gru",
        *,
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
        self.loss = loss
        self.hidden_size = hidden_size
        self.n_layers = n_layers
        self.cell = cell
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

    def set_params(self, **params: Any) -> Self:
        """Set parameters, of the loss only if there is one.

        Raises
        ------
        ValueError
            If there is no such parameter, or it is one of a fitted teacher or of a loss that is
            None.
        """
        inside = [name for name in params if name.startswith("loss__")]
        if inside and params.get("loss", self.loss) is None:
            raise ValueError(
                f"Got {inside[0]}={params[inside[0]]!r}, but expected no parameter of a loss that "
                "is None. Give one, such as loss=SoftTargets()."
            )
        return super().set_params(**params)

    def _make_loss(self):
        if self.loss is None:
            return SoftTargets()
        if not isinstance(self.loss, DistillationLoss):
            raise TypeError(f"Got loss={self.loss!r}, but expected a DistillationLoss.")
        return clone(self.loss)

    @classmethod
    def _get_test_params(cls, parameter_set="default"):
        return _test_params(loss=SoftTargets())


def _footprint_of(teacher):
    """The footprint of a fitted estimator; None if its parameters cannot be counted."""
    network = getattr(teacher, "network_", None)
    if isinstance(network, RecurrentNetwork):
        return Footprint.of(network)
    n_parameters = reader_of(teacher).n_parameters
    return n_parameters and Footprint(n_parameters, 4 * n_parameters, None, None)


def _to_tensor(array):
    # Of a memory-mapped cache, arrays are read-only, which tensors cannot be.
    return torch.from_numpy(np.require(array, requirements="W"))


def _check_memory(memory):
    try:
        open_memory(memory)
    except ValueError as error:
        raise ValueError(
            f"Got memory={memory!r}, but expected None, a folder or a joblib.Memory."
        ) from error


def _is_fitted_estimator(teacher):
    """`is_fitted`, of anything that a user may have given."""
    if isinstance(teacher, type):
        return False
    return is_plain(teacher) or (hasattr(teacher, "fit") and is_fitted(teacher))


def _test_params(**student):
    """Parameters for aeon's checks: an unfitted teacher, and a student of it."""
    from memkd_sklearn._recurrent import RecurrentClassifier

    teacher = RecurrentClassifier(4, n_layers=1, n_epochs=2, synthetic=0, random_state=0)
    small = {"hidden_size": 2, "n_init": 1, "n_epochs": 2, "synthetic": 9}
    return {"teacher": teacher, **small, **student}
