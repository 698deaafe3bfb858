"""Checks of parameters, with errors that name the given value and the expected ones."""

import math
from numbers import Integral, Real

__all__ = ["check_choice", "check_number"]


def check_choice(name, value, choices):
    """Raise ValueError unless `value` is one of `choices`."""
    if not any(value is choice or value == choice for choice in choices):
        expected = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"Got {name}={value!r}, but expected one of {expected}.")


def check_number(name, value, *, low, high=math.inf, open_low=False, integer=False, or_one_of=()):
    """Raise unless `value` is a finite number in a range, or one of a few other values.

    Parameters
    ----------
    name : str
        The parameter's name, for the message.
    value : object
        The value that was given.
    low, high : float
        Bounds; `high` is included, `low` too unless `open_low`.
    open_low : bool, default=False
        Whether `low` itself is refused.
    integer : bool, default=False
        Whether only integers pass.
    or_one_of : sequence, default=()
        Other values that pass.

    Raises
    ------
    TypeError
        If `value` is no number.
    ValueError
        If it is not finite or out of range.
    """
    if any(value is other or (isinstance(value, str) and value == other) for other in or_one_of):
        return
    kind = "an integer" if integer else "a number"
    bounds = f" greater than {low}" if open_low else f" of at least {low}"
    bounds = "" if low == -math.inf else bounds
    if high < math.inf:
        bounds += f" and at most {high}"
    others = "".join(f" or {other!r}" for other in or_one_of)
    message = f"Got {name}={value!r}, but expected {kind}{bounds}{others}."
    if not isinstance(value, Integral if integer else Real) or isinstance(value, bool):
        raise TypeError(message)
    in_range = (value > low if open_low else value >= low) and value <= high
    if not (math.isfinite(value) and in_range):
        raise ValueError(message)
