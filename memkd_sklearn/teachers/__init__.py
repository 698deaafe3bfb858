"""How a fitted classifier is read: its class scores and hidden states, once."""

from memkd_sklearn.teachers import keras, wrappers  # noqa: F401, as they register readers
from memkd_sklearn.teachers.cache import open_memory
from memkd_sklearn.teachers.reader import (
    TeacherReader,
    is_fitted,
    is_plain,
    reader_of,
    register_teacher,
)
from memkd_sklearn.teachers.running_mean import RunningMean
from memkd_sklearn.teachers.torch_modules import TorchTeacher
from memkd_sklearn.teachers.trace import (
    TeacherTrace,
    check_teacher,
    fit_teacher,
    read_parts,
    read_teacher,
)
from memkd_sklearn.teachers.trust import knows_classes

__all__ = [
    "RunningMean",
    "TeacherReader",
    "TeacherTrace",
    "TorchTeacher",
    "check_teacher",
    "fit_teacher",
    "is_fitted",
    "is_plain",
    "knows_classes",
    "open_memory",
    "read_parts",
    "read_teacher",
    "reader_of",
    "register_teacher",
]
