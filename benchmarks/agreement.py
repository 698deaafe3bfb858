"""Does the C say what Python says? Whole test splits, float32 and int8, data set by data set.

Trains one 8-unit network a data set and cell from labels (the C is the same for a distilled
one), writes its C, compiles and scores it. Series longer than 100 are resized to 100.

    python benchmarks/agreement.py --data-path DIR --json agreement.json
"""

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
from runs import DATA_SETS

from memkd_sklearn import RecurrentClassifier
from memkd_sklearn.benchmark import load_split
from memkd_sklearn.deploy import CompiledStudent

LSTM = [*DATA_SETS, "ERing", "NATOPS", "RacketSports"]
GRU = ["CBF", "Trace", "ERing"]


def measure(name, cell, args):
    X, y = load_split(name, "train", args.data_path, 100)
    X_test, y_test = load_split(name, "test", args.data_path, 100)
    student = RecurrentClassifier(8, 1, cell, learning_rate=0.01, random_state=0).fit(X, y)
    proba, labels = student.predict_proba(X_test), student.predict(X_test).astype(str)
    row = {"data_set": name, "cell": cell, "n_cases": len(X_test)}
    row["accuracy"] = float(np.mean(labels == y_test.astype(str)))
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "int8"):
            student.to_c(Path(folder) / "student.c", dtype=dtype)
            compiled = CompiledStudent(Path(folder) / "student.c")
            predicted = compiled.predict(X_test)
            row[dtype] = {
                "largest_difference": float(np.abs(compiled.predict_proba(X_test) - proba).max()),
                "same_label": float(np.mean(predicted == labels)),
                "accuracy": float(np.mean(predicted == y_test.astype(str))),
            }
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout")
    parser.add_argument("--lstm", nargs="*", default=LSTM, help="data sets for an LSTM")
    parser.add_argument("--gru", nargs="*", default=GRU, help="data sets for a GRU")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'':28}{'cell':>5}{'cases':>7}{'accuracy':>10}", end="")
    print(f"{'float32: difference':>21}{'int8: same label':>18}{'accuracy':>10}")
    rows = []
    for cell, names in (("lstm", args.lstm), ("gru", args.gru)):
        for name in names:
            rows.append(measure(name, cell, args))
            row = rows[-1]
            print(f"{name:28}{cell:>5}{row['n_cases']:7}{row['accuracy']:10.3f}", end="")
            print(f"{row['float32']['largest_difference']:21.1e}", end="")
            print(f"{row['int8']['same_label']:18.2%}{row['int8']['accuracy']:10.3f}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
