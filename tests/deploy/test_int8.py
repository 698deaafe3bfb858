import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from memkd_sklearn.deploy import CompiledStudent, input_peak, quantise, to_c
from memkd_sklearn.deploy.c.int8 import int8_code


def test_code_computes_what_numpy_computes(trained, tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("no gcc on this machine")
    to_c(trained.student, tmp_path / "student.c", dtype="int8")
    rng = np.random.default_rng(0)
    wild = 40 + 70 * rng.standard_cauchy((60, *trained.X.shape[1:]))
    X = np.concatenate([trained.X[:300], wild])
    found = CompiledStudent(tmp_path / "student.c").predict_proba(X)
    assert np.array_equal(found, quantise(trained.student).predict_proba(X))


def test_probabilities_are_close_and_sum_to_one(trained):
    found = quantise(trained.student).predict_proba(trained.X[:100])
    assert np.abs(found - trained.proba(trained.X[:100])).mean() < 0.005
    assert np.abs(found.sum(axis=1) - 1).max() < trained.student.n_classes / 2**15


def test_a_student_of_370_parameters_fits_where_it_should(lstm):
    assert lstm.student.footprint["parameters"] == 370
    code = int8_code(lstm.student, np.zeros((24, 1)))
    assert code["constant_bytes"] <= 870
    assert code["state_bytes"] <= 64


@pytest.mark.parametrize("wide", [1, 30])
def test_sums_fit_in_32_bits_in_the_worst_case(trained, wide):
    quantised = quantise(replace(trained.student, peak=wide * trained.student.peak))
    for rows in (*quantised.layers, quantised.head):
        weights, split = np.abs(rows.weights.astype(int)), -rows.n_hidden - 1
        # Any int16 can arrive as an input, and a bias is multiplied by 2**15.
        entering, recalled = (part.sum(axis=2) * 2**15 for part in np.split(weights, [split], 2))
        assert recalled.max() < 2**31
        sums = entering + (recalled >> rows.down) + 1
        assert sums.max() < 2**31
        # Two sums, doubled, as a GRU's candidate is.
        assert (4 * (sums / 2.0**rows.after)).max() < 2**31


def test_gates_are_close_to_the_real_ones(lstm):
    quantised = quantise(lstm.student)
    sums = np.arange(-13 * 2**15, 13 * 2**15)
    real = sums / 2**15
    assert np.abs(quantised._sigmoid(sums) / 2**15 - 1 / (1 + np.exp(-real))).max() < 5e-5
    assert np.abs(quantised._tanh(sums) / 2**15 - np.tanh(real)).max() < 1e-4
    # An open gate keeps all, for ever.
    assert quantised._sigmoid(np.array([12 * 2**15, -(2**29)])).tolist() == [2**15, 0]


def test_inputs_take_all_bits_that_their_range_leaves(lstm):
    center = lstm.student.mean[:, None]

    def peak_of(X):
        return input_peak(X, lstm.student.mean, lstm.student.scale)

    for stretch in (1, 6, 20):
        X = center + stretch * (lstm.X - center)
        quantised = quantise(replace(lstm.student, peak=peak_of(X)))
        assert 8 <= quantised.bits <= 12
        largest = np.abs(quantised.quantise_input(X).astype(int)).max()
        assert 32767 / 2.5 - 1 < largest < 32767 / 1.25 + 1
    X = center + 1000 * (lstm.X - center)  # what is further away is cut off
    quantised = quantise(replace(lstm.student, peak=peak_of(X)))
    assert quantised.bits == 8
    assert quantised.quantise_input(X).min() == -32768


def test_weights_are_the_nearest_of_the_finest_scale(trained):
    quantised = quantise(trained.student)
    rows = [*quantised.layers, quantised.head]
    for exact, found in zip(trained.student.blocks, rows, strict=True):
        unit = 2.0 ** -(found.down + found.after)[..., None]
        assert (np.abs(found.weights * unit - exact) <= unit / 2).all()
        # Twice as fine, they or their sums would not fit; twelve bits are there at least.
        sizes = np.abs(found.weights.astype(int))
        assert ((sizes.max(axis=2) > 2**14 - 1) | (2 * sizes.sum(axis=2) > 2**16 - 2**11)).all()
        assert sizes.max(axis=2).min() >= 2**11


def test_memory_never_overflows(lstm):
    # The strongest integrator that can be has every gate open: it rises to a bound and stops.
    quantised, bound = quantise(lstm.student), 4094 * 2**19
    assert bound + 2**19 < 2**31
    for sums in (2**29, -(2**29)):
        memory = np.zeros((1, 8), dtype=np.int64)
        gates = np.full((4, 1, 8), 2**29)
        gates[2] = sums
        for _ in range(6000):
            hidden, memory = quantised._lstm(gates, memory)
            assert np.abs(memory).max() <= bound
        assert np.abs(memory).max() == bound
        assert (np.sign(hidden) == np.sign(sums)).all()


def counts_of(trained):
    """A converter of 24 bits, readings around 8,000,000 that change by 3, and what they give."""
    n_channels = trained.student.n_channels
    student = replace(
        trained.student, mean=np.full(n_channels, 8e6 + 0.37), scale=np.full(n_channels, 3.1)
    )
    z = (trained.X[:100] - trained.student.mean[:, None]) / trained.student.scale[:, None]
    counts = np.round(student.mean[:, None] + student.scale[:, None] * z)
    return student, counts, replace(trained, student=student).proba(counts)


def test_counts_of_a_large_offset_cost_no_accuracy(trained):
    student, counts, expected = counts_of(trained)
    quantised = quantise(student)
    # In units of 2^-12 or so, the nearest there is.
    z = (counts - student.mean[:, None]) / student.scale[:, None] * 2.0**quantised.bits
    for found in (quantised.quantise_input(counts), quantised.raw(counts)):
        assert np.abs(found - z).max() <= 0.5 + 1e-3
    assert np.abs(quantised.predict_proba(counts) - expected).mean() < 0.005


@pytest.mark.filterwarnings("ignore:In float32, readings")
def test_code_reads_integers_as_numpy_does(trained, tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("no gcc on this machine")
    student, counts, _ = counts_of(trained)
    to_c(student, tmp_path / "student.c", dtype="int8")
    ends = [-(2**31), 2**31 - 1, 0, -1, 8_000_000]
    readings = [*counts[:3].transpose(0, 2, 1).ravel().astype(int).tolist(), *ends * len(counts[0])]
    n_steps = len(readings) // len(counts[0])
    (tmp_path / "main.c").write_text(
        '#include "student.c"\n#include <stdio.h>\n'
        f"static const int32_t readings[] = {{{', '.join(f'{r}ll' for r in readings)}}};\n"
        "int main(void) {\n    int16_t x[STUDENT_CHANNELS]; int t, i; student_state a, b;\n"
        "    student_reset(&a); student_reset(&b);\n"
        f"    for (t = 0; t < {n_steps}; t++) {{\n"
        "        student_quantise_raw(readings + t * STUDENT_CHANNELS, x);\n"
        "        student_step(&a, x);\n"
        "        student_step_raw(&b, readings + t * STUDENT_CHANNELS);\n"
        '        for (i = 0; i < STUDENT_CHANNELS; i++) printf("%d ", x[i]);\n    }\n'
        "    return memcmp(&a, &b, sizeof a) != 0;\n}\n"
    )
    command = ["gcc", "-std=c99", "-include", "string.h", "-O1", "-fsanitize=undefined"]
    command += ["-fno-sanitize-recover=all", "main.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    steps = np.array(readings).reshape(n_steps, -1)
    expected = quantise(student).raw(steps.T[None])[0].T
    assert np.array_equal(np.array(done.stdout.split(), dtype=int).reshape(n_steps, -1), expected)


@pytest.mark.parametrize("mean", [0.0, 0.49, -3e9, 1e30, -(2.0**31)])
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e9, 1e30])
def test_readings_of_any_offset_and_scale(lstm, mean, scale):
    raw = quantise(replace(lstm.student, mean=np.full(1, mean), scale=np.full(1, scale))).raw
    X = np.array([-(2**31), -1000, -1, 0, 1, 1000, 2**31 - 1])
    z = np.clip((X - mean) / scale * 2.0 ** quantise(lstm.student).bits, -32768, 32767)
    if abs(mean) < 2**31:
        assert np.abs(raw(X[None, None])[0, 0] - z).max() <= 0.5 + 1e-3
    assert (raw.origin, raw.factor, raw.rest) == (
        raw.origin.astype(np.int32),
        raw.factor.astype(np.int32),
        raw.rest.astype(np.int32),
    )


def test_missing_and_endless_readings(lstm):
    quantised = quantise(lstm.student)
    X = np.array([[[np.nan, np.inf, -np.inf, 40.0]]])
    assert quantised.quantise_input(X).ravel()[:3].tolist() == [0, 32767, -32768]


@pytest.mark.parametrize("weight", [1e5, 1e-6, 0.0])
def test_weights_of_any_size(lstm, weight):
    arrays = dict(lstm.student.arrays)
    arrays["recurrent.weight_hh_l0"] = np.full((32, 8), weight, np.float32)
    student = replace(lstm.student, arrays=arrays)
    if weight == 1e5:
        with pytest.raises(ValueError, match="export float32 instead"):
            quantise(student)
    else:
        quantise(student).predict_proba(lstm.X[:3])
