"""Does what left Python say what Python says? Whole test splits, data set by data set.

Trains students of 8 units from labels (all kept in --cache): who taught the weights makes no
difference to the arithmetic. For each, compares with `predict_proba`: its stream, its C in float32,
its C in int8, and PyTorch's own float32.
All read the same series, rounded to float32, as C takes them; "series" says how far that moves
`predict_proba`. Series longer than 100 are resized to 100; data sets that are not in --data-path
come from aeon.
Appends a JSON line a student to --out, skips those that are there, prints the table.

    python studies/agreement.py --data-path DIR --out agreement.jsonl
"""

import argparse
import tempfile
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from runs import DATA_SETS, Runs

from memkd_sklearn import RecurrentClassifier
from memkd_sklearn.benchmark import load_split
from memkd_sklearn.deploy import CompiledStudent

MULTIVARIATE = ["BasicMotions", "ERing", "RacketSports"]
MOST_STREAMS = 200
DIFFERENCES = ("series", "stream", "torch float32", "C float32", "C int8")
HEAD = ("cases", *DIFFERENCES, "same label", "accuracy", "int8")


def load(name, split, args):
    there = args.data_path is not None and (Path(args.data_path) / name).is_dir()
    return load_split(name, split, args.data_path if there else None, 100)


def fit_student(name, cell, seed, train, cache):
    file = cache / f"{name}-{cell}-{seed}.safetensors"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        RecurrentClassifier(8, 1, cell, random_state=seed).fit(*train).save(file)
    return RecurrentClassifier.load(file)


def streamed(student, X):
    stream, found = student.stream(), []
    for series in X:
        stream.reset()
        found.append([stream.update(x_t) for x_t in series.T][-1])
    return np.array(found)


def in_torch(student, X):
    z = (X - student.channel_mean_[:, None]) / student.channel_scale_[:, None]
    with torch.inference_mode():
        scores = student.network_(torch.from_numpy(np.swapaxes(z, 1, 2).astype(np.float32)))[0]
    return torch.softmax(scores.double(), dim=1).numpy()


def run(name, cell, seed, args):
    train, (X, y) = (load(name, split, args) for split in ("train", "test"))
    student = fit_student(name, cell, seed, train, args.cache)
    exact, X = X, X.astype(np.float32).astype(float)
    proba, labels, y = student.predict_proba(X), student.predict(X).astype(str), y.astype(str)
    compiled = {}
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "int8"):
            student.to_c(Path(folder) / "student.c", dtype=dtype)
            compiled[dtype] = CompiledStudent(Path(folder) / "student.c")
    few = slice(None, None, -(-len(X) // MOST_STREAMS))
    found = {
        "series": student.predict_proba(exact) - proba,
        "stream": streamed(student, X[few]) - proba[few],
        "torch float32": in_torch(student, X) - proba,
        "C float32": compiled["float32"].predict_proba(X) - proba,
        "C int8": compiled["int8"].predict_proba(X) - proba,
    }
    predicted = compiled["int8"].predict(X)
    return {"cases": len(X)} | {
        **{kind: float(np.abs(difference).max()) for kind, difference in found.items()},
        "same label": float(np.mean(predicted == labels)),
        "accuracy": float(np.mean(labels == y)),
        "int8": float(np.mean(predicted == y)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout")
    parser.add_argument("--data-sets", nargs="+", default=[*DATA_SETS, *MULTIVARIATE])
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--cache", type=Path, default=Path("agreement-students"))
    parser.add_argument("--out", type=Path, default=Path("agreement.jsonl"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    runs = Runs(args.out)
    for name in args.data_sets:
        for cell in args.cells:
            for seed in args.seeds:
                key = {"data_set": name, "cell": cell, "seed": seed}
                runs.add(key, partial(run, name, cell, seed, args))
    print("\nLargest differences from predict_proba, and int8's labels: the worst of the seeds,")
    print(f"and the mean of the accuracies\n{'':33}" + "".join(f"{title:>14}" for title in HEAD))
    for cell in args.cells:
        for name in args.data_sets:
            rows = runs.select(data_set=name, cell=cell)
            cells = [f"{rows[0]['cases']}"]
            cells += [f"{max(row[kind] for row in rows):.1e}" for kind in DIFFERENCES]
            cells.append(f"{min(row['same label'] for row in rows):.2%}")
            cells += [f"{np.mean([row[kind] for row in rows]):.3f}" for kind in HEAD[-2:]]
            print(f"{name:28}{cell:5}" + "".join(f"{cell:>14}" for cell in cells))
    students = [row for row in runs.rows if row["data_set"] in args.data_sets]
    change = max(abs(row["int8"] - row["accuracy"]) for row in students)
    same = np.average([r["same label"] for r in students], weights=[r["cases"] for r in students])
    enough = sum(row["same label"] >= 0.99 for row in students)
    print(f"\n{len(students)} students. In int8, accuracies change by at most {change:.4f}, and")
    print(f"{same:.3%} of all cases keep their label; at least 99 % do for {enough}.")
    for keys in (["data_set"], ["data_set", "cell"]):
        groups = {}
        for row in students:
            groups.setdefault(" ".join(row[key] for key in keys), []).append(row)
        shares = {name: np.mean([r["same label"] for r in rows]) for name, rows in groups.items()}
        low = [f"{name} ({share:.2%})" for name, share in shares.items() if share < 0.99]
        change = max(
            abs(np.mean([r["int8"] - r["accuracy"] for r in rows])) for rows in groups.values()
        )
        print(f"By {' and '.join(keys)}, all students together, accuracies change by at most")
        print(f"{change:.4f}, and fewer than 99 % keep their label on {', '.join(low) or 'none'}.")
    for kind in ("torch float32", "C float32"):
        few, fewer = (sum(row[kind] <= most for row in students) for most in (1e-5, 1e-6))
        print(f"{kind} is within 1e-5 on {few} students, within 1e-6 on {fewer}.")
    nearer = sum(row["C float32"] < row["torch float32"] for row in students)
    print(f"C float32 is nearer than torch float32 on {nearer}.")


if __name__ == "__main__":
    main()
