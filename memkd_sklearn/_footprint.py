"""What a network costs where it runs, and how much smaller a student is."""

from dataclasses import dataclass, fields

from memkd_sklearn.deploy.footprint import footprint

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
        The same of the teacher, where it is a recurrent network of this package.
    """

    parameters: int
    weight_bytes: int
    state_bytes: int
    macs_per_step: int
    teacher: "Footprint | None" = None

    @classmethod
    def of(cls, network, teacher=None):
        """The footprint of a RecurrentNetwork."""
        return cls(**footprint(**network.config), teacher=teacher)

    @property
    def compression(self):
        """How many times fewer parameters than the teacher; None without one."""
        return None if self.teacher is None else self.teacher.parameters / self.parameters

    def __str__(self):
        lines = [
            f"{field.name:14} {getattr(self, field.name):>10,}"
            + (f"   teacher {getattr(self.teacher, field.name):>10,}" if self.teacher else "")
            for field in fields(self)[:-1]
        ]
        if self.teacher:
            lines.append(f"{'compression':14} {self.compression:>10,.0f}")
        return "\n".join(lines)
