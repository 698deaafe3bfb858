"""Teacher, label-only student and MemKD student on test splits: what is gained and lost.

Everything at its default; "fading" is MemKD with weights of 10 that fade to zero. One teacher
a data set (kept in --cache), students over several seeds; series longer than 100 are resized
to 100. Appends a JSON line a run to --out, skips runs that are there, prints the table.

    python benchmarks/students.py --data-path DIR --data-sets CBF Trace --out students.jsonl
"""

import argparse
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from runs import DATA_SETS, Runs, fit_teacher

from memkd_sklearn import MemKDClassifier
from memkd_sklearn.benchmark import auc_prc, load_split
from memkd_sklearn.benchmark.comparison import label_only_twin

SEEDS = (1, 24, 300, 49000, 1001)
KINDS = ("teacher", "labels only", "MemKD", "MemKD, fading")


def score(classifier, X, y, seconds):
    proba = classifier.predict_proba(X)
    return {
        "accuracy": round(float(np.mean(classifier.classes_[proba.argmax(1)] == y)), 4),
        "auc_prc": round(auc_prc(y, proba, classifier.classes_), 4),
        "majority": round(float(np.unique(y, return_counts=True)[1].max() / len(y)), 4),
        "parameters": classifier.footprint_.parameters,
        "fit_seconds": round(seconds, 2),
    }


def run(name, kind, seed, args):
    train, test = (load_split(name, split, args.data_path, 100) for split in ("train", "test"))
    teacher = fit_teacher(name, train, args.cache)
    if kind == "teacher":
        return score(teacher, *test, teacher.fit_time_millis_ / 1000)
    student = MemKDClassifier(teacher, random_state=seed)
    if kind == "labels only":
        student = label_only_twin(student)
    if kind == "MemKD, fading":
        student.set_params(short_weight=10.0, long_weight=10.0, fade=True)
    began = time.perf_counter()
    student.fit(*train)
    return score(student, *test, time.perf_counter() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout")
    parser.add_argument("--data-sets", nargs="+", default=DATA_SETS)
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--cache", type=Path, default=Path("test-teachers"))
    parser.add_argument("--out", type=Path, default=Path("students.jsonl"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    runs = Runs(args.out)
    for name in args.data_sets:
        for kind in KINDS:
            for seed in [0] if kind == "teacher" else args.seeds:
                key = {"data_set": name, "kind": kind, "seed": seed}
                runs.add(key, partial(run, name, kind, seed, args))
    head = ("majority", "teacher fit (s)", "accuracy", "AUC-PRC", *KINDS[1:])
    print(f"\nAUC-PRC of students: mean and standard deviation over seeds, on test splits\n{'':28}")
    print(f"{'':28}" + "".join(f"{title:>16}" for title in head))
    for name in args.data_sets:
        teacher = runs.select(data_set=name, kind="teacher")[0]
        cells = [f"{teacher[k]:.3f}" for k in ("majority", "fit_seconds", "accuracy", "auc_prc")]
        for kind in KINDS[1:]:
            scores = [row["auc_prc"] for row in runs.select(data_set=name, kind=kind)]
            cells.append(f"{np.mean(scores):.3f} ± {np.std(scores):.3f}" if scores else "")
        print(f"{name:28}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
