"""Torch's global state: a user's settings stay outside and come back, and no pool is started."""

import contextlib
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from conftest import tiny

from memkd_sklearn import DistillationClassifier, MemKDClassifier, RecurrentClassifier
from memkd_sklearn._torch_state import neutral_torch
from memkd_sklearn.losses import DT2W, FitNet, RelationalDistillation
from memkd_sklearn.teachers import TorchTeacher


def test_threads_are_restored_also_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="inside"), neutral_torch(before + 2):
        assert torch.get_num_threads() == before + 2
        with neutral_torch(before + 1):
            assert torch.get_num_threads() == before + 1
            with neutral_torch(None):
                assert torch.get_num_threads() == before + 1
        assert torch.get_num_threads() == before + 2
        raise RuntimeError("inside")
    assert torch.get_num_threads() == before


def test_threads_are_restored_by_whichever_block_ends_last():
    before = torch.get_num_threads()
    entered, leave, seen = threading.Event(), threading.Event(), []

    def other():
        with neutral_torch(before + 1):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with neutral_torch(before + 3):
        thread.start()
        entered.wait()
    leave.set()
    thread.join()
    fresh = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    fresh.start()
    fresh.join()
    assert seen == [torch.get_num_threads()] == [before]


def test_settings_of_a_user_are_outside():
    with torch.inference_mode(), torch.autocast("cpu"), torch.device("meta"), neutral_torch():
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        assert torch.empty(1).device == torch.device("cpu")
    with torch.no_grad(), neutral_torch():
        assert torch.is_grad_enabled()
    with neutral_torch(device="meta"):
        assert torch.empty(1).device == torch.device("meta")


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS = {
    "meta by default": lambda: default_device("meta"),
    "cuda by default": lambda: default_device("cuda"),
    "meta in a block": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "deterministic": deterministic,
}


def state():
    """All that a fit could leave behind in this thread."""
    return {
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random": torch.get_rng_state().sum(),
        "made on": torch.empty(0).device if torch.cuda.is_available() else None,
    }


@pytest.fixture(scope="module")
def module():
    net = torch.nn.Sequential(
        torch.nn.Conv1d(1, 4, 3), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten()
    ).append(torch.nn.Linear(4, 2))
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.linspace(-1, 1, weight.numel()).view_as(weight))
    return net


def results(module, italy, folder):
    """Results of each entry: fits on every path of training, all ways out, and a torch module."""
    X, y = italy[0][:30], italy[1][:30]
    uneven = [series[:, : 18 + i % 7] for i, series in enumerate(X)]
    quick = {"n_epochs": 1, "random_state": 0}
    teacher = tiny().fit(X, y)
    compiled = MemKDClassifier(teacher, soft_target_weight=0.5, **quick).fit(X, y)
    loss = FitNet() + DT2W() + RelationalDistillation()
    stepwise = DistillationClassifier(teacher, loss, 4, cell="rnn", **quick).fit(X, y)
    longer = quick | {"n_epochs": 40, "learning_rate": 0.01, "synthetic": 0}
    wide = RecurrentClassifier(32, 1, "gru", n_jobs=2, **longer).fit(uneven, y)
    taught = MemKDClassifier(wide, n_jobs=2, class_weight="balanced", **quick).fit(uneven, y)
    for classifier, series in [
        *((one, X) for one in (teacher, compiled, stepwise)),
        *((one, uneven) for one in (wide, taught)),
    ]:
        yield classifier.predict_proba(series)
        yield from classifier.hidden_states(series)
    compiled.save(folder / "file")
    yield MemKDClassifier.load(folder / "file").predict_proba(X)
    yield pickle.loads(pickle.dumps(compiled)).predict_proba(X)
    for dtype in ("float32", "int8"):
        compiled.to_c(folder / "student.c", dtype=dtype)
        yield np.frombuffer((folder / "student.c").read_bytes(), np.uint8)
    compiled.to_onnx(folder / "graph")
    stream = compiled.stream()
    yield np.array([stream.update(x_t) for x_t in X[0].T])
    of_module = TorchTeacher(module, classes=["1", "2"])
    yield of_module.predict_proba(X)
    yield of_module.hidden_states(X)


