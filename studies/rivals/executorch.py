"""The student as an ExecuTorch program of one time point, on its portable kernels."""

from importlib.metadata import version
from pathlib import Path

import torch

from . import microseconds
from .pytorch import Step


def measure(task, folder):
    import executorch
    from executorch.exir import to_edge
    from executorch.runtime import Runtime

    # One tensor a state: exporting takes one given twice for the same argument.
    zero = tuple(torch.zeros(1, 1, task.student.hidden_size) for _ in range(task.states))
    x = torch.zeros(1, 1, task.student.n_channels)
    exported = torch.export.export(Step(task.student).eval(), (x, *zero))
    program = to_edge(exported).to_executorch()
    plan = program.executorch_program.execution_plan[0]
    method = Runtime.get().load_program(program.buffer).load_method("forward")

    def run(series):
        state = zero
        for reading in series.T:
            proba, *state = method.execute((torch.from_numpy(reading[None, None]), *state))
        return proba

    libraries = ["libexecutorch.so", "libexecutorch_kernels_optimized.so"]
    folder = Path(executorch.__path__[0]) / "lib"
    yield task.row(
        f"ExecuTorch {version('executorch')}, float32",
        torch.cat([run(series) for series in task.X]).numpy(),
        where="x86-64",
        flash=len(program.buffer),
        library=sum((folder / name).stat().st_size for name in libraries),
        ram=sum(plan.non_const_buffer_sizes),
        time=microseconds(lambda: run(task.X[0]), task.X.shape[2]),
        unit="us a step",
        streaming=True,
    )
