"""A recurrent network with a linear head on its last time step."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from memkd_sklearn._types import Cell
from memkd_sklearn._validation import check_choice
from memkd_sklearn.network import fused, wide

__all__ = ["BACKENDS", "CELLS", "RecurrentNetwork"]

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
BACKENDS = ("auto", "torch", "fused")


class RecurrentNetwork(nn.Module):
    """A stack of LSTM, GRU or plain RNN layers and a linear head on the last step.

    Parameters
    ----------
    n_channels : int
        Channels of the input series.
    hidden_size : int
        Units of each recurrent layer.
    n_classes : int
        Number of logits.
    n_layers : int, default=1
        Recurrent layers, stacked.
    cell : {"lstm", "gru", "rnn"}, default="lstm"
        Kind of recurrent unit; "rnn" is the plain one with a tanh.
    backend : {"auto", "torch", "fused"}, default="auto"
        The code that computes the states. "fused" is a CPU kernel for few units, "torch" PyTorch's
        own layers. "auto" takes the kernel where it was measured to be faster; for more units it
        takes another kernel if gradients are wanted. Results agree to float32 rounding, and the
        parameters are the same.

    Attributes
    ----------
    recurrent : torch.nn.LSTM, torch.nn.GRU or torch.nn.RNN
        The recurrent layers, with PyTorch's own parameter layout.
    head : torch.nn.Linear
        The classification layer.
    crew : Crew or None
        Who computes the states of a wide network in training; None is the calling thread.

    Raises
    ------
    ValueError
        If there is no such cell or backend.

    Notes
    -----
    Pickled state is NumPy arrays. Tensors hash by their storage, so that a deep copy
    of a module would otherwise differ from its original for ``joblib.hash``, and with
    it every cache key and every "was this parameter changed" check.

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn.network import RecurrentNetwork
    >>> network = RecurrentNetwork(n_channels=1, hidden_size=8, n_classes=2)
    >>> logits, states = network(torch.zeros(5, 24, 1))
    >>> logits.shape, states.shape
    (torch.Size([5, 2]), torch.Size([5, 24, 8]))
    """

    def __init__(
        self,
        n_channels: int,
        hidden_size: int,
        n_classes: int,
        n_layers: int = 1,
        cell: Cell = "lstm",
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_choice("cell", cell, CELLS)
        check_choice("backend", backend, BACKENDS)
        self.n_channels = n_channels
        self.hidden_size = hidden_size
        self.n_classes = n_classes
        self.n_layers = n_layers
        self.cell = cell
        self.backend = backend
        self.recurrent = CELLS[cell](n_channels, hidden_size, n_layers, batch_first=True)
        self.head = nn.Linear(hidden_size, n_classes)
        self.crew = None

    @classmethod
    def empty(cls, **config: Any) -> Self:
        """Build a network whose weights are still to be written, drawing no random number."""
        with torch.device("meta"):
            network = cls(**config)
        return network.to_empty(device="cpu").float()  # whatever the default

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments that define the network, as a dict."""
        names = ("n_channels", "hidden_size", "n_classes", "n_layers", "cell")
        return {name: getattr(self, name) for name in names}

    def forward(
        self, x: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read series and classify them.

        Parameters
        ----------
        x : torch.Tensor of shape (n_cases, n_timepoints, n_channels)
            Series.
        lengths : torch.Tensor of shape (n_cases,) or None, default=None
            Time points of each series, if some are padded at their end.

        Returns
        -------
        logits : torch.Tensor of shape (n_cases, n_classes)
            Unnormalised class scores at the last time step.
        states : torch.Tensor of shape (n_cases, n_timepoints, hidden_size)
            Hidden states of the top layer.
        """
        if self.is_fused(x):
            states = fused.fused_states(self.recurrent, x)
        elif self._is_wide(x):
            states = wide.wide_states(self.recurrent, x, self.crew)
        else:
            states = self.recurrent(x)[0]
        return self.head(_last(states, lengths)), states

    def is_fused(self, x: torch.Tensor) -> bool:
        """Tell whether the kernel computes the states of these series.

        Parameters
        ----------
        x : torch.Tensor of shape (n_cases, n_timepoints, n_channels)
            Series.

        Returns
        -------
        bool

        Raises
        ------
        ValueError
            If the backend is "fused" and the kernel does not take them.
        """
        if self.backend == "fused":
            fused.check_supported(self.recurrent, x)
            return True
        return self.backend == "auto" and fused.is_faster(self.recurrent, x)

    def _is_wide(self, x):
        """Tell whether the kernel of wide layers computes the states, for gradients."""
        wants_gradient = torch.is_grad_enabled() and self.recurrent.weight_hh_l0.requires_grad
        return wants_gradient and self.backend == "auto" and fused.is_supported(self.recurrent, x)

    @torch.inference_mode()
    def exact_logits(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Classify series in float64, on the CPU, whatever the weights' type and device.

        Parameters
        ----------
        x : torch.Tensor of shape (n_cases, n_timepoints, n_channels)
            Series, in float64.
        lengths : torch.Tensor of shape (n_cases,) or None, default=None
            Time points of each series, if some are padded at their end.

        Returns
        -------
        logits : torch.Tensor of shape (n_cases, n_classes)
            In float64.

        Raises
        ------
        ValueError
            If the series are of another shape or type.
        """
        return self._exact_head(_last(fused.exact_states(self.recurrent, x), lengths))

    @torch.inference_mode()
    def exact_running_logits(self, x: torch.Tensor) -> torch.Tensor:
        """Classify every beginning of series, as `exact_logits` does.

        Parameters
        ----------
        x : torch.Tensor of shape (n_cases, n_timepoints, n_channels)
            Series, in float64.

        Returns
        -------
        logits : torch.Tensor of shape (n_cases, n_timepoints, n_classes)
            In float64, after each time point.
        """
        return self._exact_head(fused.exact_states(self.recurrent, x))

    def _exact_head(self, states):
        weight, bias = (parameter.cpu().double() for parameter in self.head.parameters())
        return states @ weight.T + bias

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The weights, as a dict of NumPy arrays under PyTorch's parameter names."""
        weights = {name: tensor.detach().cpu() for name, tensor in self.state_dict().items()}
        return {  # NumPy has no bfloat16
            name: (w.float() if w.dtype == torch.bfloat16 else w).numpy().copy()
            for name, w in weights.items()
        }

    def load_arrays(self, arrays: dict[str, NDArray[np.float32]]) -> Self:
        """Write weights that `arrays` returned."""
        # A copy: as_tensor would share memory with the caller's (perhaps read-only) arrays.
        tensors = {k: torch.tensor(np.asarray(a), device="cpu") for k, a in arrays.items()}
        self.load_state_dict(tensors)
        return self

    def __getstate__(self):
        own = {"backend": self.backend, "training": self.training, "dtype": self.head.weight.dtype}
        own["trained"] = [parameter.requires_grad for parameter in self.parameters()]
        return {"config": self.config, "arrays": self.arrays()} | own

    def __setstate__(self, state):
        fresh = type(self).empty(**state["config"], backend=state["backend"])
        fresh.to(state["dtype"]).load_arrays(state["arrays"])
        for parameter, trained in zip(fresh.parameters(), state["trained"], strict=True):
            parameter.requires_grad_(trained)
        self.__dict__.update(fresh.__dict__)
        self.train(state["training"])


def _last(states, lengths):
    """The state at the end of each series."""
    if lengths is None:
        return states[:, -1]
    return states[torch.arange(len(states), device=states.device), lengths - 1]
