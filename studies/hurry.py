"""How long a teacher takes, and how good it is: held-out parts of training splits.

A third of each training split is held out and scores a teacher that is fitted on the rest, with
the made-up series of the default and without any: the default one; others, of a variant's
parameters and constants of `memkd_sklearn.training.plan`; and, with --earlier, the default one of
another version of the package, whose checkout is in a folder, given the same made-up series or
none. No test split is read. Series are resized to --length time points. Each fit has a process of
its own and --n-jobs threads, and is preceded by one of one epoch, for the kernels. Appends a JSON
line a run to --out, skips runs that are there, and prints means over those data sets and splits
that all kinds of fits have, with mean differences from the first of as many series and their
standard errors, and the median of their ratios of time. Seconds are by the clock::

    git worktree add ../earlier 85c0160
    python studies/hurry.py --data-path DIR --earlier ../earlier --out studies/results/hurry.jsonl
    python studies/hurry.py --data-path DIR --variants default "STEPS=4500 RATE=0.002"
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from ast import literal_eval
from contextlib import suppress
from pathlib import Path

import numpy as np


def fit(folder, variant, synthetic, n_jobs, seed):
    """Fit a teacher of any version of the package, and write its answers; in its own process."""
    warnings.simplefilter("ignore")
    from memkd_sklearn import RecurrentClassifier

    data = np.load(folder / "data.npz")
    params = {"n_jobs": n_jobs, "random_state": seed}
    if variant == "earlier":  # whose data have the made-up series: none of them is held out
        params |= {} if synthetic == 0 else {"early_stopping": False}
    else:
        params["synthetic"] = synthetic
    if "=" in variant:
        from memkd_sklearn.training import plan

        for name, value in (word.split("=") for word in variant.split()):
            with suppress(ValueError):  # a word stands for itself
                value = literal_eval(value)
            if not name.isupper():
                params[name] = value
            elif hasattr(plan, name):
                setattr(plan, name, value)
            else:
                raise ValueError(f"Got {name}, but expected a constant of {plan.__name__}.")
    RecurrentClassifier(n_epochs=1, **params).fit(data["X"], data["y"])
    began = time.perf_counter()
    teacher = RecurrentClassifier(**params).fit(data["X"], data["y"])
    seconds = time.perf_counter() - began
    proba = teacher.predict_proba(data["held"])
    np.savez(folder / "answers.npz", proba=proba, classes=teacher.classes_)
    print(json.dumps({"seconds": round(seconds, 1), "epochs": len(teacher.history_)}))


def fit_and_score(name, number, variant, synthetic, args):
    from sklearn.utils import check_random_state

    from memkd_sklearn.augmentation.augmenter import Augmenter, n_to_fill_up
    from memkd_sklearn.benchmark import auc_prc, load_split
    from memkd_sklearn.training.data import stratified_holdout
    from memkd_sklearn.training.plan import TrainingSettings

    X, y = load_split(name, "train", args.data_path, args.length)
    target = np.unique(y, return_inverse=True)[1]
    held = stratified_holdout(target, len(y) // 3, check_random_state(number))
    package = Path(args.earlier if variant == "earlier" else Path(__file__).parents[1]).resolve()
    series, labels = X[~held], target[~held]
    if (variant, synthetic) == ("earlier", "auto"):
        n_made = n_to_fill_up(series, TrainingSettings.enough_series(10**6))
        made = Augmenter(n_cases=n_made, random_state=number).make(series, labels)
        series, labels = np.concatenate([series, made[0]]), np.concatenate([labels, made[1]])
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "data.npz"), X=series, y=labels, held=X[held])
        command = [
            __file__,
            "--fit",
            folder,
            variant,
            str(synthetic),
            str(args.n_jobs),
            str(number),
        ]
        environment = {"PYTHONPATH": str(package), "OMP_NUM_THREADS": str(args.n_jobs)}
        found = subprocess.run(
            [sys.executable, *command],
            env=os.environ | environment,
            check=True,
            stdout=subprocess.PIPE,
        )
        with np.load(Path(folder, "answers.npz")) as answers:
            proba, classes = answers["proba"], answers["classes"]
    return {
        "auc_prc": round(auc_prc(target[held], proba, classes), 4),
        "accuracy": round(float(np.mean(classes[proba.argmax(1)] == target[held])), 4),
        **json.loads(found.stdout),
    }


def table(runs, kinds):
    found = [
        {(r["data_set"], r["split"]): r for r in runs.select(variant=v, synthetic=s)}
        for v, s in kinds
    ]
    common = sorted(set.intersection(*map(set, found)))
    lines = [f"{len(common)} sets and splits", f"{'':34}AUC-PRC accuracy seconds  AUC-PRC, / time"]
    firsts = {s: rows for (_, s), rows in reversed([*zip(kinds, found, strict=True)])}
    for (variant, synthetic), rows in zip(kinds, found, strict=True):
        first = firsts[synthetic]
        means = [np.mean([rows[k][m] for k in common]) for m in ("auc_prc", "accuracy", "seconds")]
        gains = np.array([rows[k]["auc_prc"] - first[k]["auc_prc"] for k in common])
        error = gains.std(ddof=1) / np.sqrt(len(gains))
        ratio = np.median([first[k]["seconds"] / rows[k]["seconds"] for k in common])
        lines.append(
            f"{f'{variant}, {synthetic}':34}{means[0]:8.3f}{means[1]:9.3f}{means[2]:8.1f}"
            f"{gains.mean():+9.3f} ± {error:.3f}{ratio:7.2f}"
        )
    return "\n".join(lines)


def main():
    if sys.argv[1:2] == ["--fit"]:
        folder, variant, synthetic, n_jobs, seed = sys.argv[2:]
        synthetic = synthetic if synthetic == "auto" else int(synthetic)
        fit(Path(folder), variant, synthetic, int(n_jobs), int(seed))
        return
    from diet import MORE_DATA_SETS
    from runs import DATA_SETS, Runs

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout")
    parser.add_argument("--data-sets", nargs="+", default=[*DATA_SETS, *MORE_DATA_SETS])
    parser.add_argument("--splits", nargs="+", type=int, default=[0], help="thirds' seeds")
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--earlier", type=Path, help="folder of another version of the package")
    parser.add_argument("--variants", nargs="+", default=["default"], help="or 'NAME=value ...'")
    parser.add_argument("--synthetic", nargs="+", default=["0", "auto"], choices=["0", "auto"])
    parser.add_argument("--out", type=Path, default=Path("hurry.jsonl"))
    args = parser.parse_args()
    variants = [*(["earlier"] if args.earlier else []), *args.variants]
    synthetic = [s if s == "auto" else int(s) for s in args.synthetic]
    kinds = [(variant, s) for s in synthetic for variant in variants]
    runs = Runs(args.out)
    for number, name in itertools.product(args.splits, args.data_sets):
        for variant, synthetic in kinds:
            key = {"data_set": name, "split": number, "synthetic": synthetic, "variant": variant}
            runs.add(
                key | {"length": args.length, "n_jobs": args.n_jobs},
                lambda name=name, number=number, variant=variant, synthetic=synthetic: (
                    fit_and_score(name, number, variant, synthetic, args)
                ),
            )
    print(table(runs, kinds))


if __name__ == "__main__":
    main()
