"""The templates of the C files, and how numbers, labels and tables are written in them.

To Jinja2, a line that begins with ``//%`` is a statement, and text between two ``$`` is an
expression. To an editor, the former is a comment and the latter part of a name: GCC and Clang
count ``$`` among letters. Blank lines after a statement are left out.
"""

import re
import textwrap
from functools import cache

import numpy as np

__all__ = ["escape", "float_literal", "of_layer", "render", "table", "wrapped"]

WIDTH = 96


def float_literal(value):
    """A float32 such that a C compiler reads back the same bits."""
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if re.search(r"[.e]", text) else f"{text}.0f"


def table(kind, name, values, literal):
    """A constant array, as the templates take it."""
    return {"kind": kind, "name": name, "literals": [literal(value) for value in values]}


def wrapped(literals, indent):
    """Literals with commas between them, broken into lines that are indented by so much."""
    lines = textwrap.wrap(", ".join(literals), WIDTH - indent)
    return ("\n" + " " * indent).join(lines)


def of_layer(fields, index):
    """The named arrays of one layer's state, as arguments."""
    return ", ".join(f"state->{field}[{index}]" for field in fields)


def escape(label):
    """A label as a C string literal, in UTF-8.

    Raises
    ------
    ValueError
        If it is longer than C promises to take, or has a NUL.
    """
    raw = label.encode("utf-8", "surrogatepass")
    # C99 promises no longer literals; and a C string ends at its first NUL.
    if len(raw) > 4095 or 0 in raw:
        raise ValueError(
            f"Got a label {label[:20]!r} of {len(raw)} bytes, but expected at most 4095, none NUL."
        )
    # Octal escapes end after three digits, whatever follows; a bare ? could start a trigraph.
    plain = set(range(32, 127)) - set(b'"\\?')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in raw) + '"'


def render(template, **values):
    """Fill a template, the name of a file in the folder ``templates``."""
    return _templates().get_template(template).render(values)


@cache
def _templates():
    from jinja2 import Environment, PackageLoader, StrictUndefined  # who writes no C needs none

    templates = Environment(
        loader=PackageLoader("memkd_sklearn.deploy.c"),
        line_statement_prefix="//%",
        variable_start_string="$",
        variable_end_string="$",
        # Not used, and not to be met by chance.
        block_start_string="/*%",
        block_end_string="%*/",
        comment_start_string="/*#",
        comment_end_string="#*/",
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    templates.filters |= {"of_layer": of_layer, "wrapped": wrapped}
    return templates
