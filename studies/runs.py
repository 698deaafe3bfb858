"""Shared by the scripts: data sets, and a file of runs that a stopped script takes up again."""

import json

import joblib

from memkd_sklearn import RecurrentClassifier

# The twelve sets of the benchmark: four short, four medium, four long.
DATA_SETS = [
    *("CBF", "ItalyPowerDemand", "MiddlePhalanxOutlineCorrect", "SwedishLeaf"),
    *("Adiac", "Strawberry", "Trace", "Wafer"),
    *("BeetleFly", "Computers", "Herring", "Lightning2"),
]


def fit_teacher(name, train, cache, random_state=0):
    """A default teacher, from the folder `cache` where there is one of this name."""
    file = cache / f"{name}.joblib"
    if not file.exists():
        teacher = RecurrentClassifier(random_state=random_state).fit(*train)
        cache.mkdir(parents=True, exist_ok=True)
        joblib.dump(teacher, file.with_suffix(".part"))
        file.with_suffix(".part").rename(file)
    return joblib.load(file)


class Runs:
    """Runs that are done, and that are still to do."""

    def __init__(self, path):
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows = [json.loads(line) for line in lines]

    def add(self, key, measure):
        """Append the run described by `key`, with what `measure()` returns, unless it is there."""
        if self.select(**key):
            return
        row = key | measure()
        self.rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)

    def select(self, **key):
        """The runs that `key` describes."""
        return [row for row in self.rows if key.items() <= row.items()]
