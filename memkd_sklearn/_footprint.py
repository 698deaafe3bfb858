"""What a network costs where it runs, and how much smaller a student is."""

from dataclasses import dataclass, fields

from memkd_sklearn.deploy.footprint import footprint
from memkd_sklearn.network import RecurrentNetwork
from memkd_sklearn.teachers import reader_of

__all__ = ["Footprint"]


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
    def of(cls, network, teacher=None):
        """The footprint of a RecurrentNetwork."""
        return cls(**footprint(**network.config), teacher=teacher)

    @classmethod
    def of_teacher(cls, teacher):
        """The footprint of a fitted estimator; None if its parameters cannot be counted."""
        network = getattr(teacher, "network_", None)
        if isinstance(network, RecurrentNetwork):
            return cls.of(network)
        n_parameters = reader_of(teacher).n_parameters
        return n_parameters and cls(n_parameters, 4 * n_parameters, None, None)

    @property
    def compression(self):
        """How many times fewer parameters than the teacher; None without one."""
        return None if self.teacher is None else self.teacher.parameters / self.parameters

    def __str__(self):
        lines = []
        for field in fields(self)[:-1]:
            lines.append(f"{field.name:14} {getattr(self, field.name):>10,}")
            theirs = getattr(self.teacher, field.name, None)
            lines[-1] += "" if theirs is None else f"   teacher {theirs:>10,}"
        if self.teacher:
            lines.append(f"{'compression':14} {self.compression:>10,.0f}")
        return "\n".join(lines)
