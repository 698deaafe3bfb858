"""Losses on hidden states: the student's states follow the teacher's, step by step."""

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize

from memkd_sklearn._validation import check_number
from memkd_sklearn.losses.base import DistillationLoss, Outputs

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
    370
    """

    reads_states = True

    def prepare(self, teacher, n_units, rng):
        """Make the regressor."""
        return _Hints(teacher, n_units, rng)


class AttentionTransfer(DistillationLoss):
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

    def __call__(self, student, teacher, rng):
        """Compute the term "attention"."""
        return self._compare(student, _attention(teacher.states, student.is_real))

    def prepare(self, teacher, n_units, rng):
        """Keep the teacher's attentions only."""
        attention = _attention(teacher.states, teacher.is_real)
        return lambda student, index, rng: self._compare(student, attention[index])

    def _compare(self, student, theirs):
        gap = _attention(student.states, student.is_real) - theirs
        return {"attention": gap.square().sum(dim=1).mean()}


class DT2W(DistillationLoss):
    r"""Soft dynamic time warping between the two networks' state sequences (DT2W).

    A linear map, trained with the student, brings its states to the teacher's width, as in
    `FitNet`; what the two sequences cost to align is their soft-DTW distance, with the mean
    squared difference of two states as the cost of a step, divided by the series' length and
    averaged over the batch. Unlike a comparison step by step it forgives the student for
    being early or late.

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
    370
    """

    reads_states = True

    def __init__(self, gamma=0.1):
        self.gamma = gamma

    def prepare(self, teacher, n_units, rng):
        """Make the linear map."""
        return _Alignment(teacher, n_units, rng, self.gamma)

    def check(self):
        """Raise ValueError if a parameter makes no sense."""
        check_number("gamma", self.gamma, low=0, open_low=True)


def soft_dtw(cost, lengths, gamma):
    """Soft-DTW distances of pairs of sequences, from the costs of their steps, on a CPU.

    Parameters
    ----------
    cost : torch.Tensor of shape (n_cases, n_timepoints, n_timepoints)
        Costs of aligning a time point of the one with one of the other.
    lengths : torch.Tensor of shape (n_cases,) or None
        Time points of both sequences of a case; None: all.
    gamma : float
        Smoothing.

    Returns
    -------
    distance : torch.Tensor of shape (n_cases,)
    """
    return _SoftDTW.apply(cost, lengths, gamma)


class _SoftDTW(torch.autograd.Function):
    """The recursion and its reverse, compiled, for tiles of as many cases as a vector holds."""

    @staticmethod
    def forward(ctx, cost, lengths, gamma):
        # Here, not above: Numba is needed by the first call, not by the import.
        from memkd_sklearn.losses import _soft_dtw

        n_cases, n_timepoints, _ = cost.shape
        n_lanes = _soft_dtw.LANES
        padded = cost.new_zeros(n_cases + -n_cases % n_lanes, n_timepoints, n_timepoints)
        padded[:n_cases] = cost.detach()
        tiles = padded.cpu().unflatten(0, (-1, n_lanes)).permute(0, 2, 3, 1).contiguous().numpy()
        total, shares = _soft_dtw.forward(tiles, tiles.dtype.type(gamma))
        cases = torch.arange(n_cases)
        last = torch.full((n_cases,), n_timepoints) if lengths is None else lengths.cpu()
        ctx.ends = cases // n_lanes, last - 1, last - 1, cases % n_lanes
        ctx.save_for_backward(torch.from_numpy(shares))
        return torch.from_numpy(total)[ctx.ends].to(cost.device)

    @staticmethod
    @once_differentiable
    def backward(ctx, distance_grad):
        from memkd_sklearn.losses import _soft_dtw

        (shares,) = ctx.saved_tensors
        grad = shares.new_zeros(*shares.shape[:3], shares.shape[4])
        grad[ctx.ends] = distance_grad.cpu()
        _soft_dtw.backward(grad.numpy(), shares.numpy())
        grad = grad.permute(0, 3, 1, 2).flatten(0, 1)[: len(distance_grad)]
        return grad.to(distance_grad.device), None, None


class _Projection(torch.nn.Module):
    """Teacher's outputs, and a linear map of the student's states to the teacher's width."""

    def __init__(self, teacher, n_units, rng):
        super().__init__()
        self.teacher = Outputs(teacher.logits, teacher.states)
        n_wanted, device = teacher.states.shape[2], teacher.states.device
        with torch.device("meta"):  # draws nothing from the global generator
            self.regressor = torch.nn.Linear(n_units, n_wanted)
        self.regressor.to_empty(device="cpu")
        bound = n_units**-0.5  # as PyTorch's own initialisation
        for parameter in self.regressor.parameters():
            torch.nn.init.uniform_(parameter, -bound, bound, generator=rng)
        self.to(device)


class _Hints(_Projection):
    def forward(self, student, index, rng):
        gap = self.regressor(student.states) - self.teacher.states[index]
        if student.is_real is not None:
            gap = gap[student.is_real]
        return {"hint": gap.square().mean()}


class _Alignment(_Projection):
    def __init__(self, teacher, n_units, rng, gamma):
        super().__init__(teacher, n_units, rng)
        self.gamma = gamma

    def forward(self, student, index, rng):
        ours, theirs = self.regressor(student.states), self.teacher.states[index]
        squares = [x.square().sum(dim=2) for x in (ours, theirs)]
        # What `ours @ theirs.mT` is, by way of the student's few units.
        weight, bias = self.regressor.weight, self.regressor.bias
        products = student.states @ (theirs @ weight).mT + (theirs @ bias).unsqueeze(1)
        cost = squares[0].unsqueeze(2) + squares[1].unsqueeze(1) - 2 * products
        distance = soft_dtw(cost / theirs.shape[2], student.lengths, self.gamma)
        length = ours.shape[1] if student.lengths is None else student.lengths
        return {"alignment": (distance / length).mean()}


def _attention(states, is_real):
    attention = states.square().mean(dim=2)
    if is_real is not None:
        attention = torch.where(is_real, attention, 0.0)
    return normalize(attention, dim=1)
