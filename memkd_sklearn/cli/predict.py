"""``memkd predict`` and ``memkd evaluate``: a saved student on new series."""

import json
import sys
from pathlib import Path

from memkd_sklearn._files import write_whole
from memkd_sklearn.cli.cases import add_table_options, load_cases
from memkd_sklearn.cli.output import check_outputs, check_picture, write_figure

__all__ = ["add_parsers", "run_evaluate", "run_predict"]


def add_parsers(commands):
    """Add the commands."""
    predict = commands.add_parser(
        "predict",
        help="labels and class probabilities of new series, as CSV",
        description="Read series as `distil` does, with the same options, and write a line each: "
        "where it stands in the table, its label, and the probability of every class. A column "
        "of --label, if there is one, is left out.",
    )
    predict.set_defaults(run=run_predict)
    evaluate = commands.add_parser(
        "evaluate",
        help="scores of a saved student, and which classes it takes for which",
        description="Score a student on series whose classes are known: a table with --label, or "
        "the test split of a data set.",
    )
    evaluate.set_defaults(run=run_evaluate)
    for command in (predict, evaluate):
        command.add_argument("student", type=Path, help="a file that .save() or --save wrote")
        add_table_options(command)
    predict.add_argument(
        "--out", type=Path, metavar="FILE", help="CSV file to write (standard output)"
    )
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the scores as JSON")
    evaluate.add_argument("--plot", type=Path, metavar="FILE", help="draw the confusion matrix")


def run_predict(args):
    """Write a line a series."""
    import numpy as np
    import pandas as pd

    check_outputs([args.out], [args.student, args.data])
    student = _load(args.student)
    cases = load_cases(args, with_labels=False)
    proba = student.predict_proba(cases.X)
    # Only probabilities are rounded: an id, a group or a label may be a number with a point, too.
    rounded = np.char.mod("%.6g", proba)
    table = pd.DataFrame(rounded, cases.index, [f"proba_{label}" for label in student.classes_])
    table.insert(0, "label", student.classes_[proba.argmax(axis=1)])
    text = table.to_csv()
    if args.out:
        write_whole(args.out, text.encode())
        print(f"{args.out}: {len(table)} series", file=sys.stderr)
    else:
        print(text, end="")


def run_evaluate(args):
    """Print scores and the confusion matrix, and write the files that were asked for.

    Raises
    ------
    ValueError
        If labels are not asked for, or are none of the student's.
    """
    import numpy as np
    import pandas as pd
    from sklearn.metrics import classification_report, confusion_matrix

    from memkd_sklearn.benchmark import auc_prc

    if args.plot:
        import memkd_sklearn.plotting  # noqa: F401, which says what to install

        check_picture(args.plot)
    check_outputs([args.json, args.plot], [args.student, args.data])
    student = _load(args.student)
    cases = load_cases(args)
    if cases.y is None:
        raise ValueError(f"Got {args.data} without --label, but expected the column of classes.")
    classes = student.classes_
    y = cases.y if classes.dtype.kind not in "OU" else cases.y.astype(str)
    unknown = sorted(set(y.tolist()) - set(classes.tolist()), key=str)
    if unknown:
        raise ValueError(
            f"Got the classes {unknown}, which the student does not know, but expected some of "
            f"{classes.tolist()}."
        )
    proba = student.predict_proba(cases.X)
    predicted = classes[proba.argmax(axis=1)]
    confusion = confusion_matrix(y, predicted, labels=classes)
    names = [str(label) for label in classes]
    report = classification_report(
        y, predicted, labels=classes, target_names=names, output_dict=True, zero_division=0
    )
    scores = {
        "accuracy": float(np.mean(predicted == y)),
        "auc_prc": auc_prc(y, proba, classes),
        "macro_f1": report["macro avg"]["f1-score"],
    }
    if args.json:
        by_class = {name: report[name] for name in names}
        found = {"student": str(args.student), "data": args.data, "n_cases": len(y), **scores}
        found |= {
            "classes": classes.tolist(),
            "confusion": confusion.tolist(),
            "by_class": by_class,
        }
        write_whole(args.json, (json.dumps(found, indent=2) + "\n").encode())
    if args.plot:
        write_figure(_draw(confusion, names, f"{args.student.name} on {args.data}"), args.plot)
    print(f"{args.student} on {args.data}: {len(y)} series")
    print(
        f"accuracy {scores['accuracy']:.3f}, AUC-PRC {scores['auc_prc']:.3f}, "
        f"macro F1 {scores['macro_f1']:.3f}\n"
    )
    table = pd.DataFrame(confusion, pd.Index(names, name="true \\ predicted"), names)
    table["recall"] = [f"{report[name]['recall']:.3f}" for name in names]
    print(table.to_string())


def _load(path):
    """The classifier of a file, of whichever class wrote it."""
    import memkd_sklearn
    from memkd_sklearn import deploy

    _, name, _ = deploy.load(path)
    if name not in memkd_sklearn.__all__:
        raise ValueError(f"Got {path} of a {name}, but expected a classifier of this package.")
    return getattr(memkd_sklearn, name).load(path)


def _draw(confusion, names, title):
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    side = 2.5 + 0.45 * len(names)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    ConfusionMatrixDisplay(confusion, display_labels=names).plot(
        ax=axes, cmap="Greys", xticks_rotation="vertical" if len(names) > 5 else "horizontal"
    )
    figure.suptitle(title, fontsize="medium", wrap=True)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.images[0].colorbar.set_label("series")
    return figure
