import json
import os
import resource
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save as to_bytes

from memkd_sklearn import RecurrentClassifier
from memkd_sklearn.deploy import BundleError, bundle, load, save

PARAMS = {"hidden_size": 8, "temperature": 4.0, "class_weight": {"a": 2}, "device": None}


@pytest.fixture
def path(lstm, tmp_path):
    save(tmp_path / "x.safetensors", lstm.student, "MemKDClassifier", PARAMS)
    return tmp_path / "x.safetensors"


def same(a, b):
    return (
        a.cell == b.cell
        and set(a.arrays) == set(b.arrays)
        and all(np.array_equal(a.arrays[name], b.arrays[name]) for name in a.arrays)
        and np.array_equal(a.mean, b.mean)
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.classes, b.classes)
        and a.classes.dtype == b.classes.dtype
    )


def test_reloaded_bit_for_bit(trained, tmp_path):
    save(tmp_path / "x", trained.student, "MemKDClassifier", PARAMS)
    student, estimator, params = load(tmp_path / "x")
    assert same(student, trained.student)
    assert (estimator, params) == ("MemKDClassifier", PARAMS)
    again = replace(trained, network=trained.network.load_arrays(student.arrays))
    assert np.array_equal(again.proba(trained.X), trained.proba(trained.X))
    assert np.array_equal(student.peak, trained.student.peak)


