"""C source as text: what it is made of, and how numbers, labels and tables are written."""

import re
import textwrap
from dataclasses import dataclass
from string import Template

import numpy as np

__all__ = ["Code", "escape", "fill", "float_literal", "table", "wrap"]

WIDTH = 96


@dataclass(frozen=True)
class Code:
    """What the two number formats fill in differently.

    `state_fields` are pairs of a type and a name; `interface` is declared for callers,
    `includes`, `tables` and `functions` are the implementation; the golden inputs and
    probabilities are literals for the self-test, `mismatch` compares with the latter.
    """

    input_type: str
    score_type: str
    proba_type: str
    state_fields: list
    interface: str
    includes: str
    tables: str
    functions: str
    golden_inputs: list
    golden_probas: list
    mismatch: str
    constant_bytes: int
    state_bytes: int
    stack: str
    code: str
    notes: str


def fill(template, name, **values):
    """Replace $name, $NAME and other placeholders of a piece of C."""
    return Template(template).substitute(name=name, NAME=name.upper(), **values)


def float_literal(value):
    """A float32 such that a C compiler reads back the same bits."""
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if re.search(r"[.e]", text) else f"{text}.0f"


def wrap(words, indent):
    """Words with commas between them, broken into lines."""
    lines = textwrap.wrap(", ".join(words), WIDTH - indent)
    return ("\n" + " " * indent).join(lines)


def table(kind, name, values, text=str):
    """A constant array."""
    body = wrap([text(value) for value in values], 4)
    return f"static const {kind} {name}[{len(values)}] = {{\n    {body}\n}};\n"


def escape(label):
    """A label as a C string literal, in UTF-8."""
    raw = label.encode("utf-8", "surrogatepass")
    # C99 promises no longer literals; and a C string ends at its first NUL.
    if len(raw) > 4095 or 0 in raw:
        raise ValueError(
            f"Got a label {label[:20]!r} of {len(raw)} bytes, but expected at most 4095, none NUL."
        )
    # Octal escapes end after three digits, whatever follows; a bare ? could start a trigraph.
    plain = set(range(32, 127)) - set(b'"\\?')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in raw) + '"'
