"""Series made of other series."""

from memkd_sklearn.augmentation.augmenter import (
    Augmenter,
    augmenter_of,
    check_synthetic,
    n_to_fill_up,
)
from memkd_sklearn.augmentation.changes import (
    Batch,
    Beginning,
    Change,
    Mixture,
    Noise,
    Offset,
    Scaling,
    TimeWarp,
    WindowSlice,
)

__all__ = [
    "Augmenter",
    "Batch",
    "Beginning",
    "Change",
    "Mixture",
    "Noise",
    "Offset",
    "Scaling",
    "TimeWarp",
    "WindowSlice",
    "augmenter_of",
    "check_synthetic",
    "n_to_fill_up",
]
