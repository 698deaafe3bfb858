"""The student on PyTorch's own layers, a time point at a time."""

import torch

from . import microseconds


class Step(torch.nn.Module):
    """PyTorch's own layers, which take and return the state."""

    def __init__(self, student):
        super().__init__()
        layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[student.cell]
        self.recurrent = layer(student.n_channels, student.hidden_size, batch_first=True)
        self.head = torch.nn.Linear(student.hidden_size, student.n_classes)
        arrays = {name: torch.from_numpy(array) for name, array in student.arrays.items()}
        self.load_state_dict(arrays)
        self.mean = torch.from_numpy(student.mean).float()
        self.scale = torch.from_numpy(student.scale).float()

    def forward(self, x, *state):
        z = (x - self.mean) / self.scale
        states, state = self.recurrent(z, state if len(state) == 2 else state[0])
        state = state if isinstance(state, tuple) else (state,)
        return torch.softmax(self.head(states[:, -1]), dim=1), *state


@torch.inference_mode()
def measure(task, folder):
    network = Step(task.student).eval()

    def run(X):
        state = (torch.zeros(task.student.n_layers, len(X), task.student.hidden_size),)
        state *= task.states
        for t in range(X.shape[2]):
            proba, *state = network(torch.from_numpy(X[:, None, :, t]), *state)
        return proba.numpy()

    yield task.row(
        f"PyTorch {torch.__version__.split('+')[0]}, float32",
        run(task.X),
        where="x86-64",
        flash=task.student.footprint["weight_bytes"],
        library=None,
        ram=None,
        time=microseconds(lambda: run(task.X[:1]), task.X.shape[2]),
        unit="us a step",
        streaming=True,
    )
