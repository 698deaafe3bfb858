"""emlearn's trees and small nets on simple features of the same series, in C.

Features need no buffer: each channel has sums over equal parts of the series, of squares and of
absolute changes, the least and the largest reading. Kind and size of the model are those with the
highest accuracy over five parts of the training split, the earlier one where two are equal.
"""

import contextlib
import copy
import ctypes
import os
import subprocess
import warnings

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.feature_selection import VarianceThreshold
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from . import microseconds, object_bytes

N_PARTS = 8
N_CASES_ON_BOARD = 20
CANDIDATES = {
    **{f"tree of depth {d}": DecisionTreeClassifier(max_depth=d, random_state=0) for d in (3, 6)},
    **{
        f"{kind} of {n} trees": forest(n, min_samples_leaf=2, random_state=0)
        for n in (5, 10, 30)
        for kind, forest in (("forest", RandomForestClassifier), ("extra", ExtraTreesClassifier))
    },
    **{
        f"net of {n} units": make_pipeline(
            VarianceThreshold(1e-6),  # squares of standardised series add up to nearly the same
            StandardScaler(),
            MLPClassifier((n,), alpha=0.1, solver="lbfgs", max_iter=300, random_state=0),
        )
        for n in (4, 8, 16)
    },
}

SOURCE = """
#include <math.h>
#include <stdint.h>
{model}
#define CHANNELS {n_channels}
#define STEPS {n_steps}
#define PARTS {n_parts}
#define FEATURES (PARTS + 4)

static float features[CHANNELS * FEATURES], last[CHANNELS];
static int32_t t;

void begin(void)
{{
    int i;
    for (i = 0; i < CHANNELS * FEATURES; i++)
        features[i] = 0;
    t = 0;
}}

void update(const float *x)
{{
    int k;
    for (k = 0; k < CHANNELS; k++) {{
        float *f = features + k * FEATURES;
        f[t * PARTS / STEPS] += x[k];
        f[PARTS] += x[k] * x[k];
        if (t)
            f[PARTS + 1] += fabsf(x[k] - last[k]);
        if (!t || x[k] < f[PARTS + 2])
            f[PARTS + 2] = x[k];
        if (!t || x[k] > f[PARTS + 3])
            f[PARTS + 3] = x[k];
        last[k] = x[k];
    }}
    t++;
}}

int answer(void) {{ return (int)model_predict(features, CHANNELS * FEATURES); }}
"""

LOOP = """
int run(const float *x, long n_cases, int *labels)
{
    long i;
    int s;
    for (i = 0; i < n_cases; i++) {
        begin();
        for (s = 0; s < STEPS; s++, x += CHANNELS)
            update(x);
        labels[i] = answer();
    }
    return 0;
}
"""

LINKED = """
static float x[CHANNELS];
int main(void)
{
    for (;;) {
        begin();
        update(x);
        x[0] = (float)answer();
    }
}
"""

ON_BOARD = """
void print(const char *name, long value);
uint32_t now(void);
static const float data[] = {{{data}}};

int main(void)
{{
    volatile char *top, *p;
    const float *x = data;
    uint32_t start;
    int i, s;
    __asm__ volatile("mov %0, sp" : "=r"(top));
    for (p = top - 2000; p < top; p++)
        *p = 0x55;
    for (i = 0; i < {n_cases}; i++) {{
        start = now();
        begin();
        for (s = 0; s < STEPS; s++, x += CHANNELS)
            update(x);
        s = answer();
        print("ticks ", (long)((now() - start) & 0xffffff));
        print("label ", s);
    }}
    for (p = top - 2000; *p == 0x55; p++) {{ }}
    print("stack ", (long)(top - p));
    return 0;
}}
"""


