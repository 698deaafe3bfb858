"""How a fitted classifier is read: its class scores and hidden states, once."""

from memkd_sklearn.teachers import keras  # noqa: F401, as it registers its reader
from memkd_sklearn.teachers.composed import RunningMean
from memkd_sklearn.teachers.reader import TeacherReader, is_fitted, reader_of, register_teacher
from memkd_sklearn.teachers.torch_modules import TorchTeacher
from memkd_sklearn.teachers.trace import (
    TeacherTrace,
    check_teacher,
    fit_teacher,
    open_memory,
    read_parts,
    read_teacher,
)

__all__ = [
    "RunningMean",
    "TeacherReader",
    "TeacherTrace",
    "TorchTeacher",
    "check_teacher",
    "fit_teacher",
    "is_fitted",
    "open_memory",
    "read_parts",
    "read_teacher",
    "reader_of",
    "register_teacher",
]
