"""Student sizes, parts of the loss, rates and restarts, on test splits: reports, not choices.

At weights of 1, and, for sizes and parts, of one start each, with teachers of 3 x 100 units
that --teachers keeps; series longer than 100 are resized to 100. Each study is one or several
`Experiment`s, which a stopped run takes up again.

    python studies/variants.py sizes --data-path DIR --out variants
    python studies/variants.py parts --data-path DIR --out variants
    python studies/variants.py rates --data-path DIR --out variants --data-sets ...
    python studies/variants.py restarts --data-path DIR --out variants --data-sets ...
"""

import argparse
import csv
import math
import os
from pathlib import Path

import numpy as np
from sklearn.base import clone

from memkd_sklearn.benchmark import Experiment, load_split
from memkd_sklearn.losses import MemoryDiscrepancy, SoftTargets

FOUR = ["CBF", "MiddlePhalanxOutlineCorrect", "SwedishLeaf", "Trace"]
SIZES = (2, 4, 8, 16, 32)
BOTH = MemoryDiscrepancy()
BATCH_SIZE = 16  # the default


def sizes():
    """Students of several sizes: score against compression."""
    methods = {"Base": None, "MemKD": BOTH, "KD": SoftTargets()}
    return {f"{size} units": (methods, {"hidden_size": size, "n_init": 1}) for size in SIZES}


def parts():
    """One term, both, and every subsequence instead of a sample."""
    methods = {
        "Base": None,
        "short only": clone(BOTH).set_params(long_weight=0.0),
        "long only": clone(BOTH).set_params(short_weight=0.0),
        "both": BOTH,
        "both, all pairs": clone(BOTH).set_params(n_subsequences="all"),
        "both + KD": BOTH + SoftTargets(),
    }
    return {"parts": (methods, {"n_init": 1})}


def rates():
    """Default students, and ones that learn more slowly."""
    methods = {"Base": None, "MemKD": BOTH}
    return {f"rate {rate}": (methods, {"learning_rate": rate}) for rate in (0.01, 0.03)}


def restarts():
    """One start, the best of three, and one that takes as many steps as these together."""
    methods = {"Base": None, "MemKD": BOTH}
    students = {
        "1 start": {"n_init": 1},
        "3 starts": {"n_init": 3},
        "1 start, thrice the steps": {"n_init": 1, "n_steps": 13500},
    }
    return {variant: (methods, student) for variant, student in students.items()}


STUDIES = {study.__name__: study for study in (sizes, parts, rates, restarts)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout")
    parser.add_argument("--data-sets", nargs="+", default=FOUR)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 24, 300, 49000, 1001])
    parser.add_argument("--teachers", help="folder of fitted teachers")
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("variants"))
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = []
    for name in args.data_sets:
        for variant, (methods, student) in STUDIES[args.study]().items():
            experiment = Experiment(
                args.out / args.study / name / variant.replace(" ", "-"),
                [name],
                data_path=args.data_path,
                methods=methods,
                seeds=args.seeds,
                weights=[1.0],
                student=with_epochs(student, name, args.data_path),
                teachers=args.teachers,
            ).run(args.n_jobs)
            (teacher,) = experiment.teacher_rows()
            for row in experiment.results():
                smaller_by = round(teacher["parameters"] / row["parameters"])
                rows.append({"variant": variant, "smaller_by": smaller_by, **row})
            print(name, variant, flush=True)
    with (args.out / f"{args.study}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(table(args.data_sets, rows))
    print(ranges(args.data_sets, rows))


def with_epochs(student, data_set, data_path):
    """Replace "n_steps" in a student's parameters by the number of epochs that makes as many."""
    if "n_steps" not in student:
        return student
    n_batches = math.ceil(len(load_split(data_set, "train", data_path)[1]) / BATCH_SIZE)
    others = {key: value for key, value in student.items() if key != "n_steps"}
    return others | {"n_epochs": student["n_steps"] // n_batches}


def table(names, rows):
    """Mean AUC-PRC over seeds, of each variant and method on each set, and their means."""
    columns = list(dict.fromkeys((row["variant"], row["method"]) for row in rows))
    lines, means = [], []
    for name in names:
        cells = []
        for variant, method in columns:
            which = {"data_set": name, "variant": variant, "method": method}
            scores = [row["auc_prc"] for row in rows if which.items() <= row.items()]
            cells.append((np.mean(scores), np.std(scores)))
        means.append([mean for mean, _ in cells])
        lines.append(f"{name:28}" + "".join(f"{m:14.3f} ± {s:.3f}" for m, s in cells))
    lines.append(f"{'mean':28}" + "".join(f"{mean:14.3f}{'':8}" for mean in np.mean(means, axis=0)))
    head = [f"{'':28}" + "".join(f"{column[i]:>22}" for column in columns) for i in range(2)]
    for title, key in {"smaller by": "smaller_by", "seconds a fit": "fit_seconds"}.items():
        of_columns = [
            np.mean([r[key] for r in rows if (r["variant"], r["method"]) == c]) for c in columns
        ]
        lines.append(f"{title:28}" + "".join(f"{mean:14.1f}{'':8}" for mean in of_columns))
    return "\n".join([*head, *lines])


def ranges(names, rows):
    """The least and the greatest AUC-PRC of the seeds, and their mean accuracy."""
    columns = list(dict.fromkeys((row["variant"], row["method"]) for row in rows))
    lines = ["", "Least and greatest AUC-PRC, and mean accuracy"]
    for name in names:
        for variant, method in columns:
            which = {"data_set": name, "variant": variant, "method": method}
            found = [row for row in rows if which.items() <= row.items()]
            scores = [row["auc_prc"] for row in found]
            accuracy = np.mean([row["accuracy"] for row in found])
            label = f"{name:28}{variant:26}{method:16}"
            lines.append(f"{label}{min(scores):.3f} to {max(scores):.3f}  {accuracy:.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
