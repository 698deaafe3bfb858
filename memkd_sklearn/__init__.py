"""Memory-discrepancy knowledge distillation for time series classification."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memkd_sklearn._distillation import DistillationClassifier
    from memkd_sklearn._memkd import MemKDClassifier
    from memkd_sklearn._recurrent import RecurrentClassifier

__version__ = "0.1.0"

__all__ = ["DistillationClassifier", "MemKDClassifier", "RecurrentClassifier"]

# Loaded when they are first asked for: PyTorch and aeon take seconds, the command line's help none.
_MODULES = {
    "DistillationClassifier": "_distillation",
    "MemKDClassifier": "_memkd",
    "RecurrentClassifier": "_recurrent",
}
_PACKAGES = ("augmentation", "deploy", "losses", "network", "teachers")


if not TYPE_CHECKING:  # who would take any name for one of the package

    def __getattr__(name):
        if name in _MODULES:
            value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
            globals()[name] = value
            return value
        if name in _PACKAGES:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
