"""How a fitted classifier leaves Python, and how it comes back."""

import math
from typing import Literal, Self, overload

import numpy as np
import torch

from memkd_sklearn import deploy
from memkd_sklearn._threads import n_threads_of
from memkd_sklearn._torch_state import neutral_torch
from memkd_sklearn._types import Floats, FloatsOrList, Labels, StrPath
from memkd_sklearn._validation import check_choice, check_number
from memkd_sklearn.network import RecurrentNetwork

__all__ = ["ExportMixin"]

# Constructor arguments that the weights' shapes tell.
SHAPE = ("hidden_size", "n_layers", "cell")
# A file that asks for more asks for nothing good.
MOST_THREADS = 4096


class ExportMixin:
    """The doors from a fitted classifier to the rooms of `memkd_sklearn.deploy`."""

    # Constructor arguments that hold other objects and stay behind.
    _not_saved: tuple[str, ...] = ("callbacks",)

    # The classifiers have these.
    n_jobs: int | None
    classes_: Labels
    network_: RecurrentNetwork
    channel_mean_: Floats
    channel_scale_: Floats

    def save(self, path: StrPath) -> None:
        """Write the fitted classifier to one safetensors file of a few kB.

        The file holds numbers and text: no pickle, no teacher, no training data. It keeps no
        parameters that are objects, such as callbacks or an augmenter.

        Parameters
        ----------
        path : path-like
            File to write or replace; on any error it stays as it was.
        """
        student = self._as_student()
        params = self.get_params(deep=False)  # type: ignore[attr-defined]
        params = {k: v for k, v in params.items() if k not in self._not_saved}
        if isinstance(params["random_state"], np.random.RandomState):
            params["random_state"] = None  # a state that fitting has moved on
        params = {name: _to_json(value) for name, value in params.items()}
        # The fitted network's own, whatever was set for the next fit.
        params |= {name: student.config[name] for name in SHAPE}
        deploy.save(path, student, type(self).__name__, params)

    @classmethod
    def load(cls, path: StrPath) -> Self:
        """Read a fitted classifier that `save` wrote; its predictions are the same bits.

        Parameters
        ----------
        path : path-like
            File to read.

        Returns
        -------
        classifier : an instance of this class
            A student comes back without its teacher.

        Raises
        ------
        BundleError
            A ValueError: the file is foreign, damaged, of a newer format, or of another
            class.
        OSError
            If the file cannot be opened.
        """
        student, name, params = deploy.load(path)
        if name != cls.__name__:
            raise deploy.BundleError(
                f"Got {str(path)!r} of a {name}, but expected one of a {cls.__name__}."
            )
        try:
            if isinstance(params.get("class_weight"), list):
                params["class_weight"] = dict(params["class_weight"])
            classifier = cls(**dict.fromkeys(cls._not_saved), **params)
            n_jobs = classifier.n_jobs
            check_number(
                "n_jobs", n_jobs, low=-math.inf, high=MOST_THREADS, integer=True, or_one_of=[None]
            )
            n_jobs = n_threads_of(n_jobs)
            for name in SHAPE:
                check_choice(name, getattr(classifier, name), [student.config[name]])
        except (TypeError, ValueError) as error:
            raise deploy.BundleError(
                f"Got {str(path)!r} with parameters that {name} does not take ({error})."
            ) from error
        classifier._become(student, n_jobs)
        return classifier

    @overload
    def stream(self, window: None = None, hop: None = None) -> deploy.Stream: ...

    @overload
    def stream(self, window: int, hop: int | None = None) -> deploy.WindowStream: ...

    def stream(
        self, window: int | None = None, hop: int | None = None
    ) -> deploy.Stream | deploy.WindowStream:
        """Start reading a series one time step at a time, in constant memory.

        Parameters
        ----------
        window : int or None, default=None
            Time steps of a window of a recording that does not end; None reads one series.
        hop : int or None, default=None
            Time steps between the beginnings of two windows; None takes `window`.

        Returns
        -------
        stream : Stream or WindowStream
            With a `window`, its ``update(x_t)`` returns class probabilities where a window ends,
            and None elsewhere. Without, its ``update(x_t)`` takes one value a channel and returns
            class probabilities of shape (n_classes,); ``reset()`` starts a new series; ``state``
            can be kept and set. Streams of one classifier are independent, also in threads. They
            compute in float64, as `predict_proba` does for up to 5,000 parameters; of larger
            networks it computes in float32, and differs by that rounding.
        """
        if window is None and hop is None:
            return deploy.Stream(self._as_student())
        # A hop without a window is refused.
        return deploy.WindowStream(self._as_student(), window, hop)  # type: ignore[arg-type]

    def to_onnx(self, path: StrPath, streaming: bool = False) -> None:
        """Write an ONNX graph, with standardisation and softmax inside.

        Parameters
        ----------
        path : path-like
            File to write or replace.
        streaming : bool, default=False
            Whether the graph takes and returns the network's state.

        Raises
        ------
        ImportError
            If the extra ``onnx`` is not installed.
        """
        deploy.to_onnx(self._as_student(), path, streaming=streaming)

    def to_c(
        self,
        path: StrPath,
        dtype: Literal["float32", "int8"] = "float32",
        name: str | None = None,
        window: int | None = None,
        hop: int | None = None,
        decision: deploy.Decision | None = None,
    ) -> None:
        """Write one self-contained C99 file for a microcontroller.

        Parameters
        ----------
        path : path-like
            File to write or replace.
        dtype : {"float32", "int8"}, default="float32"
            Arithmetic of the step: in floating point, or, for boards that have none, in integers
            only. Weights are then int16, and sums int32.
        name : str or None, default=None
            Prefix of all names in the file; None takes the file's name.
        window, hop : int or None, default=None
            As `stream` takes them; with a window the file has ``<name>_stream_step``.
        decision : memkd_sklearn.deploy.Decision or None, default=None
            Rule by which answers become events: answers of windows, ``<name>_stream_decide``, or,
            without a window, answers after each step of a series, ``<name>_decide``.

        Raises
        ------
        ValueError
            If the name is no C identifier, or an "int8" network's sums do not fit in 32 bits.
        """
        student = self._as_student()
        deploy.to_c(student, path, dtype, name, window=window, hop=hop, decision=decision)

    def to_project(
        self,
        folder: StrPath,
        kind: str,
        dtype: Literal["float32", "int8"] | None = None,
        name: str | None = None,
        X: FloatsOrList | None = None,
        window: int | None = None,
        hop: int | None = None,
    ) -> None:
        """Write a project that builds as it is: code, a program that replays series, build files.

        Parameters
        ----------
        folder : path-like
            Folder to write to; files of the same names in it are replaced.
        kind : {"arduino", "platformio", "cmake", "make", "micropython"}
            A library for the Arduino IDE with an example sketch, a project of PlatformIO, of CMake,
            which is also a module of Zephyr, or of make; or pure Python for MicroPython.
        dtype : {"int8", "float32"} or None, default=None
            Arithmetic of the step, as of `to_c`; None takes "int8". MicroPython computes with its
            own floats, and takes "float32" or None.
        name : str or None, default=None
            Prefix of everything in the C file, or name of the module; None takes the name of the
            folder.
        X : array-like of shape (n_cases, n_channels, n_timepoints) or None, default=None
            Series to replay: a few, as they go into flash. None takes one that is made up.
        window, hop : int or None, default=None
            As `stream` takes them; with a window, the program answers every `hop` time steps.

        Raises
        ------
        ValueError
            If there is no such kind, X has another number of channels or fewer time points than a
            window, the kind does not have the dtype or the name, or as `to_c` does.
        """
        deploy.to_project(self._as_student(), folder, kind, dtype, name, X, window, hop)

    def _as_student(self):
        """The arrays that leave Python."""
        self._check_is_fitted()
        with neutral_torch():
            arrays = self.network_.arrays()
        return deploy.Student(
            cell=self.network_.cell,
            arrays=arrays,
            mean=self.channel_mean_,
            scale=self.channel_scale_,
            classes=self.classes_,
            peak=self._peak,
        )

    def _become(self, student, n_jobs):
        """Take the fitted attributes from a loaded student."""
        with neutral_torch():
            network = RecurrentNetwork.empty(**student.config)
            self.network_ = network.load_arrays(student.arrays).eval()
        self.channel_mean_ = student.mean
        self.channel_scale_ = student.scale
        self._peak = student.peak
        self.classes_ = student.classes
        self.n_classes_ = student.n_classes
        self._class_dictionary = {label: i for i, label in enumerate(student.classes)}
        self.metadata_ = {"n_channels": student.n_channels}
        self.history_ = []
        self._n_jobs = n_jobs
        self.is_fitted = True


def _to_json(value):
    """A parameter as JSON holds it: no NumPy numbers, which come out of grids, and no dict.

    An augmenter stays behind.
    """
    if hasattr(value, "make"):
        return "auto"
    if isinstance(value, dict):
        return [[_to_json(key), _to_json(item)] for key, item in value.items()]
    if isinstance(value, torch.device):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value
