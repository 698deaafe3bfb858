"""What students should be fed: measured on held-out parts of training splits only.

A third of each training split is held out, as in `defaults.py`. Networks that learn from labels
and distilled ones are fitted on the rest, and on series made of it; the held-out third scores
them. No test split is read. A variant is a constructor's call, in which n_steps=4500 stands for
the n_epochs that make as many optimisation steps, and pool=1500 for the synthetic that fills a
training split up to as many series. Students learn from --teacher, which is fitted
once a split and kept in --cache. Appends a JSON line a run to --out, and skips runs that are
there. Prints the means over sets and, with its standard error over sets, the mean difference
from the first variant. With --labelled 10, students see ten labels only, and, where a variant says
unlabelled=True, up to 500 of the other series without theirs; they need an --out of their own, and
so do series of another --length, which their rows tell.

    python studies/diet.py --data-path DIR --variants "RecurrentClassifier(9, 1, 'gru')"
"""

import argparse
import itertools
import math
import time
import warnings
from functools import partial
from pathlib import Path

import discrepancies
import joblib
import numpy as np
from defaults import BATCH_SIZE, score, split
from runs import DATA_SETS, Runs
from sklearn.utils import check_random_state

import memkd_sklearn
from memkd_sklearn import augmentation, losses
from memkd_sklearn.augmentation.augmenter import ENOUGH
from memkd_sklearn.training.data import stratified_holdout

MORE_DATA_SETS = [
    *("BME", "Chinatown", "DistalPhalanxOutlineCorrect", "DistalPhalanxTW", "ECGFiveDays"),
    *("MedicalImages", "PowerCons", "SmoothSubspace", "SonyAIBORobotSurface1", "UMD"),
    *("Beef", "CricketX", "DiatomSizeReduction", "Lightning7", "Meat", "OSULeaf"),
    *("ToeSegmentation1", "WordSynonyms"),
]
MOST_UNLABELLED = 500
ROOMS = augmentation, losses, discrepancies
NAMES = {name: getattr(room, name) for room in ROOMS for name in room.__all__}


def build(call, n_cases, **settings):
    """Make the classifier of a call such as "MemKDClassifier(long_weight=0.1)"."""

    def make(kind, *args, n_steps=None, pool=None, **kwargs):
        if kind is not memkd_sklearn.RecurrentClassifier:
            args = settings["teacher"], *args
            kwargs["memory"] = settings["memory"]
        if kwargs.get("unlabelled"):
            kwargs["unlabelled"] = settings["unlabelled"]
        if pool:
            kwargs["synthetic"] = max(pool - n_cases, 0)
        if n_steps:
            synthetic = kwargs.get("synthetic", "auto")
            n_made = getattr(synthetic, "n_cases", synthetic)
            n_made = max(ENOUGH - n_cases, 0) if n_made == "auto" else n_made
            kwargs["n_epochs"] = max(1, n_steps // math.ceil((n_cases + n_made) / BATCH_SIZE))
        return kind(*args, **kwargs, random_state=settings["random_state"])

    kinds = {name: partial(make, getattr(memkd_sklearn, name)) for name in memkd_sklearn.__all__}
    return eval(call, NAMES | kinds)


def fit(call, X, y, **settings):
    return build(call, len(X), **settings).fit(X, y)


def fitted_teacher(name, number, args):
    """The teacher of a split, from the cache if it is there."""
    file = args.cache / f"{name}-{number}-{joblib.hash((args.teacher, args.length))}.joblib"
    if not file.exists():
        X, y, *_ = split(name, number, args, args.length)
        teacher = fit(args.teacher, X, y, random_state=number)
        args.cache.mkdir(parents=True, exist_ok=True)
        joblib.dump(teacher, file.with_suffix(".part"))
        file.with_suffix(".part").rename(file)
    return joblib.load(file)


def fitted(name, number, variant, seed, args):
    X, y, *_ = split(name, number, args, args.length)
    settings = {"random_state": seed}
    if args.labelled:
        target = np.unique(y, return_inverse=True)[1]
        kept = stratified_holdout(target, args.labelled, check_random_state(seed))
        X, y, settings["unlabelled"] = X[kept], y[kept], X[~kept][:MOST_UNLABELLED]
    if not variant.startswith("RecurrentClassifier"):
        settings["teacher"] = fitted_teacher(name, number, args)
        settings["memory"] = str(args.cache / "read")
    return fit(variant, X, y, **settings)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout")
    parser.add_argument("--data-sets", nargs="+", default=[*DATA_SETS, *MORE_DATA_SETS])
    parser.add_argument("--variants", nargs="*", default=[], help="constructor calls")
    parser.add_argument("--teacher", help="constructor call; none for networks without one")
    parser.add_argument("--labelled", type=int, help="labels that students see (default: all)")
    parser.add_argument("--length", type=int, default=100, help="most time points of a series")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--splits", nargs="+", type=int, default=[0], help="held-out thirds' seeds")
    parser.add_argument("--cache", type=Path, default=Path("teachers"))
    parser.add_argument("--out", type=Path, default=Path("diet.jsonl"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    runs = Runs(args.out)

    def measure(name, number, make):
        began = time.perf_counter()
        classifier = make()
        seconds = round(time.perf_counter() - began, 2)
        return score(classifier, *split(name, number, args, args.length)[2:]) | {"seconds": seconds}

    for number, name in itertools.product(args.splits, args.data_sets):
        for key in keys(name, number, args):
            if key["variant"] == "teacher":
                make = partial(fitted_teacher, name, number, args)
            else:
                make = partial(fitted, name, number, key["variant"], key["seed"], args)
            runs.add(key, partial(measure, name, number, make))
    print(table(runs, args))


def keys(name, number, args):
    """What describes the runs on a split: those of the teacher and of each variant and seed."""
    about = {"data_set": name, "split": number, "teacher": args.teacher}
    about |= {"length": args.length} if args.length != 100 else {}
    found = [about | {"variant": "teacher", "seed": number}] if args.teacher else []
    for variant, seed in itertools.product(args.variants, args.seeds):
        teacher = None if variant.startswith("RecurrentClassifier") else args.teacher
        labelled = {"labelled": args.labelled} if args.labelled else {}
        found.append(about | {"variant": variant, "seed": seed, "teacher": teacher} | labelled)
    return found


def table(runs, args):
    """Mean scores over sets, seconds a fit, and the difference from the first variant."""
    lines = ["AUC-PRC accuracy seconds  difference from the first, of AUC-PRC and accuracy"]
    first = None
    for variant in [*(["teacher"] if args.teacher else []), *args.variants]:
        means = np.array([mean_of_set(name, variant, runs, args) for name in args.data_sets])
        line = "{:7.4f} {:8.4f} {:7.1f}".format(*means.mean(axis=0))
        if variant != "teacher":
            first = means if first is None else first
            gains = (means - first)[:, :2]
            errors = gains.std(axis=0, ddof=1) / math.sqrt(len(gains))
            both = zip(gains.mean(axis=0), errors, strict=True)
            line += "".join(f"  {gain:+.4f} ± {error:.4f}" for gain, error in both)
        lines.append(f"{line}  {variant}")
    return "\n".join(lines)


def mean_of_set(name, variant, runs, args):
    """AUC-PRC, accuracy and seconds, over splits and seeds."""
    wanted = [key for number in args.splits for key in keys(name, number, args)]
    rows = [runs.select(**key)[0] for key in wanted if key["variant"] == variant]
    return [np.mean([row[score] for row in rows]) for score in ("auc_prc", "accuracy", "seconds")]


if __name__ == "__main__":
    main()
