"""Projects build as they are, and what they replay says what Python says."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from memkd_sklearn.deploy import to_project

from . import avr

# Stands in for an Arduino, on the emulator's serial port; it loops once a series.
ARDUINO = """
#pragma once
#include <stdint.h>
extern "C" void print_text(const char *text);
struct Port {
    void begin(long) {}
    void print(const char *text) { print_text(text); }
    void print(int value)
    {
        char digits[8], *p = digits + 7;
        *p = 0;
        do
            *--p = (char)('0' + value % 10);
        while (value /= 10);
        print_text(p);
    }
    void println(const char *text) { print_text(text); print_text("\\n"); }
};
static Port Serial;
"""
MAIN = """
#include "Arduino.h"
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
extern "C" void print_text(const char *text)
{
    for (; *text; text++) {
        while (!(UCSR0A & (1 << UDRE0)))
            ;
        UDR0 = (uint8_t)*text;
    }
}
#include SKETCH
int main()
{
    UCSR0B = 1 << TXEN0;
    setup();
    for (int i = 0; i < SERIES; i++)
        loop();
    while (!(UCSR0A & (1 << TXC0)))
        ;
    cli();
    sleep_enable();
    sleep_cpu();
}
"""


def run_sketch(folder, sketch, sources):
    """What a sketch prints on an emulated ATmega328P."""
    (folder / "Arduino.h").write_text(ARDUINO)
    (folder / "board.cpp").write_text(MAIN)
    board = ["-mmcu=atmega328p", "-Os", "-Wall", "-Wextra", "-Werror", "-I.", f"-I{sources}"]
    subprocess.run(
        ["avr-gcc", *board, "-std=gnu11", "-c", f"{sources}/gait.c"], cwd=folder, check=True
    )
    subprocess.run(
        [
            "avr-g++",
            *board,
            "-std=gnu++11",
            f'-DSKETCH="{sketch}"',
            "board.cpp",
            "gait.o",
            "-o",
            "a.elf",
        ],
        cwd=folder,
        check=True,
    )
    done = subprocess.run(
        ["simavr", "-m", "atmega328p", "-f", "16000000", "a.elf"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )
    # Colours, and a dot for what is no character of ASCII, line ends included.
    return re.sub("\x1b\\[[0-9;]*m", "", done.stdout + done.stderr).replace(".\n", "\n")


# What Zephyr's build system is to a module: the part of its functions that one calls.
ZEPHYR = """
cmake_minimum_required(VERSION 3.13)
project(application C)
set(ZEPHYR_EXTRA_MODULE ${CMAKE_CURRENT_SOURCE_DIR}/gait)
add_library(zephyr_interface INTERFACE)
macro(zephyr_library_named name)
  set(ZEPHYR_CURRENT_LIBRARY ${name})
  add_library(${name} STATIC)
  target_link_libraries(${name} PUBLIC zephyr_interface)
endmacro()
function(zephyr_library_sources)
  target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGV})
endfunction()
function(zephyr_include_directories)
  target_include_directories(zephyr_interface INTERFACE ${ARGV})
