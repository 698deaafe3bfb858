"""aeon's base class of classifiers; aeon has no types, and the stub beside this module has them."""

from aeon.classification.base import BaseClassifier

__all__ = ["BaseClassifier"]
