import re
import shutil
import subprocess
import warnings
from dataclasses import replace

import numpy as np
import pytest

from memkd_sklearn.deploy import CompiledStudent, Stream, to_c
from memkd_sklearn.network import RecurrentNetwork

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
LANGUAGES = {
    "c99": ["gcc", "-std=c99", "-x", "c"],
    "c++98": ["g++", "-std=c++98", "-x", "c++"],
    "c++17": ["g++", "-std=c++17", "-x", "c++"],
}
SANITISERS = ["-g", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
LABELS = ['"', "\\", "%s\\n", "*/", "??/", "é😀", "\n1", "", "\ud800", "//", "\x7f"]

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc on this machine")
dtypes = pytest.mark.parametrize("dtype", ["float32", "int8"])


def compiled(path, *options, language="c99"):
    out = path.with_suffix(".out")
    command = [*LANGUAGES[language], *WARNINGS, *options, str(path), "-o", str(out), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def main_program(path, body, name="student"):
    """Write a program that includes a generated file."""
    program = path.with_name("main.c")
    program.write_text(
        f'#define {name.upper()}_SELF_TEST\n#include "{path.name}"\n#include <stdio.h>\n'
        f"int main(void)\n{{\n{body}\n}}\n"
    )
    return program


@needs_gcc
@dtypes
@pytest.mark.parametrize("language", LANGUAGES)
def test_clean_and_self_test_passes(trained, tmp_path, dtype, language):
    to_c(trained.student, tmp_path / "student.c", dtype=dtype)
    compiled(tmp_path / "student.c", "-c", language=language)
    program = main_program(tmp_path / "student.c", "return student_self_test();")
    assert (
        subprocess.run([compiled(program, "-O2", language=language)], check=False).returncode == 0
    )


@needs_gcc
@dtypes
def test_self_test_notices_a_wrong_weight(lstm, tmp_path, dtype):
    to_c(lstm.student, tmp_path / "student.c", dtype=dtype)
    text = (tmp_path / "student.c").read_text()
    wrong = re.sub(r"(layer_0(_w)?\[\d+\] STUDENT_FLASH = \{\s+)[^,]+", r"\g<1>1", text)
    assert wrong != text
    (tmp_path / "student.c").write_text(wrong)
    program = main_program(tmp_path / "student.c", "return student_self_test() > 0;")
    assert subprocess.run([compiled(program)], check=False).returncode == 1


@needs_gcc
def test_gates_are_nearer_than_one_float32_comes(lstm, tmp_path):
    """Float32's rounding error of a gate, 3e-8, is in the gate's second part."""
    to_c(lstm.student, tmp_path / "student.c")
    calls = "".join(
        f'high = student_{name}(a, rest, &low); printf("%.17g ", (double)high + (double)low);'
        for name in ("logistic", "tanh")
    )
    program = main_program(
        tmp_path / "student.c",
        "int i; float high, low;\n"
        "for (i = -3000; i <= 3000; i++) {\n"
        "float a = (float)i / 150.0f, rest = a * 5e-8f;\n"
        'printf("%.17g ", (double)a + (double)rest);' + calls + "}\nreturn 0;",
    )
    done = subprocess.run([compiled(program)], capture_output=True, text=True, check=True)
    a, logistic, tanh = np.array(done.stdout.split(), dtype=float).reshape(-1, 3).T
    assert np.abs(logistic - 1 / (1 + np.exp(-a))).max() < 5e-10
    assert np.abs(tanh - np.tanh(a)).max() < 1e-9


@needs_gcc
@dtypes
def test_sanitisers_find_nothing_on_extreme_inputs(trained, tmp_path, dtype):
    to_c(trained.student, tmp_path / "student.c", dtype=dtype)
    quantise = dtype == "int8"
    body = f"""
    static const float extremes[] = {{0.0f, 3e38f, -3e38f, 1e-40f, 40.0f, HUGE_VALF, NAN}};
    float values[STUDENT_CHANNELS];
    student_input x[STUDENT_CHANNELS];
    student_proba proba[STUDENT_CLASSES];
    student_state state;
    int t, i, label = 0;
    student_reset(&state);
    for (t = 0; t < 3000; t++) {{
        for (i = 0; i < STUDENT_CHANNELS; i++)
            values[i] = extremes[t < 1000 ? 1 : t < 2000 ? 2 : (t + i) % 7];
        {"student_quantise(values, x);" if quantise else "for (i = 0; i < STUDENT_CHANNELS; i++)"}
        {"" if quantise else "x[i] = values[i];"}
        student_step(&state, x);
        student_predict_proba(&state, proba);
        label += student_predict(&state);
        if (student_predict(&state) < 0 || student_predict(&state) >= STUDENT_CLASSES)
            return 1;
    }}
    printf("%d %s\\n", label, student_labels[0]);
    return student_self_test();"""
    program = main_program(tmp_path / "student.c", body)
    program.write_text("#include <math.h>\n" + program.read_text())
    out = compiled(program, "-O1", *SANITISERS, "-Wno-unused-variable")
    done = subprocess.run([out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_gcc
@dtypes
def test_readings_that_are_no_numbers_do_not_last(trained, tmp_path, dtype):
    to_c(trained.student, tmp_path / "student.c", dtype=dtype)
    compiled_student = CompiledStudent(tmp_path / "student.c")
    X, spoilt = trained.X[:20].copy(), trained.X[:20].copy()
    X[:, :, 5] = trained.student.mean
    spoilt[:, :, 5] = np.nan
    assert np.array_equal(compiled_student.predict_proba(spoilt), compiled_student.predict_proba(X))
    spoilt[:, 0, 6], spoilt[:, -1, 7] = np.inf, -np.inf
    assert np.isfinite(compiled_student.predict_proba(spoilt)).all()


@needs_gcc
def test_sums_that_a_compiler_may_reorder_are_refused(lstm, tmp_path):
    to_c(lstm.student, tmp_path / "student.c")
    command = ["gcc", "-std=c99", "-ffast-math", "-c", "student.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "without -ffast-math" in done.stderr


@needs_gcc
@dtypes
def test_declarations_only_links_with_the_implementation(lstm, tmp_path, dtype):
    to_c(lstm.student, tmp_path / "student.c", dtype=dtype)
    program = main_program(
        tmp_path / "student.c",
        "student_state state; student_reset(&state); return student_predict(&state) > 1;",
    )
    program.write_text("#define STUDENT_DECLARATIONS_ONLY\n" + program.read_text())
    compiled(program, str(tmp_path / "student.c"))


@needs_gcc
def test_two_students_in_one_program(all_trained, tmp_path):
    to_c(all_trained["lstm"].student, tmp_path / "first.c", name="first")
    to_c(all_trained["gru"].student, tmp_path / "second.c", dtype="int8", name="second")
    program = main_program(
        tmp_path / "first.c", "return first_self_test() + second_self_test();", name="first"
    )
    program.write_text('#define SECOND_SELF_TEST\n#include "second.c"\n' + program.read_text())
    assert subprocess.run([compiled(program)], check=False).returncode == 0


@needs_gcc
def test_two_students_of_one_name_do_not_compile(all_trained, tmp_path):
    for kind in ("lstm", "gru"):
        to_c(all_trained[kind].student, tmp_path / f"{kind}.c", name="student")
    program = '#include "{}"\n#include "{}"\nint main(void) {{ return 0; }}\n'
    (tmp_path / "once.c").write_text(program.format("lstm.c", "lstm.c"))
    compiled(tmp_path / "once.c")
    (tmp_path / "both.c").write_text(program.format("lstm.c", "gru.c"))
    command = [*LANGUAGES["c99"], "-c", "both.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Two different students are called student" in done.stderr


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("gait.c", "gait"),
        ("left foot-2.c", "left_foot_2"),
        ("3rd__try_.c", "student_3rd_try"),
        ("é.c", "student"),
        ("x" * 90 + ".c", "x" * 55),
    ],
)
@dtypes
def test_a_file_names_what_is_in_it(lstm, tmp_path, file, name, dtype):
    to_c(lstm.student, tmp_path / file, dtype=dtype)
    assert f"void {name}_reset({name}_state *state);" in (tmp_path / file).read_text()


@needs_gcc
@dtypes
def test_hostile_labels_survive(lstm, tmp_path, dtype):
    arrays = dict(lstm.student.arrays)
    arrays["head.weight"] = np.zeros((len(LABELS), 8), np.float32)
    arrays["head.bias"] = np.zeros(len(LABELS), np.float32)
    student = replace(lstm.student, arrays=arrays, classes=np.array(LABELS))
    to_c(student, tmp_path / "student.c", dtype=dtype)
    for language in LANGUAGES:
        compiled(tmp_path / "student.c", "-c", language=language)
    assert CompiledStudent(tmp_path / "student.c").labels == LABELS


@pytest.mark.parametrize("label", ["a\0b", "x" * 4096])
def test_labels_that_no_c_string_holds(lstm, tmp_path, label):
    with pytest.raises(ValueError, match="Got a label"):
        to_c(replace(lstm.student, classes=np.array(["a", label])), tmp_path / "student.c")
    assert not list(tmp_path.iterdir())


@needs_gcc
@pytest.mark.parametrize("classes", [[1, 2], [False, True], [0.5, 1.0]])
def test_labels_of_other_kinds_are_text(lstm, tmp_path, classes):
    to_c(replace(lstm.student, classes=np.array(classes)), tmp_path / "student.c")
    assert CompiledStudent(tmp_path / "student.c").labels == [str(label) for label in classes]


@pytest.mark.parametrize("name", ["", "1a", "a b", "a-b", "é", "_a", "a__b", "a_", "a\n", "x" * 64])
def test_names_that_are_no_identifiers(lstm, tmp_path, name):
    with pytest.raises(ValueError, match="expected a C identifier"):
        to_c(lstm.student, tmp_path / "student.c", name=name)
    assert not list(tmp_path.iterdir())


def test_bad_options(lstm, tmp_path):
    with pytest.raises(ValueError, match="Got dtype='int4', but expected one of"):
        to_c(lstm.student, tmp_path / "student.c", dtype="int4")
    with pytest.raises(ValueError, match="Got a student without a peak"):
        to_c(replace(lstm.student, peak=None), tmp_path / "student.c", dtype="int8")
    for dtype in ("float32", "int8"):
        with pytest.raises(ValueError, match="float32 can hold"):
            to_c(
                replace(lstm.student, scale=np.full(1, 1e-60)), tmp_path / "student.c", dtype=dtype
            )
    assert not list(tmp_path.iterdir())


@needs_gcc
@dtypes
def test_readings_near_the_largest_of_float32(lstm, tmp_path, dtype):
    # A billion deviations from the mean are more than float32 holds: no reading is as far.
    student = replace(lstm.student, mean=np.full(1, 5e29), scale=np.full(1, 8e29))
    X = student.mean + student.scale * np.random.default_rng(0).normal(size=(5, 1, 20))
    to_c(student, tmp_path / "student.c", dtype=dtype)
    streams = [Stream(student) for _ in X]
    for x_t in X.transpose(2, 0, 1):
        wanted = [stream.update(one) for stream, one in zip(streams, x_t, strict=True)]
    proba = CompiledStudent(tmp_path / "student.c").predict_proba(X)
    assert np.abs(proba - wanted).max() < (1e-5 if dtype == "float32" else 0.02)


@dtypes
def test_unwritable_paths_leave_nothing(lstm, untouchable, dtype):
    for path in untouchable:
        with pytest.raises(OSError):
            to_c(lstm.student, path, dtype=dtype)


@needs_gcc
@dtypes
@pytest.mark.parametrize("size", [8, 3])
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_header_states_the_sizes_that_the_compiler_finds(all_trained, tmp_path, dtype, kind, size):
    path, student = tmp_path / "student.c", all_trained[kind].student
    if size != student.hidden_size:  # an odd number of them
        arrays = RecurrentNetwork(1, size, student.n_classes, cell=kind).arrays()
        student = replace(student, arrays=arrays)
    to_c(student, path, dtype=dtype)
    text = path.read_text()
    a_step, head = map(int, re.search(r"A step: (\d+) .* class scores: (\d+)", text).groups())
    assert a_step + head == student.footprint["macs_per_step"]
    assert head == size * student.n_classes
    constants = int(re.search(r"Flash: (\d+) bytes", text)[1])
    state = int(re.search(r"RAM: (\d+) bytes", text)[1])
    compiled(path, "-c", "-O0")  # an optimiser may fold the small ones into code
    symbols = subprocess.run(
        ["nm", "-S", "-t", "d", path.with_suffix(".out")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    sizes = re.findall(r"^\d+ (\d+) [rR] student_(?!labels)", symbols, re.MULTILINE)
    assert sum(map(int, sizes)) == constants
    # Nothing but constants and functions.
    assert not re.findall(r" [bBdDC] student_(?!labels)", symbols)
    program = main_program(path, "return (int)sizeof(student_state);")
    assert subprocess.run([compiled(program)], check=False).returncode == state


@needs_gcc
def test_large_offsets_do_not_cost_accuracy(lstm, tmp_path):
    moved = replace(lstm.student, mean=lstm.student.mean + 4096)
    to_c(moved, tmp_path / "student.c")
    X = np.round(lstm.X * 64) / 64  # exact in float32 at either offset
    found = CompiledStudent(tmp_path / "student.c").predict_proba(X + 4096)
    assert np.abs(found - lstm.proba(X)).max() < 5e-7


@needs_gcc
@pytest.mark.parametrize("offset", [40.0, 8e6 + 0.37, -8e6])
def test_integers_of_a_sensor_in_float32(trained, tmp_path, offset):
    """The states are those of their floats, bit by bit, and as near to the student as any."""
    n_channels = trained.student.n_channels
    student = replace(
        trained.student, mean=np.full(n_channels, offset), scale=np.full(n_channels, 30.1)
    )
    z = (trained.X[:20] - trained.student.mean[:, None]) / trained.student.scale[:, None]
    counts = np.round(student.mean[:, None] + student.scale[:, None] * z)
    to_c(student, tmp_path / "student.c")
    n_values = counts[0].size
    ends = [-(2**31), 2**31 - 1, 0, -1] * n_values  # after the series, of as many time points
    values = [*counts.transpose(0, 2, 1).ravel().astype(int).tolist(), *ends[:n_values]]
    program = main_program(
        tmp_path / "student.c",
        f"""
    static const int32_t readings[] = {{{", ".join(f"{value}LL" for value in values)}}};
    const int32_t *values = readings;
    student_state raw, converted;
    float x[STUDENT_CHANNELS], proba[STUDENT_CLASSES];
    int i, k, t;
    for (i = 0; i <= {len(counts)}; i++) {{
        student_reset(&raw);
        student_reset(&converted);
        for (t = 0; t < {counts.shape[2]}; t++) {{
            for (k = 0; k < STUDENT_CHANNELS; k++)
                x[k] = (float)values[k];
            student_step_raw(&raw, values);
            student_step(&converted, x);
            if (memcmp(&raw, &converted, sizeof raw) != 0)
                return 1;
            values += STUDENT_CHANNELS;
        }}
        student_predict_proba(&raw, proba);
        for (k = 0; k < STUDENT_CLASSES; k++)
            printf("%.9g ", (double)proba[k]);
    }}
    return 0;""",
    )
    out = compiled(program, "-O1", *SANITISERS)
    done = subprocess.run([out], capture_output=True, text=True, check=True)
    expected = replace(trained, student=student).proba(counts)
    found = np.array(done.stdout.split(), dtype=float).reshape(-1, expected.shape[1])
    assert np.abs(found[:-1] - expected).max() < 5e-7
    assert np.isfinite(found).all()


@dtypes
def test_readings_that_float32_does_not_tell_apart_are_warned_of(lstm, tmp_path, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_c(lstm.student, tmp_path / "student.c", dtype=dtype)
    pressure = replace(lstm.student, mean=np.full(1, 101325.0), scale=np.full(1, 1e-3))
    with pytest.warns(UserWarning, match=r"around 101325, .* 0.0078 apart, 7.8 standard dev"):
        to_c(pressure, tmp_path / "student.c", dtype=dtype)
