"""How reliably, and how fast, the default teacher trains.

One RecurrentClassifier() a data set and seed, fitted on the training split; appends a JSON
line a run to --out, skips runs that are already there, and prints the table.

    python benchmarks/teachers.py --data-path DIR --out teachers.jsonl
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from runs import Runs

from memkd_sklearn import RecurrentClassifier
from memkd_sklearn.benchmark import auc_prc, load_split

DATA_SETS = [
    "CBF",
    "ItalyPowerDemand",
    "MiddlePhalanxOutlineCorrect",
    "SwedishLeaf",
    "Adiac",
    "Strawberry",
    "Trace",
    "Wafer",
    "BeetleFly",
    "Computers",
    "Herring",
    "Lightning2",
    "ERing",
    "NATOPS",
    "RacketSports",
]


def run(name, seed, args):
    X, y = load_split(name, "train", args.data_path, args.resize)
    X_test, y_test = load_split(name, "test", args.data_path, args.resize)
    teacher = RecurrentClassifier(random_state=seed, n_jobs=args.n_jobs)
    began = time.perf_counter()
    teacher.fit(X, y)
    seconds = time.perf_counter() - began
    proba = teacher.predict_proba(X_test)
    _, counts = np.unique(y_test, return_counts=True)
    return {
        "n_cases": len(X),
        "n_timepoints": X.shape[2],
        "epochs": len(teacher.history_),
        "fit_seconds": round(seconds, 1),
        "majority": round(counts.max() / counts.sum(), 4),
        "accuracy": round(float(np.mean(teacher.classes_[proba.argmax(1)] == y_test)), 4),
        "auc_prc": round(auc_prc(y_test, proba, teacher.classes_), 4),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout")
    parser.add_argument("--data-sets", nargs="+", default=DATA_SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--resize", type=int, default=100, help="resize longer series (100)")
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("teachers.jsonl"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    runs = Runs(args.out)
    for name in args.data_sets:
        for seed in args.seeds:
            key = {"data_set": name, "seed": seed, "resize": args.resize}
            runs.add(key, lambda name=name, seed=seed: run(name, seed, args))
    columns = ("n_cases", "n_timepoints", "majority", "accuracy", "auc_prc", "fit_seconds")
    print(f"\n{'':30}" + "".join(f"{column:>13}" for column in columns))
    for name in args.data_sets:
        mine = runs.select(data_set=name, resize=args.resize)
        means = (np.mean([row[column] for row in mine]) for column in columns)
        print(f"{name:30}" + "".join(f"{mean:13.5g}" for mean in means))


if __name__ == "__main__":
    main()
