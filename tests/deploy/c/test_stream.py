"""Windows of a recording in C: the answers and events of Python."""

import shutil
import subprocess

import numpy as np
import pytest

from memkd_sklearn.deploy import Decision, Stream, WindowStream, quantise, to_c

from .test_source import LANGUAGES, SANITISERS, WARNINGS

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc on this machine")

# Reads steps from stdin, prints the time, the probabilities and the event of every answer.
PROGRAM = """
#include "student.c"
#include <stdio.h>
int main(void)
{{
    static student_stream stream;
    float values[STUDENT_CHANNELS];
    student_input x[STUDENT_CHANNELS];
    student_proba proba[STUDENT_CLASSES];
    const student_state *ended;
    int i, time;
    student_stream_reset(&stream);
    for (time = 0;; time++) {{
        for (i = 0; i < STUDENT_CHANNELS; i++)
            if (scanf("%f", values + i) != 1)
                return printf("%d\\n", (int)sizeof stream) < 0;
        {quantise}
        ended = student_stream_step(&stream, x);
        if (!ended)
            continue;
        student_predict_proba(ended, proba);
        printf("%d %d", time, {decide});
        for (i = 0; i < STUDENT_CLASSES; i++)
            printf(" %.17g", (double)proba[i] / {one});
        printf("\\n");
    }}
}}
"""


