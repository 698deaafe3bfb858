"""Files of our own that are damaged anywhere: no reader raises, and none takes nonsense."""

import json
import math
import warnings

import numba
import numpy as np
from rounds import ROUNDS

from memkd_sklearn.benchmark.rows import SCORES, read_row, write_row
from memkd_sklearn.kernels.compiling import kernel

ROW = {"data_set": "CBF", "accuracy": 0.5, "auc_prc": 0.625, "log_loss": 1.25, "weight": None}


def mutants(content, n, seed=0):
    """The content with a bit, some bytes, or a part of it changed, taken out or put in."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        mutant, start = bytearray(content), int(rng.integers(len(content)))
        kind = rng.integers(4)
        if kind == 0:
            mutant[start] ^= 1 << rng.integers(8)
        elif kind == 1:
            mutant[start : start + 8] = rng.bytes(8)
        elif kind == 2:
            del mutant[start : start + rng.integers(1, 40)]
        else:
            mutant[start:start] = rng.bytes(rng.integers(1, 40))
        yield bytes(mutant)


def test_rows_of_results(tmp_path):
    file = tmp_path / "row.json"
    write_row(file, ROW)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # each names the file
        for mutant in mutants(file.read_bytes(), 300 * ROUNDS):
            file.write_bytes(mutant)
            row = read_row(file)
            assert row is None or all(math.isfinite(row[name]) for name in SCORES)
            assert row is None or row == json.loads(mutant)


def test_machine_code(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def triple(x):
        return 3 * x

    assert kernel(triple)(5) == 15
    [file] = tmp_path.rglob("*.kernel")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for mutant in mutants(file.read_bytes(), 10 * ROUNDS):
            file.write_bytes(mutant)
            assert kernel(triple)(5) == 15
