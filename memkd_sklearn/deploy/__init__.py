"""A fitted student leaves Python: as a file, a stream, an ONNX graph or C code."""

from memkd_sklearn.deploy.bundle import BundleError, load, save
from memkd_sklearn.deploy.c.compiled import CompiledStudent
from memkd_sklearn.deploy.c.project import to_project
from memkd_sklearn.deploy.c.source import to_c
from memkd_sklearn.deploy.decision import Decision
from memkd_sklearn.deploy.int8 import input_peak, quantise
from memkd_sklearn.deploy.onnx import to_onnx
from memkd_sklearn.deploy.streaming import Stream, WindowStream
from memkd_sklearn.deploy.student import Student
from memkd_sklearn.footprint import footprint

__all__ = [
    "BundleError",
    "CompiledStudent",
    "Decision",
    "Stream",
    "Student",
    "WindowStream",
    "footprint",
    "input_peak",
    "load",
    "quantise",
    "save",
    "to_c",
    "to_onnx",
    "to_project",
]
