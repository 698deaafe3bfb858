"""Bytes and microseconds a time step: the paper's teacher and student wherever they can run.

    python studies/edge.py --json edge.json

Each row feeds one time step after another, as a sensor would, on one core. `bytes` is what has
been measured of the model itself: tensors in memory for torch and the NumPy stream, the file
for ONNX, the compiled object (code and constants, gcc -Os) for C.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from memkd_sklearn.deploy import CompiledStudent, Stream, Student, to_c, to_onnx
from memkd_sklearn.network import RecurrentNetwork

SIZES = {"teacher": {"hidden_size": 100, "n_layers": 3}, "student": {"hidden_size": 8}}


def fastest(step, n_steps, repeats=5):
    """Microseconds a step, in the fastest of several runs: the others were disturbed."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step(n_steps)
        times.append((time.perf_counter() - start) / n_steps)
    return min(times) * 1e6


def in_torch(network, student, folder, n_steps):
    x = torch.zeros(1, 1, 1)

    def step(n):
        state = None
        with torch.inference_mode():
            for _ in range(n):
                output, state = network.recurrent(x, state)
                torch.softmax(network.head(output[:, -1]), dim=1)

    return sum(p.numel() * p.element_size() for p in network.parameters()), fastest(step, n_steps)


def in_onnxruntime(network, student, folder, n_steps):
    import onnxruntime

    path = folder / "model.onnx"
    to_onnx(student, path, streaming=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()][1:]
    zero = np.zeros((student.n_layers, 1, student.hidden_size), np.float32)
    x = np.zeros((1, 1, 1), np.float32)

    def step(n):
        state = dict.fromkeys(names, zero)
        for _ in range(n):
            _, *after = session.run(None, {"x": x, **state})
            state = dict(zip(names, after, strict=True))

    return path.stat().st_size, fastest(step, n_steps)


def in_numpy(network, student, folder, n_steps):
    stream, x = Stream(student), np.zeros(1)

    def step(n):
        for _ in range(n):
            stream.update(x)

    n_bytes = sum(layer.weights.nbytes for layer in student.layers())
    return n_bytes + 2 * sum(array.nbytes for array in student.head), fastest(step, n_steps)


def in_c(dtype):
    def measure(network, student, folder, n_steps):
        path = folder / "model.c"
        to_c(student, path, dtype=dtype, name="model")
        compiled = CompiledStudent(path)
        out = folder / "model.o"
        subprocess.run(["gcc", "-std=c99", "-Os", "-c", path, "-o", out], check=True)
        sections = subprocess.run(["size", out], capture_output=True, text=True, check=True).stdout
        text, data = (int(word) for word in sections.splitlines()[1].split()[:2])
        # A step in C is far below the cost of a call from Python: it gets a long series.
        microseconds = fastest(lambda n: compiled.predict_proba(np.zeros((1, 1, n))), 20 * n_steps)
        return text + data, microseconds

    return measure


RUNTIMES = {
    "torch": in_torch,
    "onnxruntime": in_onnxruntime,
    "NumPy stream": in_numpy,
    "C float32": in_c("float32"),
    "C int8": in_c("int8"),
}


def build(cell, size):
    """A network with the weights that training starts from: they cost what trained ones do."""
    torch.manual_seed(0)
    network = RecurrentNetwork(1, n_classes=2, cell=cell, **size).eval()
    student = Student(
        cell, network.arrays(), np.zeros(1), np.ones(1), np.array(["a", "b"]), peak=np.full(1, 4.0)
    )
    return network, student


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", default="lstm", choices=["lstm", "gru", "rnn"])
    parser.add_argument("--steps", type=int, default=500, help="time steps of each run")
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, footprints = [], {}
    for model, size in SIZES.items():
        network, student = build(options.cell, size)
        footprints[model] = student.footprint
        for runtime, measure in RUNTIMES.items():
            if (model, runtime) == ("teacher", "C int8"):
                continue  # the teacher stays where memory is not scarce
            with tempfile.TemporaryDirectory() as folder:
                n_bytes, microseconds = measure(network, student, Path(folder), options.steps)
            rows.append(
                {"model": model, "runtime": runtime, "bytes": n_bytes, "microseconds": microseconds}
            )
    print(f"{'model':10}{'runtime':16}{'bytes':>10}{'us a step':>12}")
    for row in rows:
        print("{model:10}{runtime:16}{bytes:>10}{microseconds:>12.2f}".format(**row))
    found = {(row["model"], row["runtime"]): row for row in rows}
    ratios = {
        name: footprints["teacher"][name] / footprints["student"][name]
        for name in ("parameters", "state_bytes")
    }
    for runtime in ("torch", "C float32"):
        teacher, student = found["teacher", runtime], found["student", runtime]
        for name in ("bytes", "microseconds"):
            ratios[f"{name}, {runtime}"] = teacher[name] / student[name]
    teacher, student = found["teacher", "torch"], found["student", "C int8"]
    for name in ("bytes", "microseconds"):
        ratios[f"{name}, teacher in torch, student in C int8"] = teacher[name] / student[name]
    print("\nteacher / student")
    for name, ratio in ratios.items():
        print(f"{name:48}{ratio:>10.1f}")
    if options.json:
        results = {"cell": options.cell, "rows": rows, "footprints": footprints, "ratios": ratios}
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