def measure(task, folder):
    import emlearn

    os.environ["C_INCLUDE_PATH"] = emlearn.includedir
    X = task.X_train.astype(np.float32)
    name, model = _best(features(X), task.y_train)
    n_steps = X.shape[2]
    source = SOURCE.format(
        model=_in_c(emlearn, model, folder), n_channels=X.shape[1], n_steps=n_steps, n_parts=N_PARTS
    )
    run = _compiled(source + LOOP, folder)
    chosen = run(task.X)
    row = task.row(f"emlearn {emlearn.__version__}, {name}", np.eye(len(model.classes_))[chosen])
    # No student: it learned by itself, and answers once a series.
    row |= {"model": "features", "difference": None, "library": None, "streaming": False}
    yield row | {
        "where": "x86-64",
        "flash": object_bytes(source, folder),
        "ram": None,
        "time": microseconds(lambda: run(task.X[:1]), n_steps),
        "unit": "us a step",
    }
    from deploy.c import arm

    if arm.ABSENT:
        raise FileNotFoundError(f"{', '.join(arm.ABSENT)} not found")
    values = np.swapaxes(task.X[:N_CASES_ON_BOARD], 1, 2).ravel().tolist()
    program = ON_BOARD.format(data=", ".join(f"{v}f" for v in values), n_cases=N_CASES_ON_BOARD)
    printed = arm.run(arm.M4F, folder, source + program)
    if printed["label"] != chosen[:N_CASES_ON_BOARD].tolist():
        raise AssertionError(f"Got labels {printed['label']} on the board, not those of x86-64.")
    flash, static = arm.linked(arm.M4F, folder, source + LINKED)
    ticks = np.mean(printed["ticks"]) / n_steps
    yield row | {
        "where": "cortex-m4f",
        "flash": flash,
        "ram": static + max(printed["stack"]),
        "time": ticks * 1e9 / arm.M4F.ticks_per_second,
        "unit": "instructions a step",
    }


def features(X):
    """The features of SOURCE, (n_cases, n_channels * n_features), in float64."""
    parts = np.arange(X.shape[2]) * N_PARTS // X.shape[2]
    X = X.astype(float)
    sums = [X[..., parts == part].sum(axis=2) for part in range(N_PARTS)]
    others = [(X**2).sum(axis=2), np.abs(np.diff(X)).sum(axis=2), X.min(axis=2), X.max(axis=2)]
    return np.stack(sums + others, axis=2).reshape(len(X), -1)


def _best(F, y):
    scores = {}
    for name, candidate in CANDIDATES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of nets that go on improving
            scores[name] = cross_val_score(candidate, F, y, cv=5).mean()
    name = max(scores, key=scores.get)
    return name, copy.deepcopy(CANDIDATES[name]).fit(F, y)


def _in_c(emlearn, model, folder):
    """The model's C, with what is done to features in the first weights."""
    if not hasattr(model, "steps"):
        converted = emlearn.convert(model, method="inline", dtype="float", leaf_bits=8)
        return converted.save(name="model", include_proba=False)
    (_, chosen), (_, scaler), (_, net) = model.steps
    net = copy.deepcopy(net)
    net.coefs_[0] = net.coefs_[0] / scaler.scale_[:, None]
    net.intercepts_[0] = net.intercepts_[0] - scaler.mean_ @ net.coefs_[0]
    net.coefs_[0] = chosen.inverse_transform(net.coefs_[0].T).T
    # Inline, 0.23.2 writes no nets: it takes the name of an activation for a number.
    with contextlib.chdir(folder):  # it leaves files there
        return emlearn.convert(net, method="loadable").save(name="model", inference=["loadable"])


def _compiled(source, folder):
    (folder / "emlearn.c").write_text(source)
    library = folder / "emlearn.so"
    subprocess.run(
        ["gcc", "-O2", "-shared", "-fPIC", folder / "emlearn.c", "-o", library, "-lm"], check=True
    )
    loaded = ctypes.CDLL(str(library))
    loaded.run.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p]

    def run(X):
        steps = np.ascontiguousarray(np.swapaxes(X, 1, 2), dtype=np.float32)
        labels = np.empty(len(X), np.int32)
        loaded.run(steps.ctypes.data, len(X), labels.ctypes.data)
        return labels

    return run
