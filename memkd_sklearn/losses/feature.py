"""Losses on hidden states: the student's states follow the teacher's, step by step."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize

from memkd_sklearn._validation import check_number
from memkd_sklearn.kernels import soft_dtw as soft_dtw_kernel
from memkd_sklearn.kernels import state_losses
from memkd_sklearn.losses.base import DistillationLoss, Outputs, TableLoss
from memkd_sklearn.losses.kernel_loss import KernelLoss

__all__ = ["DT2W", "AttentionTransfer", "FitNet", "soft_dtw"]


class FitNet(DistillationLoss):
    """Hint-based distillation of FitNets.

    A linear map from the student's states to the teacher's, the regressor, is trained with the
    student; the mean squared error of its predictions over time points and units is the loss.
    The regressor is no part of the fitted student.

    References
    ----------
    .. [1] Romero, A., Ballas, N., Kahou, S., Chassang, A., Gatta, C., Bengio, Y. "FitNets:
       Hints for Thin Deep Nets." ICLR 2015. arXiv:1412.6550.

    Examples
    --------
    >>> from aeon.datasets import load_unit_test
    >>> from memkd_sklearn import DistillationClassifier, RecurrentClassifier
    >>> from memkd_sklearn.losses import FitNet
    >>> X, y = load_unit_test(split="train")
    >>> teacher = RecurrentClassifier(16, n_layers=1, n_epochs=5, random_state=0).fit(X, y)
    >>> student = DistillationClassifier(teacher, loss=FitNet(), n_epochs=5, random_state=0)
    >>> student.fit(X, y).footprint_.parameters
    344
    """

    reads_states = True

    def prepare(self, teacher: Outputs, n_units: int, rng: torch.Generator) -> Any:
        """Make the regressor."""
        return _Hints(teacher, n_units, rng)


class AttentionTransfer(TableLoss):
    r"""Attention transfer (AT), over time.

    The attention a network pays to a time point is the mean square of its state there. A
    series' attentions are scaled to the norm 1, and the loss is the squared distance of the
    student's from the teacher's, averaged over the batch.

    .. math:: a(t) = \frac{1}{m} \lVert h(t) \rVert_2^2, \qquad
              \left\lVert \frac{a_S}{\lVert a_S \rVert_2}
              - \frac{a_T}{\lVert a_T \rVert_2} \right\rVert_2^2

    References
    ----------
    .. [1] Zagoruyko, S., Komodakis, N. "Paying More Attention to Attention: Improving the
       Performance of Convolutional Neural Networks via Attention Transfer." ICLR 2017.
       arXiv:1612.03928.

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn.losses import AttentionTransfer, Outputs
    >>> states = torch.randn(4, 24, 8, generator=torch.Generator().manual_seed(0))
    >>> same = Outputs(torch.zeros(4, 2), states)
    >>> AttentionTransfer()(same, same, torch.Generator())["attention"].item()
    0.0
    """

    reads_states = True

    def tabulate(self, teacher: Outputs) -> Any:
        """The teacher's attentions."""
        return _attention(teacher.states, teacher.is_real)

    def terms(self, student: Outputs, wanted: Any) -> dict[str, torch.Tensor]:
        """Compute the term "attention"."""
        gap = _attention(student.states, student.is_real) - wanted
        return {"attention": gap.square().sum(dim=1).mean()}

    def kernel_losses(self, table: Any) -> Any:
        """See `TableLoss`."""
        return [KernelLoss(state_losses.attention, ("attention",), [1.0], table)]


class DT2W(DistillationLoss):
    r"""Soft dynamic time warping between the two networks' state sequences (DT2W).

    A linear map, trained with the student, brings its states to the teacher's width, as in
    `FitNet`. The loss is the soft-DTW distance of the two sequences, with the mean squared
    difference of two states as the cost of a step, divided by the series' length and averaged
    over the batch. Unlike a comparison step by step it forgives the student for being early or
    late.

    Parameters
    ----------
    gamma : float, default=0.1
        Smoothing of the minimum; towards 0 it becomes dynamic time warping.

    References
    ----------
    .. [1] Qiao, Z., Hu, M., Jiang, X., Suganthan, P., Savitha, R. "Class-Incremental Learning
       on Multivariate Time Series Via Shape-Aligned Temporal Distillation." ICASSP 2023.
    .. [2] Cuturi, M., Blondel, M. "Soft-DTW: a Differentiable Loss Function for Time-Series."
       ICML 2017. arXiv:1703.01541.

    Examples
    --------
    >>> from aeon.datasets import load_unit_test
    >>> from memkd_sklearn import DistillationClassifier, RecurrentClassifier
    >>> from memkd_sklearn.losses import DT2W
    >>> X, y = load_unit_test(split="train")
    >>> teacher = RecurrentClassifier(16, n_layers=1, n_epochs=5, random_state=0).fit(X, y)
    >>> student = DistillationClassifier(teacher, loss=DT2W(), n_epochs=5, random_state=0)
    >>> student.fit(X, y).footprint_.parameters
    344
    """

    reads_states = True

    def __init__(self, gamma: float = 0.1) -> None:
        self.gamma = gamma

    def prepare(self, teacher: Outputs, n_units: int, rng: torch.Generator) -> Any:
        """Make the linear map."""
        return _Alignment(teacher, n_units, rng, self.gamma)

    def check(self) -> None:
        """Raise ValueError if a parameter makes no sense."""
        check_number("gamma", self.gamma, low=0, open_low=True)


