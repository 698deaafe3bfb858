"""Memory-discrepancy knowledge distillation as an estimator."""

from memkd_sklearn._distillation import BaseDistillationClassifier, _test_params
from memkd_sklearn._validation import check_number
from memkd_sklearn.losses import MemoryDiscrepancy, SoftTargets

__all__ = ["MemKDClassifier"]


class MemKDClassifier(BaseDistillationClassifier):
    """Memory-discrepancy knowledge distillation (MemKD).

    A recurrent network's hidden state is its memory of the series so far. A tiny student
    learns from labels and, at the same time, to move its memory as far as a big teacher
    moves its own while both read the same subsequences, relative to its size [1]_. What is
    compared is a scalar, so that neither widths nor depths nor cells need to agree.

    Parameters
    ----------
    teacher : estimator
        A classifier with hidden states, such as `RecurrentClassifier`, or with feature maps
        over time: `memkd_sklearn.teachers` reads torch modules, skorch nets, Keras
        classifiers and pipelines. Any classifier will do if only soft targets count. A
        fitted one is used as it is and never changed; of an unfitted one a clone is fitted
        on the same training data.
    hidden_size : int, default=8
        Units of each recurrent layer.
    n_layers : int, default=1
        Recurrent layers, stacked.
    cell : {"lstm", "gru", "rnn"}, default="lstm"
        Kind of recurrent unit; it need not be the teacher's.
    short_weight : float, default=1.0
        Weight of the memory discrepancy over single steps.
    long_weight : float, default=1.0
        Weight of the memory discrepancy over longer subsequences.
    n_subsequences : int or "all", default=100
        Longer subsequences drawn a batch; "all" compares every one.
    soft_target_weight : float, default=0.0
        Weight of the teacher's soft targets, for combining both kinds of distillation.
    temperature : float, default=4.0
        Temperature of the soft targets.
    fade : bool, default=False
        Whether what is copied from the teacher counts less and less, its weight falling
        linearly towards zero in the course of training: the memory is shaped first, and the
        labels have the last word. It suits stronger weights, such as 10.
    n_init : int, default=3
        Students that are trained, from different initial weights; the one with the lowest
        validation loss is kept, or with the lowest training loss if every case is trained
        on. What the teacher says is shared; `n_jobs` are trained at once.
    n_epochs, batch_size, learning_rate, early_stopping, validation_fraction, \
n_iter_no_change, class_weight, device, n_jobs, memory, verbose, random_state
        As in `DistillationClassifier`.

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
        "cross_entropy", "short", "long" and "soft_target" and of their sum, the "loss", in
        which all but the first count times "fade", if that is on.
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
    The teacher reads the training data once a fit.

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
    122
    """

    def __init__(
        self,
        teacher,
        hidden_size=8,
        n_layers=1,
        cell="lstm",
        *,
        short_weight=1.0,
        long_weight=1.0,
        n_subsequences=100,
        soft_target_weight=0.0,
        temperature=4.0,
        fade=False,
        n_init=3,
        n_epochs="auto",
        batch_size=16,
        learning_rate=0.03,
        early_stopping="auto",
        validation_fraction=0.2,
        n_iter_no_change=50,
        class_weight=None,
        device="cpu",
        n_jobs=1,
        memory=None,
        verbose=0,
        random_state=None,
    ):
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
        self.device = device
        self.n_jobs = n_jobs
        self.memory = memory
        self.verbose = verbose
        self.random_state = random_state
        super().__init__()

    def _make_loss(self):
        check_number("soft_target_weight", self.soft_target_weight, low=0)
        loss = MemoryDiscrepancy(self.short_weight, self.long_weight, self.n_subsequences)
        if not self.soft_target_weight:
            return loss
        return loss + self.soft_target_weight * SoftTargets(self.temperature)

    def _check_parameters(self):
        super()._check_parameters()
        SoftTargets(self.temperature).check()  # also where it is not used

    @classmethod
    def _get_test_params(cls, parameter_set="default"):
        return _test_params(n_subsequences=5)