def run(student, folder, recording, dtype, language="c99", **options):
    to_c(student, folder / "student.c", dtype=dtype, **options)
    copied = "for (i = 0; i < STUDENT_CHANNELS; i++) x[i] = values[i];"
    program = PROGRAM.format(
        quantise="student_quantise(values, x);" if dtype == "int8" else copied,
        one=32768 if dtype == "int8" else 1,
        decide="student_stream_decide(&stream, proba)" if options.get("decision") else "-1",
    )
    (folder / "main.c").write_text(program)
    command = [*LANGUAGES[language], *WARNINGS, *SANITISERS, "main.c", "-o", "main", "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = "\n".join(f"{value:.9g}" for value in recording.T.ravel())
    done = subprocess.run(
        [folder / "main"], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *lines, n_bytes = done.stdout.splitlines()
    table = np.array([line.split() for line in lines], dtype=float)
    return table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:], int(n_bytes)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize(("window", "hop"), [(20, 7), (5, 1), (6, 9), (20, 20)])
def test_every_window_equals_the_single_series(trained, tmp_path, dtype, window, hop):
    recording = np.hstack(list(trained.X[:6]))[:, :100]
    times, _, found, n_bytes = run(
        trained.student, tmp_path, recording, dtype, window=window, hop=hop
    )
    firsts = range(0, recording.shape[1] - window + 1, hop)
    assert times.tolist() == [first + window - 1 for first in firsts]
    windows = np.stack([recording[:, first : first + window] for first in firsts])
    if dtype == "int8":
        assert np.array_equal(found, quantise(trained.student).predict_proba(windows))
    else:
        assert np.abs(found - trained.proba(windows)).max() <= 5e-7
    assert f"begin every {hop}, {n_bytes} bytes of RAM" in (tmp_path / "student.c").read_text()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize(
    "rule",
    [
        Decision(),
        Decision(threshold=0.6, n=2, m=3, hold_off=4, rest=0),
        Decision(threshold=0.0, n=7, m=16, hold_off=1),
        Decision(threshold=0.7, n=20, m=32),
    ],
    ids=repr,
)
def test_events_are_those_of_python(all_trained, tmp_path, dtype, rule):
    trained = all_trained["stack"]
    recording = np.hstack(list(trained.X[::5]))  # of every class
    times, events, proba, n_bytes = run(
        trained.student, tmp_path, recording, dtype, window=30, hop=5, decision=rule
    )
    rule.reset()
    expected = [rule.update(p) for p in proba]
    assert events.tolist() == [-1 if event is None else event for event in expected]
    assert (events >= 0).any()
    assert f"begin every 5, {n_bytes} bytes of RAM" in (tmp_path / "student.c").read_text()


@pytest.mark.parametrize("language", LANGUAGES)
def test_streams_are_clean_in_every_language(lstm, tmp_path, language):
    rule, recording = Decision(n=2, m=20), np.hstack(list(lstm.X[:4]))
    for dtype in ("float32", "int8"):
        run(lstm.student, tmp_path, recording, dtype, language, window=24, hop=8, decision=rule)


def test_the_stream_of_python_decides_alike(lstm, tmp_path):
    recording = np.hstack(list(lstm.X[:40]))
    rule = Decision(threshold=0.8, n=2, m=2, hold_off=3)
    stream, expected = WindowStream(lstm.student, 24, 8), []
    for x_t in recording.T:
        if (answer := stream.update(x_t)) is not None:
            event = rule.update(answer)
            expected.append(-1 if event is None else event)
    _, events, *_ = run(
        lstm.student, tmp_path, recording, "float32", window=24, hop=8, decision=rule
    )
    assert events.tolist() == expected


# Reads series of STEPS steps from stdin, and prints which class it tells of each and when.
EARLY = """
#include "student.c"
#include <stdio.h>
int main(void)
{{
    student_state state;
    student_decision decision;
    float values[STUDENT_CHANNELS];
    student_input x[STUDENT_CHANNELS];
    student_proba proba[STUDENT_CLASSES];
    int i, n, event, told;
    for (;;) {{
        student_reset(&state);
        student_decision_reset(&decision);
        for (told = -1, n = 1; n <= {steps}; n++) {{
            for (i = 0; i < STUDENT_CHANNELS; i++)
                if (scanf("%f", values + i) != 1)
                    return 0;
            {quantise}
            student_step(&state, x);
            student_predict_proba(&state, proba);
            event = student_decide(&decision, proba);
            if (told < 0 && event >= 0)
                told = printf("%d %d\\n", event, n);
        }}
        if (told < 0)
            printf("%d %d\\n", student_predict(&state), {steps});
    }}
}}
"""


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 3), (2, 9)])
def test_series_are_told_as_early_as_in_python(trained, tmp_path, dtype, n, m):
    student, X = trained.student, trained.X[:: len(trained.X) // 20]
    if dtype == "int8":
        quantised = quantise(student)
        running = quantised.probabilities(quantised.quantise_input(X)) / 32768
    else:
        stream, running = Stream(student), []
        for series in X:
            stream.reset()
            running.append([stream.update(x_t) for x_t in series.T])
    # Some votes, but not all: a number that no answer is near to.
    rule = Decision(round(float(np.median(np.max(running, axis=2))), 3), n, m)
    expected = []
    for answers in running:
        rule.reset()
        events = [rule.update(proba) for proba in answers]
        first = next((time for time, event in enumerate(events) if event is not None), -1)
        told = int(np.argmax(answers[-1])) if first < 0 else events[first]
        expected.append((told, len(events) if first < 0 else first + 1))
    to_c(student, tmp_path / "student.c", dtype=dtype, decision=rule)
    copied = "for (i = 0; i < STUDENT_CHANNELS; i++) x[i] = values[i];"
    program = EARLY.format(
        quantise="student_quantise(values, x);" if dtype == "int8" else copied, steps=X.shape[2]
    )
    (tmp_path / "main.c").write_text(program)
    command = [*LANGUAGES["c99"], *WARNINGS, *SANITISERS, "main.c", "-o", "main", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    text = "\n".join(f"{value:.9g}" for value in X.transpose(0, 2, 1).ravel())
    done = subprocess.run(
        [tmp_path / "main"], input=text, capture_output=True, text=True, check=True
    )
    found = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert found == expected
    assert 1 < np.mean([n_read for _, n_read in found]) < X.shape[2]


@pytest.mark.parametrize(
    "bad",
    [
        {"hop": 3},
        {"decision": Decision(rest=2)},
        {"window": 0},
        {"window": 70000},
        {"window": 3, "hop": 0},
        {"window": 3, "decision": Decision(rest=2)},
    ],
)
def test_bad_streams(lstm, tmp_path, bad):
    with pytest.raises(ValueError, match=r"Got .* but expected"):
        to_c(lstm.student, tmp_path / "student.c", **bad)
    assert not list(tmp_path.iterdir())
