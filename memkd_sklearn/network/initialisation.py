"""Initial weights from which deep recurrent networks train reliably."""

import torch
from torch import nn

__all__ = ["initialise"]

# Which block of rows opens the memory: the LSTM's forget gate, the GRU's update gate.
_KEEP_GATE = {"lstm": 1, "gru": 1}


@torch.no_grad()
def initialise(network, x, rng):
    """Draw the initial weights of a network for the series it will be trained on.

    Recurrent weights are orthogonal, gate by gate [1]_. Input weights are scaled to the
    data, layer after layer, as in layer-sequential unit-variance initialisation [2]_:
    with customary weights a state's size shrinks with every layer, the top layer of a
    stack hardly sees the input, and the network stays with the majority class for long.
    Biases make the mean pre-activation zero; the gate that keeps the memory starts open
    instead [3]_.

    Inputs are scaled by the geometric mean of two deviations: of the pre-activations, and of
    their difference from the mean series. Where all series look alike, as outlines and spectra
    do, the first alone would drown the differences between cases, and the second alone would
    saturate the gates with all that the cases share.

    Parameters
    ----------
    network : RecurrentNetwork
        Its weights are overwritten.
    x : torch.Tensor of shape (n_cases, n_timepoints, n_channels)
        Some standardised series.
    rng : torch.Generator
        The only source of randomness.

    References
    ----------
    .. [1] Saxe, A., McClelland, J., Ganguli, S. "Exact solutions to the nonlinear dynamics
       of learning in deep linear neural networks." ICLR 2014. arXiv:1312.6120.
    .. [2] Mishkin, D., Matas, J. "All you need is a good init." ICLR 2016.
       arXiv:1511.06422.
    .. [3] Jozefowicz, R., Zaremba, W., Sutskever, I. "An Empirical Exploration of
       Recurrent Network Architectures." ICML 2015.

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn.network import RecurrentNetwork
    >>> from memkd_sklearn.network.initialisation import initialise
    >>> rng = torch.Generator().manual_seed(0)
    >>> x = torch.randn(20, 50, 1, generator=rng)
    >>> initialise(RecurrentNetwork(1, 8, 2), x, rng)
    """
    units = network.hidden_size
    for layer in range(network.n_layers):
        weights = {
            name: getattr(network.recurrent, f"{name}_l{layer}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        for block in weights["weight_hh"].split(units):
            nn.init.orthogonal_(block, generator=rng)
        nn.init.xavier_uniform_(weights["weight_ih"], generator=rng)
        drive = x @ weights["weight_ih"].T
        spread = (drive.std() * (drive - drive.mean(dim=0)).std()).sqrt()
        if spread > 1e-6:  # not so where all series are constant, or the same
            weights["weight_ih"] /= spread
        weights["bias_ih"].copy_(-(x @ weights["weight_ih"].T).mean(dim=(0, 1)))
        weights["bias_hh"].zero_()
        if network.cell in _KEEP_GATE:
            weights["bias_ih"].split(units)[_KEEP_GATE[network.cell]].add_(1.0)
        x = _run_layer(network, layer, x)
    nn.init.xavier_uniform_(network.head.weight, generator=rng)
    network.head.bias.zero_()


def _run_layer(network, layer, x):
    """The states of one layer of the stack over its input."""
    kind = type(network.recurrent)
    alone = kind(x.shape[2], network.hidden_size, batch_first=True, device="meta")
    state = {
        f"{name}_l0": getattr(network.recurrent, f"{name}_l{layer}")
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    return torch.func.functional_call(alone, state, x)[0]