endfunction()
add_subdirectory(${ZEPHYR_EXTRA_MODULE} modules/gait)
add_executable(application ${ZEPHYR_EXTRA_MODULE}/main.c)
target_link_libraries(application PRIVATE zephyr_interface gait m)
"""


def assert_says_what_python_says(text, trained, X):
    assert "self-test: 0 differences" in text
    assert "Python says otherwise" not in text
    expected = np.array(trained.student.labels)[trained.proba(X).argmax(axis=1)]
    assert re.findall(r"series \d+: (.*\S)", text) == list(expected)


@pytest.mark.skipif(not (shutil.which("make") and shutil.which("gcc")), reason="no make or gcc")
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_make(trained, tmp_path, dtype):
    to_project(trained.student, tmp_path / "gait 2", "make", dtype, X=trained.X[::50])
    flags = "CFLAGS=-std=c99 -Os -Wall -Wextra -Wconversion -Werror"
    done = subprocess.run(
        ["make", "-s", "run", "CC=gcc", flags],
        cwd=tmp_path / "gait 2",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert_says_what_python_says(done.stdout, trained, trained.X[::50])
    assert (tmp_path / "gait 2" / "gait_2.h").exists()


def assert_answers_over_windows(text, trained, X, window, hop):
    assert "self-test: 0 differences" in text
    assert "Python says otherwise" not in text
    starts = range(0, X.shape[2] - window + 1, hop)
    assert len(starts) > 1
    expected = [
        (str(case), str(at + window - 1), trained.student.labels[np.argmax(proba)])
        for case, series in enumerate(X)
        for at in starts
        for proba in trained.proba(series[None, :, at : at + window])
    ]
    assert re.findall(r"series (\d+), step (\d+): (.*\S)", text) == expected


@pytest.mark.skipif(not (shutil.which("make") and shutil.which("gcc")), reason="no make or gcc")
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_make_over_windows(lstm, tmp_path, dtype):
    X = lstm.X[:9].reshape(3, 1, 72)
    to_project(lstm.student, tmp_path, "make", dtype, "gait", X, window=24, hop=10)
    flags = "CFLAGS=-std=c99 -Os -Wall -Wextra -Wconversion -Werror"
    done = subprocess.run(
        ["make", "-s", "run", "CC=gcc", flags], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert_answers_over_windows(done.stdout, lstm, X, 24, 10)
    assert "`gait_stream_step`" in (tmp_path / "README.md").read_text()


@pytest.mark.skipif(not shutil.which("cmake"), reason="no cmake on this machine")
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_a_module_of_zephyr(lstm, tmp_path, dtype):
    to_project(lstm.student, tmp_path / "gait", "cmake", dtype, X=lstm.X[:3])
    (tmp_path / "CMakeLists.txt").write_text(ZEPHYR)
    for command in (["-B", "build"], ["--build", "build"]):
        subprocess.run(["cmake", *command], cwd=tmp_path, check=True)
    done = subprocess.run(
        [tmp_path / "build/application"], capture_output=True, text=True, check=True
    )
    assert_says_what_python_says(done.stdout, lstm, lstm.X[:3])
    # That its names are those that Zephyr looks for.
    assert (tmp_path / "gait/zephyr/module.yml").read_text().splitlines()[1:] == [
        "name: gait",
        "build:",
        "  cmake: .",
    ]


@pytest.mark.skipif(not shutil.which("cmake"), reason="no cmake on this machine")
def test_cmake(lstm, tmp_path):
    to_project(lstm.student, tmp_path, "cmake", "float32", "gait", lstm.X[:3])
    for command in (["-B", "build"], ["--build", "build"]):
        subprocess.run(["cmake", *command], cwd=tmp_path, check=True)
    done = subprocess.run(
        [tmp_path / "build/gait_replay"], capture_output=True, text=True, check=True
    )
    assert_says_what_python_says(done.stdout, lstm, lstm.X[:3])


@pytest.mark.skipif(bool(avr.ABSENT), reason=f"{', '.join(avr.ABSENT)} not found")
@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize(
    ("kind", "sketch", "sources"),
    [("arduino", "examples/replay/replay.ino", "src"), ("platformio", "src/main.cpp", "lib/gait")],
)
def test_sketches_run_on_an_emulated_board(lstm, tmp_path, dtype, kind, sketch, sources):
    to_project(lstm.student, tmp_path, kind, dtype, "gait", lstm.X[:4])
    text = run_sketch(tmp_path, sketch, sources)
    assert_says_what_python_says(text, lstm, lstm.X[:4])


@pytest.mark.skipif(bool(avr.ABSENT), reason=f"{', '.join(avr.ABSENT)} not found")
def test_a_sketch_answers_over_windows(lstm, tmp_path):
    X = lstm.X[:4].reshape(2, 1, 48)
    to_project(lstm.student, tmp_path, "arduino", "int8", "gait", X, window=24, hop=8)
    text = run_sketch(tmp_path, "examples/replay/replay.ino", "src")
    assert_answers_over_windows(text, lstm, X, 24, 8)


@pytest.mark.skipif(not (shutil.which("make") and shutil.which("gcc")), reason="no make or gcc")
def test_a_made_up_recording_is_longer_than_a_window(lstm, tmp_path):
    to_project(lstm.student, tmp_path, "make", name="gait", window=40)
    done = subprocess.run(["make", "-s", "run"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"step (\d+):", done.stdout) == ["39", "79"]


@pytest.mark.parametrize("kind", ["arduino", "platformio", "cmake", "make", "micropython"])
def test_without_series_one_is_made_up(lstm, tmp_path, kind):
    to_project(lstm.student, tmp_path / "gait", kind)
    assert "replays 1 series of 24 steps" in (tmp_path / "gait" / "README.md").read_text()
    for path in (tmp_path / "gait").rglob("*"):
        assert (
            path.is_dir()
            or "$" not in path.read_text()
            or path.name in ("Makefile", "CMakeLists.txt")
        )


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("kind", ["make", "arduino"])
def test_an_int8_project_says_that_its_step_takes_no_reading(lstm, tmp_path, kind, dtype):
    to_project(lstm.student, tmp_path, kind, dtype=dtype, name="gait")
    text = (tmp_path / "README.md").read_text()
    assert ("gait_quantise_raw(counts, x)" in text) == (dtype == "int8")
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"kind": "zephyr"}, "Got kind='zephyr', but expected one of 'arduino'"),
        ({"X": np.zeros((2, 3, 24))}, "Got X of shape"),
        ({"name": "a b"}, "expected a C identifier"),
        ({"dtype": "int4"}, "Got dtype='int4'"),
        ({"kind": "micropython", "dtype": "int8"}, "Got dtype='int8', but expected one of"),
        ({"kind": "micropython", "name": "lambda"}, "Got name='lambda', but expected no word"),
        ({"kind": "micropython", "name": "math"}, "Got name='math', but expected no word"),
        ({"kind": "micropython", "name": "time"}, "Got name='time', but expected no word"),
        ({"kind": "micropython", "name": "machine"}, "Got name='machine', but expected no word"),
        ({"kind": "make", "name": "main"}, "Got name='main', but expected none of all, all_build"),
        ({"kind": "make", "name": "Makefile"}, "Got name='Makefile', but expected none of"),
        ({"kind": "cmake", "name": "help"}, "Got name='help', but expected none of"),
        ({"dtype": "float32", "X": np.full((2, 1, 24), np.nan)}, "Got X with a reading that is m"),
        ({"kind": "micropython", "X": np.full((2, 1, 24), np.nan)}, "Got X with a reading"),
        ({"kind": "make", "name": "run"}, "Got name='run', but expected none of"),
        ({"kind": "cmake", "name": "test"}, "Got name='test', but expected none of"),
        ({"kind": "arduino", "name": "Arduino"}, "Got name='Arduino', but expected none of"),
        ({"kind": "platformio", "name": "series"}, "Got name='series', but expected none of"),
        ({"kind": "make", "name": "string"}, "Got name='string', but .* no header of C"),
        ({"window": 0}, "Got window=0"),
        ({"window": 8, "hop": 0}, "Got hop=0"),
        ({"hop": 4}, "expected a window as well"),
        ({"window": 25, "X": np.zeros((2, 1, 24))}, "Got X of 24 time points, but expected at"),
    ],
)
def test_bad_projects(lstm, tmp_path, bad, message):
    with pytest.raises(ValueError, match=message):
        to_project(lstm.student, tmp_path / "x", **{"kind": "make"} | bad)
    assert not list(tmp_path.iterdir())