@pytest.fixture(scope="module")
def plain(module, italy, tmp_path_factory):
    return list(results(module, italy, tmp_path_factory.mktemp("plain")))


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_leaks_in_or_out(name, plain, module, italy, tmp_path):
    pytest.importorskip("onnx")
    outside = state()
    with SETTINGS[name]():
        before = state()
        found = list(results(module, italy, tmp_path))
        assert state() == before
    assert state() == outside
    for ours, theirs in zip(found, plain, strict=True):
        assert np.array_equal(ours, theirs)


def test_fits_in_threads_leave_the_number_of_threads(italy):
    X, y = italy[:2]
    before = torch.get_num_threads()

    def fit(seed):
        for n_jobs in (1, 2):
            tiny(n_epochs=1, n_jobs=n_jobs, random_state=seed).fit(X, y).predict(X)

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = []
    fresh = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    fresh.start()
    fresh.join()
    assert seen == [torch.get_num_threads()] == [before]


FORKS = """
import faulthandler, os, signal, sys, tempfile
import numpy as np
from aeon.datasets import load_italy_power_demand
from memkd_sklearn import DistillationClassifier, MemKDClassifier, RecurrentClassifier
from memkd_sklearn.losses import FitNet

X, y = load_italy_power_demand(split="train")
many = np.tile(load_italy_power_demand(split="test")[0], (1, 1, 4))
folder = tempfile.mkdtemp()
quick = {"n_epochs": 1, "random_state": 0}

def n_threads():
    return len(os.listdir("/proc/self/task"))

def check(name, call, *, is_quiet=True):
    before = n_threads()
    result = call()
    assert n_threads() == before or not is_quiet, f"{name} started {n_threads() - before} threads"
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(170)  # where it hangs
        signal.alarm(180)  # its default ends the process
        student.predict_proba(many), student.hidden_states(many), student.stream().update([0.0])
        student.save(os.path.join(folder, "child"))
        MemKDClassifier(teacher, n_init=1, n_jobs=2, **quick).fit(X, y)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"a child after {name} ended with {status}, {-signal.SIGALRM} if it hung"
    return result

teacher = RecurrentClassifier(12, 2, **quick).fit(many[:300], np.arange(300) % 2)
teacher = RecurrentClassifier(12, 2, **quick | {"n_epochs": 15}).fit(X, y)
student = MemKDClassifier(teacher, **quick).fit(X, y)
check("what was fitted above", lambda: None)
for name in ("predict", "predict_proba", "hidden_states"):
    check(f"a teacher's {name}", lambda: getattr(teacher, name)(many))
    check(f"a student's {name}", lambda: getattr(student, name)(many))
check("score", lambda: student.score(X, y))
check("save", lambda: student.save(folder + "/file"))
check("load", lambda: MemKDClassifier.load(folder + "/file").predict(many))
check("to_c", lambda: student.to_c(folder + "/c"))
check("to_c in int8", lambda: student.to_c(folder + "/c", dtype="int8"))
check("stream", lambda: student.stream().update([0.0]))
labels = np.arange(len(many)) % 2
for kind in (lambda: RecurrentClassifier(100, 3, **quick), lambda: RecurrentClassifier(9, 1, "gru"),
             lambda: RecurrentClassifier(5, 1, "rnn")):
    check("the fit of a large set", lambda: kind().set_params(**quick).fit(many[:400], labels[:400]))
check("MemKD", lambda: MemKDClassifier(teacher, **quick).fit(X, y))
check("FitNet", lambda: DistillationClassifier(teacher, FitNet(), **quick).fit(X, y))
# Several threads in the parent, and a child that has none of them.
for n_init in (1, 3):
    params = {"n_jobs": 2, "n_init": n_init} | quick
    check("n_jobs=2", lambda: RecurrentClassifier(100, 2, **params).fit(X, y), is_quiet=False)
print("done")
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted on Linux")
def test_no_pool_of_threads_is_started_and_children_of_a_fork_go_on():
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    result = subprocess.run(
        [sys.executable, "-c", FORKS],
        env=environment | {"OMP_NUM_THREADS": "4", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
    )
    assert result.stdout.endswith("done\n"), result.stderr
