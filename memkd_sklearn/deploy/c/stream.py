"""The numbers of windows and decisions in C, ``templates/stream.c`` and ``decision.c``."""

import math

import numpy as np

from memkd_sklearn._validation import check_number
from memkd_sklearn.deploy.c.text import float_literal
from memkd_sklearn.deploy.decision import check_decision

__all__ = ["stream_code"]

LONGEST = 65535  # a 16-bit int counts as far


def stream_code(student, code, window, hop, decision):
    """Compute the values of the templates' variables for a stream and a decision.

    Parameters
    ----------
    student : Student
        The classifier.
    code : dict
        Values of the other variables, as from `float_code` or `int8_code`.
    window, hop : int or None
        Time steps; without a window there is no stream.
    decision : Decision or None
        Rule by which answers become events.

    Returns
    -------
    dict of str to object
        By the names of the variables.

    Raises
    ------
    TypeError, ValueError
        If a number is none or out of range, the decision is none, or its `rest` is none of the
        classes.
    """
    rule = None
    if decision is not None:
        check_decision(decision, student.n_classes)
        rule = _decision(decision, code["proba_type"])
    if window is None:
        return {"window": None, "decision": rule}
    hop = window if hop is None else hop
    check_number("window", window, low=1, high=LONGEST, integer=True)
    check_number("hop", hop, low=1, high=LONGEST, integer=True)
    n_states = -(-window // hop)
    n_bytes = n_states * code["state_bytes"]
    n_bytes += -n_bytes % 4 + 8
    if rule:
        votes = rule["bits"] // 8 * student.n_classes
        n_bytes += votes + votes % 2 + 2
    return {
        "window": window,
        "hop": hop,
        "n_states": n_states,
        "decision": rule,
        "stream_bytes": n_bytes + -n_bytes % 4,
    }


def _decision(decision, proba_type):
    bits = next(bits for bits in (8, 16, 32) if decision.m <= bits)
    # The least number in the code's format that is not below the threshold.
    if not decision.threshold:
        threshold = None  # of unsigned numbers, compilers complain
    elif proba_type == "float":
        threshold = np.float32(decision.threshold)
        if float(threshold) < decision.threshold:  # not NumPy's <, which rounds the latter
            threshold = np.nextafter(threshold, np.float32(2))
        threshold = float_literal(threshold)
    else:
        threshold = math.ceil(decision.threshold * 32768)
    return {
        "threshold": threshold,
        "n": decision.n,
        "mask": f"0x{2**decision.m - 1:x}u" + "l" * (bits == 32),
        "bits": bits,
        "votes_type": f"uint{bits}_t",
        "hold_off": decision.hold_off,
        "rest": -1 if decision.rest is None else decision.rest,
    }
