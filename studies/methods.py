"""Distillation methods over thirty data sets, with made-up series and without: on test splits.

Two experiments side by side in --out, on the same default teachers: in "made_up", students learn
from made-up series as well, as they do by default; in "plain", from the training split alone. The
weight of each method is one for all sets, and was chosen on held-out parts of training splits
(`diet.py`). With --teachers, "teachers" has teachers that are fitted without made-up series. Seeds
come one after another, so that a run that is stopped leaves whole tables; it goes on where it was,
also from the tables alone: rows that they have are not computed anew, but for the teachers.
--table prints what is there. summary.txt and critical_difference.png have it as well.

The tables in results/methods are of five seeds; results/methods_4500 has those of teachers of
4,500 steps, an earlier default. To go on with either, as pickled teachers will lie beside them, in
a copy::

    cp -r studies/results/methods OUT
    python studies/methods.py --data-path DIR --out OUT --n-jobs 2
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from aeon.visualisation import plot_critical_difference
from diet import MORE_DATA_SETS
from runs import DATA_SETS

from memkd_sklearn import RecurrentClassifier
from memkd_sklearn.benchmark import METHODS, Experiment, mean_scores, summarise
from memkd_sklearn.benchmark.rows import write_row

# Of 0.1, 1, 10 and 100: the highest mean AUC-PRC on held-out thirds of nine training splits.
WEIGHTS = {
    "KD": 0.1,
    "FitNet": 10.0,
    "RKD": 1.0,
    "AT": 0.1,
    "DKD": 0.1,
    "DT2W": 1.0,
    "MemKD": 10.0,
    "MemKD+KD": 0.1,
}
SEEDS = 1, 24, 300, 49000, 1001

# Methods whose students without made-up series stand beside the others.
CONTROLS = {"Base", "MemKD"}


def experiments(args, n_seeds):
    """The two experiments, and the teachers' own, with so many seeds."""
    data_sets = tuple(args.data_sets)
    about = {"data_path": args.data_path, "weights": (1.0,), "teachers": args.out / "fitted"}
    methods = {
        name: loss and WEIGHTS[name] * loss
        for name, loss in METHODS.items()
        if name in args.methods
    }
    seeds = SEEDS[:n_seeds]
    made_up = Experiment(args.out / "made_up", data_sets, methods=methods, seeds=seeds, **about)
    few = {name: loss for name, loss in methods.items() if name in args.plain_methods}
    plain = Experiment(
        args.out / "plain", data_sets, methods=few, seeds=seeds, student={"synthetic": 0}, **about
    )
    return made_up, plain


def teachers_without(args):
    """Teachers that no series are made up for, beside a student that costs next to nothing."""
    return Experiment(
        args.out / "teachers",
        tuple(args.data_sets),
        args.data_path,
        methods={"Base": None},
        seeds=SEEDS[:1],
        weights=(1.0,),
        references={"teacher, plain": RecurrentClassifier(synthetic=0)},
        student={"n_epochs": 1, "n_init": 1, "synthetic": 0},
        teachers=args.out / "fitted",
    )


def read(file):
    """The rows of a table that an experiment wrote; none if it is not there."""
    if not file.exists():
        return []
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    return [row | {m: float(row[m]) for m in ("auc_prc", "accuracy")} for row in rows]


def restore(experiment):
    """Write the files of runs whose rows are in the tables, so that they count as done."""
    for row in read(Path(experiment.out) / "results.csv"):
        file = Path(experiment.out, "runs", row["data_set"], row["method"])
        file /= f"seed-{row['seed']}.json"
        if not file.exists():
            write_row(file, {name: _value(str(value)) for name, value in row.items()})


def _value(text):
    """The value that a table's cell was written from: text, a number, or None."""
    if text == "":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def report(args):
    plain = read(args.out / "plain" / "results.csv")
    # Those without made-up series are called plain where both kinds stand side by side.
    rows = read(args.out / "made_up" / "results.csv")
    controls = [r | {"method": f"{r['method']}, plain"} for r in plain if r["method"] in CONTROLS]
    teachers = read(args.out / "made_up" / "teachers.csv")
    texts = []
    for measure in ("auc_prc", "accuracy"):
        for title, all_rows in ((measure, rows + controls), (f"{measure}, plain", plain)):
            for n_seeds, few in by_seeds(all_rows):
                if {row["method"] for row in few} > CONTROLS:  # which the first table has
                    seeds = f"{n_seeds} seed{'s' * (n_seeds > 1)}"
                    texts += [f"{title}, {seeds}", summarise(few, teachers, measure)]
                    texts += [spread(few, measure), gains(few, teachers, measure)]
    written = read(args.out / "teachers" / "results.csv")
    alone = [row for row in written if row["method"] != "Base"]
    if alone:
        texts.append(gain_of_teachers(alone, teachers))
    return "\n".join([*texts, ""])


