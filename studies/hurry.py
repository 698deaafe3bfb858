"""The price of a teacher's hurry, and of rounding its gradients: held-out parts of training splits.

A third of each training split is held out and scores a default teacher that is fitted on the rest,
with the made-up series of the default and without any: as it is; at an even pace, as if nothing
were ever learned; and with gradients from products of float32 throughout. No test split is read.
Series are resized to --length time points. Appends a JSON line a run to --out, skips runs that are
there, and prints means and, of the same runs, mean differences from the first variant with their
standard errors. Seconds are the thread's processor time in fits::

    python studies/hurry.py --data-path DIR --length 32 --out studies/results/hurry.jsonl
"""

import argparse
import itertools
import os
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from runs import Runs
from sklearn.utils import check_random_state

from memkd_sklearn import RecurrentClassifier
from memkd_sklearn.benchmark import auc_prc, load_split
from memkd_sklearn.network import wide
from memkd_sklearn.training import callbacks
from memkd_sklearn.training.data import stratified_holdout

DATA_SETS = [
    *("CBF", "ItalyPowerDemand", "RacketSports", "UMD", "BME", "Lightning7"),
    *("NATOPS", "Trace", "DistalPhalanxTW", "SmoothSubspace", "MedicalImages", "Strawberry"),
]
VARIANTS = ("even pace, float32", "even pace", "default")


def fit_and_score(name, number, variant, synthetic, args):
    X, y = load_split(name, "train", args.data_path, args.length)
    target = np.unique(y, return_inverse=True)[1]
    held = stratified_holdout(target, len(y) // 3, check_random_state(number))
    pace, has_tiles = callbacks.PACE, wide._has_tiles
    try:
        if variant != "default":
            callbacks.PACE = 1
        if variant == "even pace, float32":
            wide._has_tiles = lambda: False
        began = time.thread_time()
        teacher = RecurrentClassifier(synthetic=synthetic, random_state=number)
        teacher.fit(X[~held], y[~held])
        seconds = time.thread_time() - began
    finally:
        callbacks.PACE, wide._has_tiles = pace, has_tiles
    proba = teacher.predict_proba(X[held])
    return {
        "auc_prc": round(auc_prc(y[held], proba, teacher.classes_), 4),
        "accuracy": round(float(np.mean(teacher.classes_[proba.argmax(1)] == y[held])), 4),
        "seconds": round(seconds, 1),
        "epochs": len(teacher.history_),
    }


def table(runs):
    lines = [f"{'synthetic':>10}  {'':22}{'AUC-PRC':>8}{'accuracy':>9}{'seconds':>9}{'runs':>5}"]
    for synthetic in ("auto", 0):
        found = {v: runs.select(variant=v, synthetic=synthetic) for v in VARIANTS}
        keys = [{(r["data_set"], r["split"]): r for r in rows} for rows in found.values()]
        common = sorted(set.intersection(*map(set, keys)))
        if len(common) < 2:
            continue
        first, *_ = keys
        for variant, rows in zip(VARIANTS, keys, strict=True):
            means = [
                np.mean([rows[k][m] for k in common]) for m in ("auc_prc", "accuracy", "seconds")
            ]
            line = f"{synthetic!s:>10}  {variant:22}{means[0]:8.3f}{means[1]:9.3f}{means[2]:9.1f}"
            gains = np.array([rows[k]["auc_prc"] - first[k]["auc_prc"] for k in common])
            error = gains.std(ddof=1) / np.sqrt(len(gains))
            lines.append(f"{line}{len(common):5}  {gains.mean():+.3f} ± {error:.3f}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout")
    parser.add_argument("--data-sets", nargs="+", default=DATA_SETS)
    parser.add_argument("--splits", nargs="+", type=int, default=[0, 1], help="thirds' seeds")
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("hurry.jsonl"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    runs = Runs(args.out)
    for number, name, synthetic in itertools.product(args.splits, args.data_sets, ("auto", 0)):
        for variant in VARIANTS:
            key = {"data_set": name, "split": number, "synthetic": synthetic, "variant": variant}
            runs.add(
                key | {"length": args.length},
                lambda name=name, number=number, variant=variant, synthetic=synthetic: (
                    fit_and_score(name, number, variant, synthetic, args)
                ),
            )
    print(table(runs))


if __name__ == "__main__":
    main()
