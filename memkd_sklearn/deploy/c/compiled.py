"""Generated C, compiled for this machine and run over arrays."""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from memkd_sklearn._files import read_whole
from memkd_sklearn._types import ArrayLike, Floats, Labels, StrPath

__all__ = ["CompiledStudent"]

# One series a call: a call costs a microsecond, a step in Python would cost one each.
DRIVER = """
#include "generated.c"

#ifdef __cplusplus
extern "C" {{
#endif

int channels(void) {{ return {NAME}_CHANNELS; }}
int classes(void) {{ return {NAME}_CLASSES; }}
const char *label(int k) {{ return {name}_labels[k]; }}

int run(const float *values, long n_timepoints, double *proba)
{{
    {name}_state state;
    {name}_proba raw[{NAME}_CLASSES];
    int k;
    {name}_reset(&state);
    while (n_timepoints-- > 0) {{
        {feed}
        values += {NAME}_CHANNELS;
    }}
    {name}_predict_proba(&state, raw);
    for (k = 0; k < {NAME}_CLASSES; k++)
        proba[k] = (double)raw[k] / {one};
    return {name}_predict(&state);
}}

#ifdef __cplusplus
}}
#endif
"""
FEED_FLOAT = "{name}_step(&state, values);"
FEED_INTEGER = """{name}_input x[{NAME}_CHANNELS];
        {name}_quantise(values, x);
        {name}_step(&state, x);"""


class CompiledStudent:
    """The C file that `to_c` wrote, as a classifier in Python: the very code that ships.

    Parameters
    ----------
    path : path-like
        The C file. It is compiled and run: load none that you do not trust.

    Attributes
    ----------
    labels : list of str
        Class labels as the C code has them.

    Notes
    -----
    The compiler is the one that the environment variable CC names, or else cc, gcc or clang.
    """

    def __init__(self, path: StrPath) -> None:
        path = Path(path)
        self._build(read_whole(path), path)

    def _build(self, source, path):
        text = source.decode("ascii", "replace")
        found = re.search(r"^int ([A-Za-z]\w*)_predict\(const", text, re.MULTILINE)
        if not found or not text.startswith(f"/* {found[1]}: a recurrent"):
            raise ValueError(f"Got {str(path)!r}, but expected a C file that to_c wrote.")
        names = {"name": found[1], "NAME": found[1].upper()}
        integers = re.search(f"^void {found[1]}_quantise", text, re.MULTILINE) is not None
        feed = (FEED_INTEGER if integers else FEED_FLOAT).format(**names)
        driver = DRIVER.format(feed=feed, one=32768 if integers else 1, **names)
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "student.so"
            (Path(folder) / "generated.c").write_bytes(source)
            (Path(folder) / "driver.c").write_text(driver)
            command = [
                *_compiler(),
                "-std=c99",
                "-O2",
                "-shared",
                "-fPIC",
                "driver.c",
                "-o",
                library.name,
                "-lm",
            ]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
            self._library = ctypes.CDLL(str(library))
        self._source, self._path = source, path
        self._library.label.restype = ctypes.c_char_p
        self._library.run.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p]
        self._n_channels = self._library.channels()
        self.labels = [
            self._library.label(k).decode("utf-8", "surrogatepass")
            for k in range(self._library.classes())
        ]

    def __getstate__(self):
        return self._source, self._path  # compiled code stays on its machine

    def __setstate__(self, kept):
        self._build(*kept)

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Class probabilities of each series.

        Parameters
        ----------
        X : ndarray of shape (n_cases, n_channels, n_timepoints), or a list of 2-D arrays
            Series, in the units of the training data.

        Returns
        -------
        ndarray of shape (n_cases, n_classes)
        """
        return self._run(X)[0]

    def predict(self, X: ArrayLike) -> Labels:
        """Predict labels, by the C code's own choice.

        Parameters
        ----------
        X : ndarray of shape (n_cases, n_channels, n_timepoints), or a list of 2-D arrays
            Series, in the units of the training data.

        Returns
        -------
        ndarray of shape (n_cases,)
            Labels as text.
        """
        return np.array(self.labels)[self._run(X)[1]]

    def _run(self, X):
        proba = np.empty((len(X), len(self.labels)))
        chosen = np.empty(len(X), dtype=int)
        for case, series in enumerate(X):
            steps = np.ascontiguousarray(np.asarray(series).T, dtype=np.float32)
            if steps.ndim != 2 or steps.shape[1] != self._n_channels or not len(steps):
                raise ValueError(
                    f"Got a series of shape {np.shape(series)}, but expected "
                    f"({self._n_channels}, n_timepoints)."
                )
            chosen[case] = self._library.run(steps.ctypes.data, len(steps), proba[case].ctypes.data)
        return proba, chosen


def _compiler():
    if chosen := os.environ.get("CC", "").split():
        if shutil.which(chosen[0]):
            return chosen
        raise RuntimeError(f"Got CC={' '.join(chosen)!r}, but expected a compiler that is there.")
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise RuntimeError("Got no C compiler, but expected one as CC, cc, gcc or clang.")
