"""Types that signatures share."""

import os
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ArrayLike",
    "Cell",
    "Floats",
    "FloatsOrList",
    "Labels",
    "RandomState",
    "StrPath",
]

Cell: TypeAlias = Literal["lstm", "gru", "rnn"]
Floats: TypeAlias = NDArray[np.floating[Any]]
FloatsOrList: TypeAlias = Floats | list[Floats]
Labels: TypeAlias = NDArray[Any]
RandomState: TypeAlias = int | np.random.RandomState | None
StrPath: TypeAlias = str | os.PathLike[str]
