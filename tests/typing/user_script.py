"""Thirty lines as a user writes them, which type checkers follow; `test_typing.py` has them do it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memkd_sklearn import DistillationClassifier, MemKDClassifier, RecurrentClassifier
from memkd_sklearn.data import from_wide, read_table
from memkd_sklearn.deploy import CompiledStudent, Stream
from memkd_sklearn.footprint import Footprint
from memkd_sklearn.losses import FitNet, MemoryDiscrepancy, SoftTargets


def train(file: str) -> MemKDClassifier:
    X, y, _ = from_wide(read_table(file), label="kind")
    assert y is not None
    teacher = RecurrentClassifier(hidden_size=16, n_layers=2, n_epochs=5, random_state=0).fit(X, y)
    states = teacher.hidden_states(X)
    print(len(states), teacher.network_.config, teacher.history_[-1]["train_loss"])
    loss = MemoryDiscrepancy(n_subsequences="all") + 0.5 * SoftTargets(temperature=2.0)
    rival = DistillationClassifier(teacher, loss=FitNet(), hidden_size=4, n_epochs=5, n_jobs=-1)
    print(rival.set_params(loss=loss).fit(X, y).score(X, y))
    weights = {"up": 2.0, "down": 1.0}
    student = MemKDClassifier(teacher, hidden_size=4, cell="gru", n_epochs=5, class_weight=weights)
    return student.fit(X, y)


def deploy(student: MemKDClassifier, X: NDArray[np.float64]) -> list[NDArray[np.floating[Any]]]:
    footprint: Footprint = student.footprint_
    print(footprint.parameters + footprint.weight_bytes, footprint.compression)
    stream: Stream = student.stream()
    seen = [stream.update(x_t) for x_t in X[0].T] + [stream.update(0.5)]
    stream.reset()
    student.save("student.safetensors")
    loaded = MemKDClassifier.load("student.safetensors")
    loaded.to_onnx("student.onnx", streaming=True)
    loaded.to_c("student.c", dtype="int8", name="student")
    compiled = CompiledStudent("student.c")
    return [*seen, compiled.predict_proba(X), loaded.predict_proba(X)]
