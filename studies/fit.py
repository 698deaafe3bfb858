"""Epochs of a student: MemKD against labels only, a plain PyTorch loop and plain skorch.

All train the same student (8 LSTM units) of the same 3 x 100 teacher, hardly trained (what it
knows does not matter here), on GunPoint's 200 series resized to 100 time points, in batches of
32, on one thread. "plain" are PyTorch's own layers and the usual distillation loop, which
runs the teacher on every batch; "plain skorch" is the same behind skorch's NeuralNet. Times
are minima over repetitions, taken in turns; then whole fits and predictions.

    python studies/fit.py --json fit.json
"""

import argparse
import json
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from aeon.classification.convolution_based import MiniRocketClassifier
from aeon.datasets import load_gunpoint, load_italy_power_demand
from aeon.transformations.collection.unequal_length import Resizer
from sklearn.base import clone
from skorch import NeuralNet
from torch.nn.functional import cross_entropy, smooth_l1_loss

from memkd_sklearn import MemKDClassifier, RecurrentClassifier
from memkd_sklearn.benchmark.comparison import label_only_twin
from memkd_sklearn.losses.memory import draw_subsequences, memory_ratio
from memkd_sklearn.network import RecurrentNetwork

BATCH_SIZE = 32


def plain_loss(student, teacher, x, y, rng):
    """Cross-entropy and, with a teacher, the memory discrepancy, as one would write it."""
    logits, states = student(x)
    loss = cross_entropy(logits, y)
    if teacher is None:
        return loss
    with torch.no_grad():
        memory = teacher(x)[1]
    n_timepoints = x.shape[1]
    time_ = torch.arange(n_timepoints)
    for pairs in ((time_[:-1], time_[1:]), draw_subsequences(n_timepoints, 100, rng)):
        loss = loss + smooth_l1_loss(memory_ratio(states, *pairs), memory_ratio(memory, *pairs))
    return loss


def plain_epochs(x, y, teacher, n_epochs, batch_size=BATCH_SIZE):
    student = RecurrentNetwork(1, 8, 2, backend="torch")
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01, weight_decay=1e-5)
    data = torch.utils.data.TensorDataset(x, y)
    rng = torch.Generator().manual_seed(0)
    for _ in range(n_epochs):
        for batch in torch.utils.data.DataLoader(data, batch_size, shuffle=True):
            optimizer.zero_grad()
            plain_loss(student, teacher, *batch, rng).backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()


def skorch_epochs(x, y, teacher, n_epochs, batch_size=BATCH_SIZE):
    class Net(NeuralNet):
        def train_step_single(self, batch, **fit_params):
            self.module_.train()
            loss = plain_loss(self.module_, teacher, *batch, rng)
            loss.backward()
            return {"loss": loss, "y_pred": loss}

    rng = torch.Generator().manual_seed(0)
    net = Net(
        RecurrentNetwork(1, 8, 2, backend="torch"),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        max_epochs=n_epochs,
        batch_size=batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    net.fit(x, y)


def estimator_epochs(X, y, estimator, n_epochs):
    fitted = estimator.set_params(n_epochs=n_epochs).fit(X, y)
    is_taught = "train_short" in fitted.history_[0]
    assert is_taught == isinstance(estimator, MemKDClassifier), "the teacher was not copied"


def epoch_ms(runs, n_epochs=(2, 12), repeats=5):
    """Milliseconds an epoch of each run: what further epochs add, the least of the repetitions."""
    best = {name: [np.inf, np.inf] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            for which, n in enumerate(n_epochs):
                began = time.perf_counter()
                run(n)
                best[name][which] = min(best[name][which], time.perf_counter() - began)
    few, many = n_epochs
    return {name: 1e3 * (long - short) / (many - few) for name, (short, long) in best.items()}


def seconds(call, repeats=5):
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def predictions(teacher, student, X, y):
    """Microseconds a series, of one alone and of a thousand together."""
    thousand = np.concatenate([X] * 5)
    calls = {
        "student": student.predict_proba,
        "teacher": teacher.predict_proba,
        "MiniRocket (predict)": MiniRocketClassifier(random_state=0).fit(X, y).predict,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "student.onnx")
        student.to_onnx(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options)
    name = session.get_inputs()[0].name
    calls["student, onnxruntime"] = lambda X: session.run(None, {name: X.astype(np.float32)})
    return {
        name: {
            "one": 1e6 * seconds(lambda call=call: call(X[:1]), 20),
            "thousand": 1e3 * seconds(lambda call=call: call(thousand)),
        }
        for name, call in calls.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the numbers to this file")
    parser.add_argument("--short", action="store_true", help="fewer repetitions")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    splits = map(load_gunpoint, ("train", "test"))
    X, y = (np.concatenate(parts) for parts in zip(*splits, strict=True))
    X200, y200 = X, y = Resizer(100).fit_transform(X), y
    teacher = RecurrentClassifier(n_epochs=1, random_state=0).fit(X, y)
    params = {"hidden_size": 8, "cell": "lstm", "synthetic": 0, "batch_size": BATCH_SIZE}
    params |= {"n_init": 1, "early_stopping": False, "random_state": 0}
    student = MemKDClassifier(teacher, soft_target_weight=0, **params)
    x = torch.from_numpy(X.transpose(0, 2, 1)).float().contiguous()
    target = torch.from_numpy(np.unique(y, return_inverse=True)[1])
    network = teacher.network_
    ours = {
        "labels only": partial(estimator_epochs, X, y, label_only_twin(student)),
        "MemKD": partial(estimator_epochs, X, y, student),
        "MemKD, all subsequences": partial(
            estimator_epochs, X, y, clone(student).set_params(n_subsequences="all")
        ),
    }
    plain = {
        "plain loop, labels only": partial(plain_epochs, x, target, None),
        "plain loop, teacher in it": partial(plain_epochs, x, target, network),
        "plain skorch, teacher in it": partial(skorch_epochs, x, target, network),
    }
    repeats = 2 if args.short else 5
    # Ours take more epochs, beside which the time that the teacher reads does not vary.
    epochs = epoch_ms(ours, (10, 110), repeats) | epoch_ms(plain, repeats=repeats)
    print("An epoch of 200 series of 100 time points, in batches of 32\n")
    print(f"{'':30}{'ms':>9}{'/ MemKD':>9}")
    for name, ms in epochs.items():
        print(f"{name:30}{ms:9.2f}{ms / epochs['MemKD']:9.2f}")

    X, y = load_italy_power_demand(split="train")
    small = RecurrentClassifier(
        8, 1, "lstm", synthetic=0, n_init=1, learning_rate=0.01, random_state=0
    )
    italy = epoch_ms({"labels only": partial(estimator_epochs, X, y, small)}, (10, 110))
    print(f"\nAn epoch of ItalyPowerDemand's 67 series, labels only: {italy['labels only']:.2f} ms")
    predict = predictions(teacher, student.set_params(n_epochs=2).fit(X200, y200), X200, y200)
    print("\nPredicting class probabilities, microseconds a series\n")
    print(f"{'':30}{'one series':>14}{'a thousand':>14}")
    for name, cells in predict.items():
        print(f"{name:30}{cells['one']:14.1f}{cells['thousand']:14.2f}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(
                {"epoch_ms": epochs, "italy_epoch_ms": italy, "predict_us": predict}, file, indent=1
            )


if __name__ == "__main__":
    main()