def soft_dtw(first, second, lengths, gamma):
    """Soft-DTW distances of pairs of sequences, on a CPU.

    The cost of aligning two time points is the product of their vectors, of which a squared
    Euclidean distance is one: ``|x - y|^2 = (|x|^2, 1, x) . (1, |y|^2, -2 y)``.

    Parameters
    ----------
    first, second : torch.Tensor of shape (n_cases, n_timepoints, n_numbers)
        Vectors of the time points of both sequences.
    lengths : torch.Tensor of shape (n_cases,) or None
        Time points of both sequences of a case; None: all.
    gamma : float
        Smoothing.

    Returns
    -------
    distance : torch.Tensor of shape (n_cases,)
    """
    return _SoftDTW.apply(first, second, lengths, gamma)


class _SoftDTW(torch.autograd.Function):
    """The distances; their gradients are found on the way."""

    @staticmethod
    def forward(ctx, first, second, lengths, gamma):
        pair = [vectors.detach().cpu().contiguous() for vectors in (first, second)]
        lengths = torch.empty(0, dtype=torch.int64) if lengths is None else lengths.cpu()
        written = pair[0].new_empty(len(first)), *map(torch.empty_like, pair)
        arrays = [tensor.numpy() for tensor in (*pair, lengths, *written)]
        soft_dtw_kernel.soft_dtw(*arrays[:3], arrays[0].dtype.type(gamma), *arrays[3:])
        distance, *grads = (tensor.to(first.device) for tensor in written)
        ctx.save_for_backward(*grads)
        return distance

    @staticmethod
    @once_differentiable
    def backward(ctx, distance_grad):
        return *(distance_grad[:, None, None] * grad for grad in ctx.saved_tensors), None, None


class _Projection(torch.nn.Module):
    """Teacher's outputs, and a linear map of the student's states to the teacher's width."""

    def __init__(self, teacher, n_units, rng):
        super().__init__()
        self.teacher = Outputs(teacher.logits, teacher.states.contiguous())
        n_wanted, device = teacher.states.shape[2], teacher.states.device
        with torch.device("meta"):  # draws nothing from the global generator
            self.regressor = torch.nn.Linear(n_units, n_wanted, dtype=teacher.states.dtype)
        self.regressor.to_empty(device="cpu")
        bound = n_units**-0.5  # as PyTorch's own initialisation
        for parameter in self.regressor.parameters():
            torch.nn.init.uniform_(parameter, -bound, bound, generator=rng)
        self.to(device)

    def _kernel_loss(self, kernel, name, numbers=()):
        states, n_parameters = self.teacher.states, sum(p.numel() for p in self.parameters())
        more = {"numbers": numbers, "n_parameters": n_parameters}
        return KernelLoss(kernel, (name,), [1.0], states, **more)


class _Hints(_Projection):
    def forward(self, student, index, rng):
        gap = self.regressor(student.states) - self.teacher.states[index]
        if student.is_real is not None:
            gap = gap[student.is_real]
        return {"hint": gap.square().mean()}

    def kernel_losses(self, n_batches, rng):
        return [self._kernel_loss(state_losses.hints, "hint")]


class _Alignment(_Projection):
    def __init__(self, teacher, n_units, rng, gamma):
        super().__init__(teacher, n_units, rng)
        self.gamma = gamma

    def forward(self, student, index, rng):
        ours, theirs = self.regressor(student.states), self.teacher.states[index]
        # The mean squared difference of every two time points, by way of the student's few units.
        weight, bias = self.regressor.weight, self.regressor.bias
        size, their_size = (x.square().sum(dim=2, keepdim=True) for x in (ours, theirs))
        one = torch.ones_like(size)
        first = torch.cat([size, one, student.states], dim=2) / theirs.shape[2]
        second = [one, their_size - 2 * (theirs @ bias).unsqueeze(2), -2 * (theirs @ weight)]
        distance = soft_dtw(first, torch.cat(second, dim=2), student.lengths, self.gamma)
        length = ours.shape[1] if student.lengths is None else student.lengths
        return {"alignment": (distance / length).mean()}

    def kernel_losses(self, n_batches, rng):
        return [self._kernel_loss(soft_dtw_kernel.alignment, "alignment", (self.gamma,))]


def _attention(states, is_real):
    attention = states.square().mean(dim=2)
    if is_real is not None:
        attention = torch.where(is_real, attention, 0.0)
    return normalize(attention, dim=1)
