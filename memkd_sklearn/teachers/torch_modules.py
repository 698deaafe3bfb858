"""Torch modules and skorch nets as teachers: a layer's output is read by a hook."""

import threading
from contextlib import contextmanager
from typing import Any, Literal, Self

import joblib
import numpy as np
import torch
from skorch import NeuralNet
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from memkd_sklearn._torch_state import neutral_torch
from memkd_sklearn._types import ArrayLike, FloatsOrList
from memkd_sklearn._validation import check_choice
from memkd_sklearn.teachers.reader import TeacherReader, log_of, register_teacher, to_array
from memkd_sklearn.teachers.traced import TracedTeacher

__all__ = ["TorchTeacher"]

LAYOUTS = ("auto", "BTC", "BCT")
BATCH_SIZE = 128

# Hooks and evaluation mode belong to the module, which may be read from several threads.
_reading = threading.RLock()

# Layers that say where time is: their inputs and outputs are (batch, channels, time), or
# (batch, time, channels). Others, as activations, leave it where it was.
_CHANNELS_FIRST = (
    *(nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.InstanceNorm1d),
    *(nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
)
_TIME_FIRST = (
    *(nn.RNNBase, nn.Linear, nn.LayerNorm, nn.MultiheadAttention),
    *(nn.TransformerEncoderLayer, nn.TransformerEncoder),
)


class TorchTeacher(TracedTeacher):
    """A trained torch module as a fitted teacher, which is never changed.

    Its states are the outputs of one of its layers, read by a forward hook: of the last
    recurrent layer, or, in a network without one, of the last layer whose output still has
    a time axis, as a convolutional network or a transformer has before it pools.

    Parameters
    ----------
    module : torch.nn.Module or skorch.NeuralNetClassifier
        A trained module that maps series to class scores (logits, or logarithms of
        probabilities), or to a tuple that begins with them; or a fitted skorch net.
    classes : array-like of shape (n_classes,) or None, default=None
        Labels, in the order of the scores. None takes a skorch net's own.
    teacher_layer : str or None, default=None
        Name of the layer to read, as in ``module.named_modules()``, such as
        "encoder.lstm"; None finds it.
    layout : {"auto", "BTC", "BCT"}, default="auto"
        Order of the module's input: (batch, time, channels) or (batch, channels, time). "auto"
        goes by the first layer that tells: a convolution takes the latter, a recurrent
        or linear layer the former.

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn import MemKDClassifier
    >>> from memkd_sklearn.teachers import TorchTeacher
    >>> class Net(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.lstm = torch.nn.LSTM(1, 32, batch_first=True, bidirectional=True)
    ...         self.head = torch.nn.Linear(64, 2)
    ...
    ...     def forward(self, x):
    ...         return self.head(self.lstm(x)[0].mean(dim=1))
    >>> teacher = TorchTeacher(Net(), classes=["1", "2"])
    >>> from aeon.datasets import load_unit_test
    >>> X, y = load_unit_test(split="train")
    >>> teacher.hidden_states(X).shape
    (20, 24, 64)
    >>> student = MemKDClassifier(teacher, n_epochs=5, random_state=0).fit(X, y)
    """

    def __init__(
        self,
        module: Any,
        classes: ArrayLike | None = None,
        teacher_layer: str | None = None,
        layout: Literal["auto", "BTC", "BCT"] = "auto",
    ) -> None:
        self.module = module
        self.classes = classes
        self.teacher_layer = teacher_layer
        self.layout = layout

    @property
    def classes_(self) -> Any:
        """Labels, in the order of the columns of `predict_proba`."""
        return np.asarray(self.module.classes_ if self.classes is None else self.classes)

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Do nothing: the module is trained."""
        return self

    def hidden_states(self, X: ArrayLike) -> FloatsOrList:
        """Outputs of the layer.

        Parameters
        ----------
        X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
            Series.

        Returns
        -------
        states : np.ndarray of shape (n_cases, n_steps, n_units)
            Steps are fewer than time points where the network strides. If lengths differ, a
            list of arrays of shape (n_steps, n_units).
        """
        return self._read_trace(X, states=True)[1]

    def _read_trace(self, X, states):
        """Logarithms of probabilities, and states or None, in one pass."""
        self._check_parameters()
        if not isinstance(X, list):
            return self._read_equal(X, states)
        # Series of one length are read together, so that there is no padding to see.
        lengths = np.array([series.shape[1] for series in X])
        log_proba, seen = np.empty((len(X), len(self.classes_))), [None] * len(X)
        for length in np.unique(lengths):
            cases = np.flatnonzero(lengths == length)
            log_proba[cases], part = self._read_equal(np.stack([X[i] for i in cases]), states)
            for i, one in zip(cases, part if states else [], strict=states):
                seen[i] = one
        return log_proba, seen if states else None

    def _read_equal(self, X, states):
        layout = _input_layout(self._net) if self.layout == "auto" else self.layout
        x = np.asarray(X, dtype=float)
        x = np.ascontiguousarray(x.transpose(0, 2, 1) if layout == "BTC" else x)
        x = torch.from_numpy(x).to(self._weight.dtype)
        # New tensors of the module's own code are made where its weights are.
        own = neutral_torch(n_threads=None, device=self._weight.device)
        with _reading, own, _in_evaluation(self._net):
            if not states:
                return self._log_proba(x), None
            layer, axes = self._find_layer(x[:2])
            latest, seen = [None], []

            def record(called, output):
                if called is layer:
                    latest[0] = output
                else:  # the whole module, at the end of a batch
                    seen.append(_to_array(_tensor_of(layer, latest[0]), axes))

            with _hook([layer, self._net], record):
                log_proba = self._log_proba(x)
        return log_proba, np.concatenate(seen)

    def _find_layer(self, x):
        """The layer to read, and how to bring its output's axes to (batch, time, units)."""
        called = []  # (layer, output, axes)

        def record(layer, output):
            called.append((layer, _tensor_of(layer, output), _axes_after(layer, called)))

        with _hook(self._net.modules(), record):
            self._log_proba(x)
        if self.teacher_layer is not None:
            named = self._net.get_submodule(self.teacher_layer)
            usable = [(layer, axes) for layer, _, axes in called if layer is named]
        else:
            usable = [
                (layer, axes)
                for layer, output, axes in called
                if layer is not self._net and _has_time(output, axes)
            ]
        if not usable:
            raise ValueError(
                f"Got teacher module {type(self._net).__name__} and teacher_layer="
                f"{self.teacher_layer!r}, but expected a layer that is called and whose output has "
                "a time axis. Where there is none, only soft targets can be learned."
            )
        recurrent = [pair for pair in usable if isinstance(pair[0], nn.RNNBase)]
        return (recurrent or usable)[-1]

    def _log_proba(self, x):
        if self._is_skorch:
            with torch.random.fork_rng(devices=[]):  # a DataLoader draws a seed
                return log_of(self.module.predict_proba(x.numpy()))
        parts = []
        with torch.inference_mode():
            for part in x.split(BATCH_SIZE):
                scores = _scores_of(self._net(part.to(self._weight.device)))
                parts.append(scores.double().log_softmax(dim=1).cpu().numpy())
        return np.concatenate(parts)

    @property
    def _weight(self):
        """A tensor of the type, and on the device, of the module's input."""
        weights = (p for p in self._net.parameters() if p.is_floating_point())
        return next(weights, torch.empty(0, dtype=torch.float32, device="cpu"))

    @property
    def _is_skorch(self):
        return isinstance(self.module, NeuralNet)

    @property
    def _net(self):
        return self.module.module_ if self._is_skorch else self.module

    def _check_parameters(self):
        if self._is_skorch and not self.module.initialized_:
            raise ValueError(f"Got module={self.module!r}, but expected a fitted skorch net.")
        if not isinstance(self._net, nn.Module):
            raise TypeError(
                f"Got module={self.module!r}, but expected a torch.nn.Module or a skorch net."
            )
        if self.classes is None and not self._is_skorch:
            raise ValueError("Got classes=None, but expected the labels, in the scores' order.")
        check_choice("layout", self.layout, LAYOUTS)
        if self.teacher_layer is not None:
            names = [name for name, _ in self._net.named_modules() if name]
            check_choice("teacher_layer", self.teacher_layer, names)

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_clone__(self):
        return self


@register_teacher
class _TorchReader(TeacherReader):
    """Of the class above."""

    @classmethod
    def matches(cls, estimator):
        return isinstance(estimator, TorchTeacher)

    @property
    def n_parameters(self):
        return sum(p.numel() for p in self.estimator._net.parameters())

    def key(self):
        teacher = self.estimator
        settings = teacher.classes_, teacher.teacher_layer, teacher.layout
        # Not the tensors: their hashes differ from copy to copy.
        net = teacher._net
        weights = [(name, t.dtype, _to_numpy(t)) for name, t in net.state_dict().items()]
        plain = [(name, _plain_attributes(module)) for name, module in net.named_modules()]
        after = getattr(teacher.module, "predict_nonlinearity", None)  # skorch's
        return joblib.hash((settings, repr(net), type(net).__qualname__, weights, plain, after))


@register_teacher
class _BareModuleReader(TeacherReader):
    """Of a module that nobody wrapped: it is told how."""

    @classmethod
    def matches(cls, estimator):
        return isinstance(estimator, nn.Module) and not hasattr(estimator, "fit")

    def check(self):
        raise TypeError(
            f"Got teacher={type(self.estimator).__name__}, a torch module, but expected a "
            "classifier, as TorchTeacher(module, classes=...) makes of it."
        )


@register_teacher
class _SkorchReader(TeacherReader):
    """Of skorch's classifiers."""

    has_states = True

    @classmethod
    def matches(cls, estimator):
        return isinstance(estimator, NeuralNet)

    @property
    def is_fitted(self):
        return self.estimator.initialized_  # scikit-learn's check says no of skorch 1.3

    @property
    def _teacher(self):
        return TorchTeacher(self.estimator)

    @property
    def n_parameters(self):
        return _TorchReader(self._teacher).n_parameters

    def key(self):
        return _TorchReader(self._teacher).key()

    def fit(self, X, y, seed):
        """Fit on classes' indices, as skorch's losses take them."""
        net = self.estimator
        classes, indices = np.unique(y, return_inverse=True)
        net.set_params(classes=classes.tolist())
        x = to_array(X, "a skorch net is fitted on an array").astype(np.float32)
        with torch.random.fork_rng():  # all that skorch draws is drawn from there
            torch.manual_seed(seed)
            if _input_layout(net.initialize().module_) == "BTC":
                x = x.transpose(0, 2, 1)
            net.fit(np.ascontiguousarray(x), indices)

    def read(self, X, states):
        return self._teacher._read_trace(X, states)


def _plain_attributes(module):
    """Attributes that a layer's code may read, and its state lacks: numbers, tensors, functions."""
    found = {}
    passing = {name: module._buffers[name] for name in module._non_persistent_buffers_set}
    for name, value in (vars(module) | passing).items():
        if not name.startswith("_") and name != "training":
            if torch.is_tensor(value):
                value = _to_numpy(value.detach())
            try:
                found[name] = joblib.hash(value)
            except Exception:  # without a pickle, there is nothing but a place in memory
                found[name] = repr(value)
    return found


def _input_layout(module):
    """Order of a module's input, by its first layer that tells."""
    for layer in module.modules():
        if isinstance(layer, _CHANNELS_FIRST):
            return "BCT"
        if isinstance(layer, _TIME_FIRST):
            return "BTC"
    raise ValueError(
        f"Got teacher module {type(module).__name__}, of which no layer tells where it expects "
        'time; say it by TorchTeacher(module, layout="BTC") or "BCT".'
    )


def _axes_after(layer, called):
    """Which axes of a layer's output are batch, time and units."""
    before = called[-1][2] if called else (0, 1, 2)
    if isinstance(layer, _CHANNELS_FIRST):
        return 0, 2, 1
    attention = layer.layers[0] if isinstance(layer, nn.TransformerEncoder) else layer
    attention = getattr(attention, "self_attn", attention)
    if isinstance(attention, nn.RNNBase | nn.MultiheadAttention):
        return (0, 1, 2) if attention.batch_first else (1, 0, 2)
    if isinstance(layer, _TIME_FIRST):
        return (1, 0, 2) if before[0] == 1 else (0, 1, 2)
    return before


def _scores_of(output):
    """The class scores that a module returns, or that its outputs begin with."""
    scores = output[0] if isinstance(output, tuple) else output
    if not torch.is_tensor(scores) or scores.ndim != 2:
        is_tensor = torch.is_tensor(scores)
        got = f"of shape {tuple(scores.shape)}" if is_tensor else f"of {type(scores).__name__}"
        raise ValueError(
            f"Got a teacher module's output {got}, but expected class scores of shape (batch, "
            "n_classes), or a tuple that begins with them."
        )
    return scores


def _tensor_of(layer, output):
    """The first of a layer's outputs; None if it is no tensor."""
    if isinstance(output, tuple) and not isinstance(output, PackedSequence):
        output = output[0]
    if isinstance(output, PackedSequence):
        return pad_packed_sequence(output, batch_first=layer.batch_first)[0]
    return output if torch.is_tensor(output) else None


def _has_time(output, axes):
    return output is not None and output.ndim == 3 and output.shape[axes[1]] > 1


def _to_array(output, axes):
    if output is None or output.ndim != 3:
        shape = None if output is None else tuple(output.shape)
        raise ValueError(
            f"Got a teacher layer with an output of shape {shape}, but expected three axes: "
            "(batch, time, units) or (batch, units, time)."
        )
    return output.detach().permute(axes).float().cpu().numpy()


def _to_numpy(tensor):
    # NumPy has no bfloat16.
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()


@contextmanager
def _hook(layers, heard):
    """Call ``heard(layer, output)`` after every call of a layer within the block."""
    handles = [
        layer.register_forward_hook(lambda layer, _, output: heard(layer, output))
        for layer in layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _in_evaluation(module):
    """Evaluation mode within the block, and each layer's own mode after it."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode
