"""What leaves Python."""

from memkd_sklearn.deploy.footprint import footprint

__all__ = ["footprint"]