def test_the_same_student_makes_the_same_file(path, lstm):
    for n in range(5):
        save(path.with_name(str(n)), lstm.student, "MemKDClassifier", PARAMS)
        assert path.with_name(str(n)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", [str, os.fsencode])
def test_paths_of_any_kind(path, lstm, kind):
    assert same(load(kind(path))[0], lstm.student)
    save(kind(path.with_name("again")), lstm.student, "MemKDClassifier", PARAMS)
    assert path.with_name("again").read_bytes() == path.read_bytes()


def test_a_few_kilobytes_and_no_pickle(path):
    content = path.read_bytes()
    assert len(content) < 6000
    (length,) = struct.unpack("<Q", content[:8])
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    described = json.loads(metadata["student"])
    assert metadata["format_version"] == "1"
    assert {"python", "numpy", "torch", "memkd_sklearn"} <= set(described["versions"])


def test_a_peak_may_be_absent(lstm, tmp_path):
    save(tmp_path / "x", replace(lstm.student, peak=None), "MemKDClassifier", {})
    assert load(tmp_path / "x")[0].peak is None


def test_weights_in_any_order_of_memory_come_back(lstm, tmp_path):
    arrays = {name: np.asfortranarray(array) for name, array in lstm.student.arrays.items()}
    assert not arrays["head.weight"].flags.c_contiguous
    save(tmp_path / "x", replace(lstm.student, arrays=arrays), "MemKDClassifier", {})
    assert same(load(tmp_path / "x")[0], lstm.student)


@pytest.mark.parametrize(
    "classes",
    [
        np.array(["a", 'longer é\0\n"\\']),
        np.array(["\ud800", "b"]),
        np.array(["a", "b"], dtype="<U9"),
        np.array(["a", "b"], dtype=object),
        np.array([3, -7]),
        np.array([2**63 - 1, 0]),
        np.array([1, 2], dtype=np.uint8),
        np.array([False, True]),
        np.array([0.1, 1e-300]),
        np.array([0.1, 2], dtype=np.float32),
    ],
)
def test_labels_keep_their_dtype(lstm, tmp_path, classes):
    save(tmp_path / "x", replace(lstm.student, classes=classes), "MemKDClassifier", {})
    found = load(tmp_path / "x")[0].classes
    assert found.dtype == classes.dtype
    assert found.tolist() == classes.tolist()


def test_parameters_that_json_lacks(lstm, tmp_path):
    with pytest.raises(ValueError, match="Got parameter loss="):
        save(tmp_path / "x", lstm.student, "DistillationClassifier", {"loss": object()})
    assert not list(tmp_path.iterdir())


def test_unwritable_paths_leave_nothing(lstm, untouchable):
    for path in untouchable:
        with pytest.raises(OSError, match=str(path)):
            save(path, lstm.student, "MemKDClassifier", {})


def test_a_failed_write_keeps_the_old_file(path, lstm, monkeypatch):
    before = path.read_bytes()

    def full(file):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(path, lstm.student, "MemKDClassifier", {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent")
    with pytest.raises(OSError):
        load(tmp_path)


def test_foreign_files(tmp_path):
    path = tmp_path / "x"
    for content in (b"", b"PK\3\4", b"\x80\x04K\x01.", b"{}", b"\0" * 5000):
        path.write_bytes(content)
        with pytest.raises(BundleError, match="no safetensors file or a damaged one"):
            load(path)
    path.write_bytes(to_bytes({"weight": np.zeros(3, np.float32)}))
    with pytest.raises(BundleError, match="memkd_sklearn classifier saved"):
        load(path)


def test_newer_format(path, monkeypatch, lstm):
    monkeypatch.setattr("memkd_sklearn.deploy.bundle.FORMAT_VERSION", 2)
    save(path, lstm.student, "MemKDClassifier", {})
    monkeypatch.undo()
    with pytest.raises(BundleError, match="a newer memkd_sklearn may read it"):
        load(path)


def test_truncated_anywhere(path):
    content = path.read_bytes()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(BundleError):
            load(path)


def test_thousands_of_mutations_never_load_wrong(path, lstm):
    content, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(4000):
        mutant = bytearray(content)
        kind = rng.integers(4)
        # Half of the changes fall in the header, where the structure is.
        start = int(rng.integers(len(content) if rng.random() < 0.5 else 1500))
        if kind == 0:
            mutant[start] ^= 1 << rng.integers(8)
        elif kind == 1:
            mutant[start : start + 8] = rng.bytes(8)
        elif kind == 2:
            del mutant[start : start + rng.integers(1, 40)]
        else:
            mutant[start:start] = rng.bytes(rng.integers(1, 40))
        path.write_bytes(mutant)
        try:
            student, estimator, params = load(path)
        except BundleError:
            refused += 1
        else:
            # Only what the format leaves free, such as white space, may change.
            assert same(student, lstm.student)
            assert (estimator, params) == ("MemKDClassifier", PARAMS)
    assert refused > 3900


def forged(path, change):
    """A file whose checksum is right and whose description is not."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    described = json.loads(metadata["student"])
    change(described, tensors)
    metadata["student"] = described if isinstance(described, str) else json.dumps(described)
    metadata["sha256"] = bundle._digest(metadata["student"], tensors)
    path.write_bytes(to_bytes(tensors, metadata))


@pytest.mark.parametrize(
    "change",
    [
        lambda d, t: d.clear(),
        lambda d, t: d.update(cell="elman"),
        lambda d, t: d.update(cell="gru"),
        lambda d, t: d.update(cell=[]),
        lambda d, t: d.update(estimator=3),
        lambda d, t: d.update(params=[1]),
        lambda d, t: d.update(classes="ab"),
        lambda d, t: d.update(classes=[["1"], ["2"]]),
        lambda d, t: d.update(classes=["1", "2", "3"]),
        lambda d, t: d.update(classes=[1, 10**400], classes_dtype="<i8"),
        lambda d, t: d.update(classes_dtype="<U2000000000"),
        lambda d, t: d.update(classes=[""] * 60000),
        lambda d, t: d.update(classes_dtype="O,O"),
        lambda d, t: d.update(classes_dtype="<M8[s]"),
        lambda d, t: d.update(classes_dtype="nonsense"),
        lambda d, t: d.update(classes_dtype="<i8"),
        lambda d, t: t.pop("mean"),
        lambda d, t: t.pop("head.bias"),
        lambda d, t: t.update(peak=np.zeros(2)),
        lambda d, t: t.update(peak=np.full(1, -1.0)),
        lambda d, t: t.update({"calibration.peak": np.ones(1)}),
        lambda d, t: t.update(scale=np.zeros(1)),
        lambda d, t: t.update(mean=np.full(1, np.nan)),
        lambda d, t: t.update({"recurrent.weight_ih_l0": np.zeros((0, 1), np.float32)}),
        lambda d, t: t.update({"recurrent.weight_ih_l1": np.zeros((32, 8), np.float32)}),
        lambda d, t: t.update({"recurrent.weight_ih_l9": np.zeros((32, 8), np.float32)}),
    ],
)
def test_hostile_descriptions(path, change):
    forged(path, change)
    with pytest.raises(BundleError, match="describes no valid student"):
        load(path)


def test_nested_beyond_reason(path, monkeypatch):
    text = "[" * 100000
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    metadata |= {"student": text, "sha256": bundle._digest(text, tensors)}
    path.write_bytes(to_bytes(tensors, metadata))
    with pytest.raises(BundleError, match="describes no valid student"):
        load(path)


def test_wide_labels_take_no_memory(path):
    def change(described, tensors):
        described |= {"classes": [""] * 60000, "classes_dtype": "<U65536"}
        tensors |= {
            "head.weight": np.zeros((60000, 8), np.float32),
            "head.bias": np.zeros(60000, np.float32),
        }

    forged(path, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match="describes no valid student"):
        load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize("shape", [[2**40], [0, 2**62], [2**32, 2**32], [1]])
def test_claimed_sizes_take_no_memory(tmp_path, shape):
    metadata = {"format": bundle.FORMAT, "format_version": "1", "student": "{}", "sha256": ""}
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 if shape == [1] else 2**42]}
    header = json.dumps({"__metadata__": metadata, "mean": tensor}).encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for length in (len(header), 2**40, 2**63):
        (tmp_path / "x").write_bytes(struct.pack("<Q", length) + header + b"\0\0\0\0")
        with pytest.raises(BundleError):
            load(tmp_path / "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_file_of_format_1_is_read_for_good():
    """Of every format that was released, a file stays here; this test does not change with it."""
    classifier = RecurrentClassifier.load(Path(__file__).with_name("format-1.safetensors"))
    X = np.random.default_rng(0).normal(size=(12, 2, 15)).cumsum(axis=2)[:2]
    expected = [
        [0.324464322528624, 0.4078619644382825, 0.26767371303309356],
        [0.3864563253501767, 0.38765691941509134, 0.225886755234732],
    ]
    assert classifier.classes_.tolist() == ["moving", "still", "é"]
    assert np.allclose(classifier.predict_proba(X), expected, rtol=0, atol=1e-9)
    assert (classifier.hidden_size, classifier.n_layers, classifier.cell) == (3, 2, "lstm")
    assert classifier.predict(X).tolist() == ["still", "still"]


# Reads a student while another process empties its file, as soon as the header has been read.
READER = """
import subprocess, sys
from memkd_sklearn.deploy import bundle

def check(path, metadata):
    subprocess.run([sys.executable, "-c", f"open({path!r}, 'wb')"], check=True)

bundle._check_format = check
print(bundle.load(sys.argv[1])[0].labels)
"""


def test_a_file_that_shrinks_while_it_is_read_is_read_whole(path, lstm):
    command = [sys.executable, "-c", READER, str(path)]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert (shown.returncode, shown.stdout.strip()) == (0, str(lstm.student.labels))
    assert path.stat().st_size == 0


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="a device or a pipe, but expected a file"):
        load(tmp_path / "pipe")
