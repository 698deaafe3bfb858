"""How a fitted classifier is read: its class scores and hidden states, once."""

from memkd_sklearn.teachers.trace import (
    TeacherTrace,
    check_teacher,
    is_fitted,
    read_parts,
    read_teacher,
)

__all__ = ["TeacherTrace", "check_teacher", "is_fitted", "read_parts", "read_teacher"]
