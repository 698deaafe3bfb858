"""How early students know: measured on held-out thirds of training splits only.

A third of each training split is held out, as in `diet.py`; teachers and students are fitted on the
rest: students by default, and on beginnings of made-up series as well. On one half of the third a
rule that ends the reading is chosen, by the harmonic mean of accuracy and earliness, and the other
half scores it; then the halves change places. No test split is read. Teachers are kept in --cache.
Appends a JSON line a run to --out, skips runs that are there, and prints the accuracy after shares
of a series, and what the rules reach::

    python studies/early.py --data-path DIR --out studies/results/early.jsonl
"""

import argparse
import itertools
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from diet import fitted, split
from runs import Runs
from sklearn.utils import check_random_state

from memkd_sklearn.earliness import choose_early_decision, score_early
from memkd_sklearn.training.data import stratified_holdout

DATA_SETS = ["SmoothSubspace", "Trace", "PowerCons"]
# Names, and constructors' calls. The changes are the default ones, and at the end a cut.
EARLY = "Augmenter([Mixture(), TimeWarp(), WindowSlice(), Scaling(), Noise(), Beginning()])"
VARIANTS = {
    "labels": "RecurrentClassifier(9, 1, 'gru', n_init=2)",
    "labels, beginnings": f"RecurrentClassifier(9, 1, 'gru', n_init=2, synthetic={EARLY})",
    "MemKD": "MemKDClassifier(soft_target_weight=0)",
    "MemKD, beginnings": f"MemKDClassifier(synthetic={EARLY}, soft_target_weight=0)",
}
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


def measure(name, number, variant, seed, args):
    *_, X, y = split(name, number, args)
    student = fitted(name, number, variant, seed, args)
    right = student.classes_[student.running_proba(X).argmax(axis=2)] == y[:, np.newaxis]
    ends = [max(1, round(share * right.shape[1])) - 1 for share in SHARES]
    rng = check_random_state(number)
    half = stratified_holdout(np.unique(y, return_inverse=True)[1], len(y) // 2, rng)
    found = []
    for chosen, scored in ((half, ~half), (~half, half)):
        rule, _ = choose_early_decision(student, X[chosen], y[chosen])
        found.append(score_early(student, X[scored], y[scored], rule))
    row = {"after": [round(float(right[:, end].mean()), 4) for end in ends]}
    for score in ("accuracy", "earliness", "harmonic_mean"):
        row[score] = round(float(np.mean([getattr(one, score) for one in found])), 4)
    return row


def table(runs, args):
    lines = [f"{'':22}accuracy after{SHARES[0]:7}" + "".join(f"{s:7}" for s in SHARES[1:])]
    lines[0] += "   by the rule: accuracy, share read, harmonic mean"
    for name, variant in itertools.product(args.data_sets, VARIANTS):
        rows = runs.select(data_set=name, variant=VARIANTS[variant])
        after = np.mean([row["after"] for row in rows], axis=0)
        rule = [np.mean([r[s] for r in rows]) for s in ("accuracy", "earliness", "harmonic_mean")]
        numbers = "".join(f"{value:7.3f}" for value in after) + "   "
        numbers += "".join(f"{value:7.3f}" for value in rule)
        lines.append(f"{name:16}{variant:20}{numbers}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout")
    parser.add_argument("--data-sets", nargs="+", default=DATA_SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--splits", nargs="+", type=int, default=[0], help="held-out thirds' seeds")
    parser.add_argument("--cache", type=Path, default=Path("teachers"))
    parser.add_argument("--out", type=Path, default=Path("early.jsonl"))
    args = parser.parse_args()
    args.teacher, args.labelled = "RecurrentClassifier()", None
    warnings.simplefilter("ignore")
    runs = Runs(args.out)
    for number, name, seed in itertools.product(args.splits, args.data_sets, args.seeds):
        for variant in VARIANTS.values():
            key = {"data_set": name, "split": number, "variant": variant, "seed": seed}
            runs.add(key, partial(measure, name, number, variant, seed, args))
    print(table(runs, args))


if __name__ == "__main__":
    main()