def by_seeds(rows):
    """Rows to compare, after the number of their seeds: all methods with so many, on the same.

    Where some methods have fewer seeds than others, they all stand once more on those alone.
    """
    seeds = {}
    for row in rows:
        seeds.setdefault(row["method"], set()).add(row["seed"])
    for n_seeds in sorted({len(s) for s in seeds.values()}, reverse=True):
        common = set.intersection(*(s for s in seeds.values() if len(s) >= n_seeds))
        methods = [method for method, s in seeds.items() if len(s) >= n_seeds]
        yield (
            len(common),
            [row for row in rows if row["seed"] in common and row["method"] in methods],
        )


def spread(rows, measure):
    """The standard deviation over seeds of each method, averaged over sets."""
    _, data_sets, methods = mean_scores(rows, measure)
    texts = []
    for method in methods:
        scores = [
            [row[measure] for row in rows if (row["data_set"], row["method"]) == (name, method)]
            for name in data_sets
        ]
        if min(map(len, scores)) > 1:
            texts.append(f"{method} {np.mean([np.std(s, ddof=1) for s in scores]):.3f}")
    return "mean standard deviation over seeds: " + ("; ".join(texts) or "of one seed, none")


def gains(rows, teachers, measure):
    """Mean differences over sets with their standard errors, and on how many sets they gain."""
    means, data_sets, methods = mean_scores(rows, measure)
    scores = dict(zip(methods, means.T, strict=True))
    of_teacher = {row["data_set"]: row[measure] for row in teachers}
    scores["teacher"] = np.array([of_teacher[name] for name in data_sets])
    texts = []
    for one, other in [
        *((method, "teacher") for method in methods),
        *((method, "Base") for method in methods if method != "Base"),
        *((m.removesuffix(", plain"), m) for m in methods if m.endswith(", plain")),
    ]:
        gap = scores[one] - scores[other]
        gap = gap[~np.isnan(gap)]
        error = gap.std(ddof=1) / np.sqrt(len(gap))
        texts.append(
            f"{one} - {other}: {gap.mean():+.3f} ± {error:.3f}, ahead on {np.sum(gap > 0)}"
        )
    return "\n".join(texts)


def gain_of_teachers(alone, teachers):
    """How much better teachers are for made-up series, with the standard error over sets."""
    before = {row["data_set"]: row for row in alone}
    texts = []
    for measure in ("auc_prc", "accuracy"):
        gains = np.array(
            [
                row[measure] - before[row["data_set"]][measure]
                for row in teachers
                if row["data_set"] in before
            ]
        )
        error = gains.std(ddof=1) / np.sqrt(len(gains))
        texts.append(f"{measure} {gains.mean():+.3f} ± {error:.3f}")
    return f"teachers for made-up series, over {len(gains)} sets: {', '.join(texts)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout")
    parser.add_argument("--data-sets", nargs="+", default=[*DATA_SETS, *MORE_DATA_SETS])
    parser.add_argument("--methods", nargs="+", default=[*METHODS], choices=METHODS)
    parser.add_argument("--plain-methods", nargs="+", default=[*METHODS], choices=METHODS)
    parser.add_argument("--n-seeds", type=int, default=len(SEEDS))
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teachers", action="store_true", help="fit teachers without such series")
    parser.add_argument("--table", action="store_true", help="print the tables of what is there")
    args = parser.parse_args()
    if args.teachers:
        teachers_without(args).run(n_jobs=args.n_jobs, verbose=1)
    elif not args.table:
        for n_seeds in range(1, args.n_seeds + 1):
            for experiment in experiments(args, n_seeds):
                restore(experiment)
                experiment.run(n_jobs=args.n_jobs, verbose=1)
    text = report(args)
    (args.out / "summary.txt").write_text(text)
    print(text)
    _, most = next(by_seeds(read(args.out / "made_up" / "results.csv")))
    scores, _, names = mean_scores(most)
    figure, _ = plot_critical_difference(scores, names, correction="holm")
    figure.savefig(args.out / "critical_difference.png", dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()
