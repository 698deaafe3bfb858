"""One safetensors file that holds a student, and nothing that could run."""

import hashlib
import json
import os
import platform
import sys
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from memkd_sklearn._files import read_whole, write_whole
from memkd_sklearn._types import StrPath
from memkd_sklearn.deploy.student import Student

__all__ = ["BundleError", "load", "save"]

FORMAT = "memkd_sklearn student"
FORMAT_VERSION = 1
STATISTICS = ("mean", "scale", "peak")
# Bytes of all labels: a dtype as wide as a file claims could ask for any amount of memory.
LARGEST_LABELS = 2**24
# A damaged file shows as any of these: its reader promises no one kind.
DAMAGE = (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class BundleError(ValueError):
    """A file that holds no readable student."""


def save(path: StrPath, student: Student, estimator: str, params: dict[str, Any]) -> None:
    """Write a student to one safetensors file.

    Parameters
    ----------
    path : path-like
        File to write or replace; on any error it stays as it was.
    student : Student
        The classifier.
    estimator : str
        Name of the class that it was fitted with.
    params : dict
        That class's constructor arguments, of kinds that JSON holds.

    Raises
    ------
    ValueError
        If an argument is of another kind, or there is a device or a pipe of that name.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from memkd_sklearn.deploy import Student, load, save
    >>> from memkd_sklearn.network import RecurrentNetwork
    >>> network = RecurrentNetwork(n_channels=1, hidden_size=8, n_classes=2)
    >>> student = Student(
    ...     cell=network.cell, arrays=network.arrays(), mean=np.zeros(1), scale=np.ones(1),
    ...     classes=np.array(["still", "moving"]),
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/student.safetensors", student, "MemKDClassifier", {"hidden_size": 8})
    ...     again, estimator, params = load(f"{folder}/student.safetensors")
    >>> estimator, params, again.labels
    ('MemKDClassifier', {'hidden_size': 8}, ['still', 'moving'])
    """
    for name, value in params.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"Got parameter {name}={value!r}, but expected a kind of value that JSON holds."
            ) from None
    description = {
        "estimator": estimator,
        "params": params,
        "cell": student.cell,
        "classes": student.classes.tolist(),
        "classes_dtype": student.classes.dtype.str,
        "versions": _versions(),
    }
    tensors = student.arrays | {name: getattr(student, name) for name in STATISTICS}
    tensors = {name: np.ascontiguousarray(a) for name, a in tensors.items() if a is not None}
    text = json.dumps(description)
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "student": text,
        "sha256": _digest(text, tensors),
    }
    write_whole(path, _in_order(to_bytes(tensors, metadata)))


def _in_order(content):
    """Sort the header, which comes in any order: the same student makes the same file."""
    header, end = _header(content)
    header = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]


def _header(content):
    """Parse the header of a safetensors file; say where it ends."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), end


def load(path: StrPath) -> tuple[Student, str, dict[str, Any]]:
    """Read a file that `save` wrote.

    Parameters
    ----------
    path : path-like
        File to read. Nothing in it is run, and memory is taken for no more than it holds.

    Returns
    -------
    student : Student
    estimator : str
    params : dict

    Raises
    ------
    BundleError
        If the file is foreign, damaged, or of a newer format.
    ValueError
        If it is a device or a pipe.
    OSError
        If the file cannot be read.
    """
    path = os.fsdecode(path)
    content = read_whole(path)  # not through a memory map, which dies of a file that shrinks
    try:
        metadata = _header(content)[0].get("__metadata__", {})
        _check_format(path, metadata)
        tensors = {name: array.copy() for name, array in from_bytes(content).items()}
    except BundleError:
        raise
    except DAMAGE as error:
        raise BundleError(
            f"Got {str(path)!r}, which is no safetensors file or a damaged one ({error})."
        ) from error
    text = metadata.get("student", "")
    if _digest(text, tensors) != metadata.get("sha256"):
        raise BundleError(
            f"Got {str(path)!r} with content that does not match its checksum: it is damaged."
        )
    # Whoever writes a file writes its checksum too, so all that it says is still checked.
    try:
        description = json.loads(text)
        statistics: dict[str, Any] = {name: tensors.pop(name, None) for name in STATISTICS}
        student = Student(
            cell=description["cell"],
            classes=_classes(
                description["classes"], description["classes_dtype"], len(tensors["head.bias"])
            ),
            **statistics,
            arrays=tensors,
        )
        estimator, params = description["estimator"], description["params"]
        if not isinstance(estimator, str) or not isinstance(params, dict):
            raise ValueError(f"Got estimator={estimator!r}, but expected a name and parameters.")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise BundleError(
            f"Got {str(path)!r}, which describes no valid student ({error})."
        ) from error
    return student, estimator, params


def _check_format(path, metadata):
    if metadata.get("format") != FORMAT:
        raise BundleError(
            f"Got {str(path)!r}, a safetensors file, but expected one that a memkd_sklearn "
            "classifier saved."
        )
    version = metadata.get("format_version")
    if version != str(FORMAT_VERSION):
        raise BundleError(
            f"Got {str(path)!r} of format version {version!r}, but expected {FORMAT_VERSION}: "
            "a newer memkd_sklearn may read it."
        )


def _digest(text, tensors):
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(tensors.items()):
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(array)
    return digest.hexdigest()


def _classes(values, name, n_classes):
    if not isinstance(values, list) or not isinstance(name, str) or len(values) != n_classes:
        raise ValueError(f"Got classes of dtype {name!r}, but expected a list of {n_classes}.")
    dtype = np.dtype(name)
    if dtype.kind not in "biufUO" or not 0 <= dtype.itemsize * n_classes <= LARGEST_LABELS:
        raise ValueError(f"Got classes of dtype {name!r}, but expected text or numbers.")
    classes = np.array(values, dtype=dtype)
    if classes.tolist() != values:
        raise ValueError(f"Got classes={values!r}, but expected labels of dtype {name!r}.")
    return classes


def _versions():
    # Only of loaded modules: saving must not import a framework to name its version.
    modules = ("memkd_sklearn", "torch", "sklearn", "aeon")
    loaded = {name: sys.modules[name] for name in modules if name in sys.modules}
    versions = {name: getattr(module, "__version__", None) for name, module in loaded.items()}
    return {"python": platform.python_version(), "numpy": np.__version__} | {
        name: str(version) for name, version in versions.items() if version
    }
