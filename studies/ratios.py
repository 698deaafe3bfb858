"""A teacher's memory ratios: what they vary with, and how near to them students come.

Ratios of every subsequence are an array over cases and subsequences. Its variance has three parts:
of the mean over all cases, which is the same whatever the case ("common"), between the means of
classes ("classes"), and the rest. Distances are mean smooth L1 distances from the teacher's
ratios: of a guess that knows the common part only, of a default student from labels alone, and
of a default MemKD student. At most 300 training cases of each set; no test split is read.
Appends a JSON line a set to --out, and prints the table.

    python studies/ratios.py --data-path DIR
"""

import argparse
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from runs import DATA_SETS, Runs, fit_teacher
from torch.nn.functional import smooth_l1_loss

from memkd_sklearn import MemKDClassifier
from memkd_sklearn.benchmark import load_split
from memkd_sklearn.benchmark.comparison import label_only_twin
from memkd_sklearn.losses.memory import all_memory_ratios

MOST_CASES = 300
COLUMNS = {
    "common": "6.0%",
    "classes": "6.0%",
    "guess": "6.3f",
    "labels only": "6.3f",
    "MemKD": "6.3f",
}


def measure(name, args):
    X, y = load_split(name, "train", args.data_path, 100)
    teacher = fit_teacher(name, (X, y), args.cache)
    student = MemKDClassifier(teacher, soft_target_weight=0, random_state=0)
    students = {"labels only": label_only_twin(student), "MemKD": student}
    few = slice(None, None, -(-len(X) // MOST_CASES))
    seen, labels = X[few], y[few]

    def ratios(classifier):
        return all_memory_ratios(torch.from_numpy(classifier.hidden_states(seen))).numpy()

    wanted = ratios(teacher)
    common = wanted.mean(axis=0)
    of_classes = [(np.mean(labels == k), wanted[labels == k].mean(axis=0)) for k in set(labels)]
    between = sum(share * (mean - common) ** 2 for share, mean in of_classes)
    guesses = {"guess": np.broadcast_to(common, wanted.shape)}
    guesses |= {kind: ratios(classifier.fit(X, y)) for kind, classifier in students.items()}
    row = {"common": common.var() / wanted.var(), "classes": between.mean() / wanted.var()}
    for kind, guess in guesses.items():
        row[kind] = smooth_l1_loss(torch.tensor(guess), torch.from_numpy(wanted)).item()
    return {key: round(float(value), 4) for key, value in row.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout")
    parser.add_argument("--data-sets", nargs="+", default=DATA_SETS)
    parser.add_argument("--cache", type=Path, default=Path("test-teachers"))
    parser.add_argument("--out", type=Path, default=Path("ratios.jsonl"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    runs = Runs(args.out)
    for name in args.data_sets:
        runs.add({"data_set": name}, partial(measure, name, args))
    print(f"\n{'':28}" + "".join(f"{title:>13}" for title in COLUMNS))
    for name in args.data_sets:
        (row,) = runs.select(data_set=name)
        cells = (f"{row[key]:{form}}" for key, form in COLUMNS.items())
        print(f"{name:28}" + "".join(f"{cell:>13}" for cell in cells))


if __name__ == "__main__":
    main()
