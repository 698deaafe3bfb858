"""Small students of every cell, trained for seconds on data that aeon ships."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from memkd_sklearn.deploy import Student, input_peak
from memkd_sklearn.network import RecurrentNetwork

KINDS = {
    "lstm": ("italy", "lstm", 1),
    "gru": ("gunpoint", "gru", 1),
    "stack": ("motions", "lstm", 2),
    "gru stack": ("motions", "gru", 2),
    "rnn": ("italy", "rnn", 1),
}


@dataclass
class Trained:
    """A student, the torch network it came from, and a test split."""

    student: Student
    network: RecurrentNetwork
    X: np.ndarray
    y: np.ndarray

    def proba(self, X):
        """Class probabilities as PyTorch computes them, in float64."""
        z = (X - self.student.mean[:, None]) / self.student.scale[:, None]
        with torch.no_grad():
            scores = copy.deepcopy(self.network).double()(torch.from_numpy(np.swapaxes(z, 1, 2)))[0]
        return torch.softmax(scores, dim=1).numpy()


def train(data, cell, n_layers, n_steps=150):
    X, y, X_test, y_test = data
    # Off the zero mean and unit scale of the archive, so that standardisation matters.
    X, X_test = 40 + 7 * X, 40 + 7 * X_test
    # As C and ONNX read them: what float32 rounds off an input is not theirs to answer for.
    X_test = X_test.astype(np.float32).astype(float)
    classes, target = np.unique(y, return_inverse=True)
    mean, scale = X.mean(axis=(0, 2)), X.std(axis=(0, 2))
    z = (X - mean[:, None]) / scale[:, None]
    x = torch.from_numpy(np.swapaxes(z, 1, 2).astype(np.float32))
    rng = np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = RecurrentNetwork(X.shape[1], 8, len(classes), n_layers, cell)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.03, total_steps=n_steps)
    for _ in range(n_steps):
        batch = rng.integers(len(x), size=16)
        loss = torch.nn.functional.cross_entropy(
            network(x[batch])[0], torch.from_numpy(target[batch])
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    network.eval()
    student = Student(cell, network.arrays(), mean, scale, classes, input_peak(X, mean, scale))
    return Trained(student, network, X_test, y_test)


@pytest.fixture(scope="session")
def all_trained(italy, gunpoint, motions):
    data = {"italy": italy, "gunpoint": gunpoint, "motions": motions}
    return {kind: train(data[name], *spec) for kind, (name, *spec) in KINDS.items()}


@pytest.fixture(params=list(KINDS))
def trained(request, all_trained):
    """Each of the students in turn."""
    return all_trained[request.param]


@pytest.fixture
def lstm(all_trained):
    """The 370-parameter student."""
    return all_trained["lstm"]


@pytest.fixture
def untouchable(tmp_path):
    """Paths that cannot be written, in a folder that must stay as it is."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    yield [tmp_path / "absent" / "x", tmp_path / "folder", tmp_path / "file" / "x"]
    assert sorted(tmp_path.rglob("*")) == before
