"""What a recurrent network costs: parameters, bytes and multiplications."""

__all__ = ["GATES", "footprint"]

# Blocks of rows in each weight matrix, which is also gates computed a step.
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def footprint(n_channels, hidden_size, n_classes, n_layers=1, cell="lstm"):
    """Count what a network with these dimensions needs, without building it.

    Parameters
    ----------
    n_channels, hidden_size, n_classes, n_layers, cell
        As in `memkd_sklearn.network.RecurrentNetwork`; its ``config`` holds them.

    Returns
    -------
    dict
        ``parameters``: numbers learned, as PyTorch counts them (two biases a gate);
        ``weight_bytes``: their size in float32;
        ``state_bytes``: float32 memory carried from one time step to the next;
        ``macs_per_step``: multiply-accumulates of one time step with its class scores.

    Examples
    --------
    >>> from memkd_sklearn.deploy import footprint
    >>> footprint(n_channels=1, hidden_size=8, n_classes=2)
    {'parameters': 370, 'weight_bytes': 1480, 'state_bytes': 64, 'macs_per_step': 304}
    """
    if cell not in GATES:
        raise ValueError(f"Got cell={cell!r}, but expected one of {list(GATES)}.")
    rows = GATES[cell] * hidden_size
    inputs = n_channels + hidden_size * (n_layers - 1)
    matrices = rows * (inputs + hidden_size * n_layers) + n_classes * hidden_size
    parameters = matrices + 2 * rows * n_layers + n_classes
    states = 2 if cell == "lstm" else 1
    return {
        "parameters": parameters,
        "weight_bytes": 4 * parameters,
        "state_bytes": 4 * states * hidden_size * n_layers,
        "macs_per_step": matrices,
    }
