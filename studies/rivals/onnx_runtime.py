"""The student's ONNX graph, a time point at a time, in ONNX Runtime."""

from pathlib import Path

import numpy as np

from memkd_sklearn.deploy import to_onnx

from . import microseconds


def measure(task, folder):
    import onnxruntime

    path = folder / "student.onnx"
    to_onnx(task.student, path, streaming=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = ["hidden", "memory"][: task.states]

    def run(X):
        zero = np.zeros((task.student.n_layers, len(X), task.student.hidden_size), np.float32)
        state = dict.fromkeys(names, zero)
        for t in range(X.shape[2]):
            proba, *after = session.run(None, {"x": X[:, :, t : t + 1], **state})
            state = dict(zip(names, after, strict=True))
        return proba

    library = Path(onnxruntime.__file__).with_name("capi").glob("libonnxruntime.so*")
    yield task.row(
        f"ONNX Runtime {onnxruntime.__version__}, float32",
        run(task.X),
        where="x86-64",
        flash=path.stat().st_size,
        library=sum(file.stat().st_size for file in library),
        ram=None,
        time=microseconds(lambda: run(task.X[:1]), task.X.shape[2]),
        unit="us a step",
        streaming=True,
    )
