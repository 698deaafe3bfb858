"""When class probabilities, one answer after another, become an event."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from memkd_sklearn._types import Floats
from memkd_sklearn._validation import check_number

__all__ = ["Decision", "check_decision"]

MOST_ANSWERS = 32  # C keeps one bit of each
LONGEST_HOLD_OFF = 65535


class Decision:
    """Tell events from the answers of a stream of windows.

    An answer votes for its most probable class, if that is probable enough. A class of which
    enough of the latest answers vote is an event, and a while after it there is no other.

    Parameters
    ----------
    threshold : float, default=0.5
        Least probability with which an answer votes.
    n, m : int, default=1
        An event needs the votes of `n` of the last `m` answers, the latest one's included; `m` is
        at most 32.
    hold_off : int, default=0
        Answers after an event that are none themselves.
    rest : int or None, default=None
        Index of the class that is no event, as "nothing happens" is.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no number or out of range.

    Examples
    --------
    >>> from memkd_sklearn.deploy import Decision
    >>> decision = Decision(threshold=0.7, n=2, m=3, hold_off=2, rest=0)
    >>> [decision.update([1 - p, p]) for p in (0.1, 0.8, 0.6, 0.9, 0.9, 0.9, 0.9)]
    [None, None, None, 1, None, None, 1]
    """

    def __init__(
        self,
        threshold: float = 0.5,
        n: int = 1,
        m: int = 1,
        hold_off: int = 0,
        rest: int | None = None,
    ) -> None:
        check_number("threshold", threshold, low=0, high=1)
        check_number("m", m, low=1, high=MOST_ANSWERS, integer=True)
        check_number("n", n, low=1, high=m, integer=True)
        check_number("hold_off", hold_off, low=0, high=LONGEST_HOLD_OFF, integer=True)
        check_number("rest", rest, low=0, integer=True, or_one_of=[None])
        # NumPy's integers will do, but a deque takes none of them, nor does C code.
        self.threshold, self.n, self.m, self.hold_off = (
            float(threshold),
            int(n),
            int(m),
            int(hold_off),
        )
        self.rest = None if rest is None else int(rest)
        self._votes: deque[int | None] = deque(maxlen=self.m)
        self._holding = 0

    def __repr__(self):
        return (
            f"Decision(threshold={self.threshold}, n={self.n}, m={self.m}, "
            f"hold_off={self.hold_off}, rest={self.rest})"
        )

    def update(self, proba: Sequence[float] | Floats) -> int | None:
        """Take one answer.

        Parameters
        ----------
        proba : array-like of shape (n_classes,)
            Class probabilities of a window.

        Returns
        -------
        int or None
            Index of the class that is an event now; None where none is.
        """
        best = int(np.argmax(proba))
        voted = best != self.rest and proba[best] >= self.threshold
        self._votes.append(best if voted else None)
        if self._holding:
            self._holding -= 1
            return None
        if not voted or self._votes.count(best) < self.n:
            return None
        self._holding = self.hold_off
        return best

    def reset(self) -> None:
        """Start a new recording."""
        self._votes.clear()
        self._holding = 0


def check_decision(decision: Any, n_classes: int) -> None:
    """Raise TypeError or ValueError unless a decision is one about so many classes."""
    if not isinstance(decision, Decision):
        raise TypeError(f"Got decision={decision!r}, but expected a memkd_sklearn.deploy.Decision.")
    if decision.rest is not None:
        check_number("rest", decision.rest, low=0, high=n_classes - 1)
