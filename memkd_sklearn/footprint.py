"""The costs of a recurrent network: parameters, bytes and multiplications."""

from dataclasses import dataclass, fields
from typing import Any, Self

from memkd_sklearn._types import Cell

__all__ = ["GATES", "Footprint", "footprint"]

# Blocks of rows in each weight matrix, which is also gates computed a step.
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


@dataclass(frozen=True)
class Footprint:
    """Size and cost of a recurrent network, and of the teacher it was distilled from.

    Attributes
    ----------
    parameters : int
        Numbers learned.
    weight_bytes : int
        Their size in float32.
    state_bytes : int
        Float32 memory carried from one time step to the next.
    macs_per_step : int
        Multiply-accumulates of one time step, with its class scores.
    teacher : Footprint or None
        The same of the teacher; its state and its multiplications are None where it is no
        recurrent network of this package, all is None where its parameters cannot be counted.
    """

    parameters: int
    weight_bytes: int
    state_bytes: int | None
    macs_per_step: int | None
    teacher: "Footprint | None" = None

    @classmethod
    def of(cls, network: Any, teacher: "Footprint | None" = None) -> Self:
        """The footprint of a RecurrentNetwork."""
        return cls(**footprint(**network.config), teacher=teacher)

    @property
    def compression(self) -> float | None:
        """How many times fewer parameters than the teacher; None without one."""
        return None if self.teacher is None else self.teacher.parameters / self.parameters

    def __str__(self) -> str:
        lines = []
        for field in fields(self)[:-1]:
            ours, theirs = getattr(self, field.name), getattr(self.teacher, field.name, None)
            lines.append(f"{field.name:14} {'unknown' if ours is None else f'{ours:,}':>10}")
            lines[-1] += "" if theirs is None else f"   teacher {theirs:>10,}"
        if self.teacher:
            lines.append(f"{'compression':14} {self.compression:>10,.0f}")
        return "\n".join(lines)


def footprint(
    n_channels: int, hidden_size: int, n_classes: int, n_layers: int = 1, cell: Cell = "lstm"
) -> dict[str, int]:
    """Count the costs of a network with these dimensions, without building it.

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

    Raises
    ------
    ValueError
        If there is no such cell.

    Examples
    --------
    >>> from memkd_sklearn.footprint import footprint
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
