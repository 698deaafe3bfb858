"""A convolutional teacher, and what an 8-unit student learns from its feature maps.

The teacher is a fully convolutional network (FCN: Wang, Yan and Oates, IJCNN 2017,
arXiv:1611.06455) in torch, trained by skorch, or, with --keras, aeon's InceptionTime. Students
are at their defaults; series longer than 100 are resized to 100. With --held-out and seeds,
thirds of the training split are held out and scored, and no test split is read. Appends a JSON
line a run to --out, skips runs that are there, and prints the table.

    python studies/teachers.py --data-path DIR --data-sets ArrowHead CBF
"""

import argparse
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from runs import Runs
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from memkd_sklearn import DistillationClassifier, MemKDClassifier
from memkd_sklearn.benchmark import auc_prc, load_split
from memkd_sklearn.benchmark.comparison import label_only_twin
from memkd_sklearn.losses import FitNet, RelationalDistillation, SoftTargets
from memkd_sklearn.teachers import RunningMean, TorchTeacher

SEEDS = (1, 24, 300, 49000, 1001)


def by(loss, read=lambda teacher: teacher):
    return lambda teacher: DistillationClassifier(read(teacher), loss=loss)


STUDENTS = {
    "labels only": lambda teacher: label_only_twin(MemKDClassifier(teacher)),
    "soft targets": by(SoftTargets()),
    "maps": lambda teacher: MemKDClassifier(teacher, soft_target_weight=0),
    "running mean": lambda teacher: MemKDClassifier(RunningMean(teacher), soft_target_weight=0),
    "FitNet, maps": by(FitNet()),
    # The running mean ends with what the network pools: relations of whole series.
    "RKD, running": by(10 * RelationalDistillation(), RunningMean),
}


class FCN(nn.Module):
    """Three convolutions, each normalised and rectified; global average pooling; a linear head."""

    def __init__(self, n_channels, n_classes):
        super().__init__()
        widths, kernels = (n_channels, 128, 256, 128), (8, 5, 3)
        self.body = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv1d(before, after, kernel, padding="same"),
                    nn.BatchNorm1d(after),
                    nn.ReLU(),
                )
                for before, after, kernel in zip(widths, widths[1:], kernels, strict=False)
            )
        )
        self.head = nn.Linear(128, n_classes)

    def forward(self, x):
        return self.head(self.body(x).mean(dim=2))


def fit_teacher(X, y, keras):
    if keras:
        from aeon.classification.deep_learning import InceptionTimeClassifier

        return InceptionTimeClassifier(n_classifiers=2, n_epochs=300, random_state=0).fit(X, y)
    classes, codes = np.unique(y, return_inverse=True)
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        FCN,
        module__n_channels=X.shape[1],
        module__n_classes=len(classes),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=300,
        batch_size=16,
        train_split=None,
        verbose=0,
    ).fit(X.astype(np.float32), codes)
    return TorchTeacher(net, classes)


def score(classifier, X, y, seconds):
    proba = classifier.predict_proba(X)
    return {
        "accuracy": round(float(np.mean(classifier.classes_[proba.argmax(1)] == y)), 4),
        "auc_prc": round(auc_prc(y, proba, classifier.classes_), 4),
        "fit_seconds": round(seconds, 2),
    }


def split(name, third, args):
    there = args.data_path and (Path(args.data_path) / name).is_dir()
    load = partial(load_split, name, data_path=args.data_path if there else None, resize=100)
    train = load("train")
    if third is None:
        return train, load("test")
    X, X_held, y, y_held = train_test_split(
        *train, test_size=1 / 3, stratify=train[1], random_state=third
    )
    return (X, y), (X_held, y_held)


def run(train, test, teachers, kind, seed, args):
    began = time.perf_counter()
    if "teacher" not in teachers:
        teachers["teacher"] = fit_teacher(*train, args.keras)
    teacher = teachers["teacher"]
    if kind == "teacher":
        return score(teacher, *test, time.perf_counter() - began)
    student = STUDENTS[kind](teacher).set_params(random_state=seed)
    student.fit(*train)
    return score(student, *test, time.perf_counter() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", help="folder of data sets in aeon's layout; None: aeon's")
    parser.add_argument("--data-sets", nargs="+", default=["ArrowHead", "CBF"])
    parser.add_argument("--students", nargs="+", choices=STUDENTS, default=list(STUDENTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--keras", action="store_true", help="InceptionTime instead of the FCN")
    parser.add_argument("--held-out", nargs="+", type=int, help="seeds of thirds to score")
    parser.add_argument("--out", type=Path, default=Path("teachers.jsonl"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    runs = Runs(args.out)
    network = "InceptionTime" if args.keras else "FCN"
    if args.held_out is None:
        parts = {"test split": None}
    else:
        parts = {f"held-out third {third}": third for third in args.held_out}
    seeds = {kind: [0] if kind == "teacher" else args.seeds for kind in ["teacher", *args.students]}
    lines = [f"\nAUC-PRC, {network} teacher, {', '.join(parts)}: mean ± sd over seeds"]
    lines.append(f"{'':20}" + "".join(f"{kind:>18}" for kind in seeds))
    for name in args.data_sets:
        scores = {kind: [] for kind in seeds}
        for part, third in parts.items():
            train, test = split(name, third, args)
            teachers = {}
            for kind in seeds:
                for seed in seeds[kind]:
                    key = {"network": network, "scored_on": part}
                    key |= {"data_set": name, "kind": kind, "seed": seed}
                    runs.add(key, partial(run, train, test, teachers, kind, seed, args))
                    scores[kind] += [row["auc_prc"] for row in runs.select(**key)]
        cells = [f"{np.mean(found):.3f} ± {np.std(found):.3f}" for found in scores.values()]
        lines.append(f"{name:20}" + "".join(f"{cell:>18}" for cell in cells))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
