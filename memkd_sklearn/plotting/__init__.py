"""Displays, drawn as scikit-learn's are; they need the extra ``plots``."""

try:
    import matplotlib.figure  # noqa: F401, as the modules below need it
except ImportError as error:
    raise ImportError("Plots need matplotlib: pip install memkd-sklearn[plots].") from error

from memkd_sklearn.plotting.earliness import EarlinessDisplay
from memkd_sklearn.plotting.memory import MemoryRatioDisplay
from memkd_sklearn.plotting.sizes import SizeScoreDisplay, pareto_front
from memkd_sklearn.plotting.stream import StreamDisplay
from memkd_sklearn.plotting.training import TrainingCurveDisplay

__all__ = [
    "EarlinessDisplay",
    "MemoryRatioDisplay",
    "SizeScoreDisplay",
    "StreamDisplay",
    "TrainingCurveDisplay",
    "pareto_front",
]
