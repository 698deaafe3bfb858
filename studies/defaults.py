"""Which settings train students well: measured on held-out parts of training splits only.

A third of each training split is held out. A default teacher is fitted on the rest (and kept
in --cache), and so is every variant of the student; the held-out third scores them. No test
split is read. Appends a JSON line a run to --out, skips runs that are there, prints the means
and, of the same runs, the mean difference from the first variant with its standard error: once
where data sets count alike, and once where held-out cases do, of which some sets have but six.
In a variant, n_steps=4500 stands for the n_epochs that make as many optimisation steps.

    python studies/defaults.py --data-path DIR --variants "MemKDClassifier(long_weight=0.1)"
"""

import argparse
import ast
import itertools
import math
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from runs import DATA_SETS, Runs, fit_teacher
from sklearn.utils import check_random_state

import memkd_sklearn
from memkd_sklearn.benchmark import auc_prc, load_split
from memkd_sklearn.training.data import stratified_holdout

BATCH_SIZE = 16  # the default


def split(name, number, args, length=100):
    X, y = load_split(name, "train", args.data_path, length)
    target = np.unique(y, return_inverse=True)[1]
    held = stratified_holdout(target, len(y) // 3, check_random_state(number))
    return X[~held], y[~held], X[held], y[held]


def held_out_teacher(name, number, args):
    train = split(name, number, args)[:2]
    return fit_teacher(f"{name}-{number}", train, args.cache, random_state=number)


def seeds_of(variant, number, args):
    """Seeds of the fits on a split: a teacher is fitted once, with the split's own."""
    return [number] if variant == "teacher" else args.seeds


def score(classifier, X, y):
    proba = classifier.predict_proba(X)
    return {
        "accuracy": round(float(np.mean(classifier.classes_[proba.argmax(1)] == y)), 4),
        "auc_prc": round(auc_prc(y, proba, classifier.classes_), 4),
    }


def build(variant, teacher, seed, n_cases):
    """Make the classifier of a constructor's call such as "MemKDClassifier(long_weight=0.1)"."""
    call = ast.parse(variant, mode="eval").body
    arguments = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    if call.func.id != "RecurrentClassifier":
        arguments["teacher"] = teacher
    if n_steps := arguments.pop("n_steps", None):
        arguments["n_epochs"] = n_steps // math.ceil(n_cases / BATCH_SIZE)
    return getattr(memkd_sklearn, call.func.id)(**arguments, random_state=seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout")
    parser.add_argument("--data-sets", nargs="+", default=DATA_SETS)
    parser.add_argument("--variants", nargs="*", default=[], help="constructor calls")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--splits", nargs="+", type=int, default=[0], help="held-out thirds' seeds")
    parser.add_argument("--cache", type=Path, default=Path("teachers"))
    parser.add_argument("--out", type=Path, default=Path("defaults.jsonl"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    runs = Runs(args.out)

    def fit_and_score(name, number, make):
        began = time.perf_counter()
        classifier = make()
        seconds = round(time.perf_counter() - began, 2)
        return score(classifier, *split(name, number, args)[2:]) | {"seconds": seconds}

    def fit(name, number, variant, seed):
        X, y, *_ = split(name, number, args)
        return build(variant, held_out_teacher(name, number, args), seed, len(X)).fit(X, y)

    for number, name in itertools.product(args.splits, args.data_sets):
        for variant in ["teacher", *args.variants]:
            for seed in seeds_of(variant, number, args):
                key = {"data_set": name, "split": number, "variant": variant, "seed": seed}
                if variant == "teacher":
                    make = partial(held_out_teacher, name, number, args)
                else:
                    make = partial(fit, name, number, variant, seed)
                runs.add(key, partial(fit_and_score, name, number, make))
    print(table(runs, args))


def table(runs, args):
    """Mean scores on each set, their mean, and how that differs from the first variant's."""
    heads = "".join(f"{name[:8]:>9}" for name in [*args.data_sets, "mean"])
    n_cases = [[len(split(name, n, args)[3]) for n in args.splits] for name in args.data_sets]
    by_cases = np.repeat(n_cases, len(args.seeds), axis=1)
    lines = ["", "Held-out AUC-PRC", f"{'':64}{heads}"]
    for variant in ["teacher", *args.variants]:
        scores = scores_of(variant, runs, args)
        means = [*scores.mean(axis=1), scores.mean()]
        line = f"{variant[:63]:64}" + "".join(f"{mean:9.3f}" for mean in means)
        if variant in args.variants[1:]:
            gains = scores - scores_of(args.variants[0], runs, args)
            line += "".join(map(mean_and_error, [gains] * 2, [np.ones_like(gains), by_cases]))
        lines.append(line)
    return "\n".join(lines)


def mean_and_error(values, weights):
    """Say a weighted mean and its standard error."""
    weights = weights / weights.sum()
    mean = np.sum(weights * values)
    variance = np.sum((weights * (values - mean)) ** 2) * values.size / (values.size - 1)
    return f"  {mean:+.3f} ± {np.sqrt(variance):.3f}"


def scores_of(variant, runs, args):
    """AUC-PRC, an array of a row a data set."""
    keys = [{"variant": variant, "data_set": name} for name in args.data_sets]
    wanted = [(n, seed) for n in args.splits for seed in seeds_of(variant, n, args)]
    found = [runs.select(**key, split=n, seed=seed)[0] for key in keys for n, seed in wanted]
    return np.reshape([row["auc_prc"] for row in found], (len(keys), len(wanted)))


if __name__ == "__main__":
    main()
