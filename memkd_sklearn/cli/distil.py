"""``memkd demo`` and ``memkd distil``: a teacher, and the same student with and without it."""

import argparse
import json
import sys
import warnings
from pathlib import Path

from memkd_sklearn._files import write_whole
from memkd_sklearn.cli.cases import add_table_options, load_splits
from memkd_sklearn.cli.output import check_outputs, check_picture, write_figure

__all__ = ["add_parsers", "run"]


def add_parsers(commands):
    """Add the commands."""
    demo = commands.add_parser(
        "demo",
        help="students that know four labels, without and with a teacher, on data that aeon ships",
    )
    demo.set_defaults(run=run, data="ItalyPowerDemand", data_path=None, resize=None)
    distil = commands.add_parser(
        "distil",
        help="the same on a table of your own, or on any classification data set",
        description="Fit a teacher, a student from labels alone and a student of the teacher, and "
        "score them on series that none has seen.",
    )
    distil.set_defaults(run=run)
    add_table_options(distil)
    distil.add_argument(
        "--test",
        type=Path,
        metavar="FILE",
        help="table of series to score on (default: a fifth of the series, or of the groups, is "
        "held out)",
    )
    for command, seeds, threads, labels in ((demo, [0, 1, 2], 2, 4), (distil, [0], 1, None)):
        command.add_argument(
            "--labelled",
            type=int,
            default=labels,
            metavar="N",
            help="labels that students know, of series that each seed draws; the teacher's student "
            f"learns from the others without theirs ({labels or 'all'})",
        )
        command.add_argument(
            "--teacher-epochs",
            type=_epochs,
            default="auto",
            metavar="N",
            help="passes over the data (auto)",
        )
        command.add_argument("--teacher-size", type=int, default=100, help="units a layer (100)")
        command.add_argument("--teacher-layers", type=int, default=3, help="layers (3)")
        command.add_argument(
            "--epochs",
            type=_epochs,
            default="auto",
            metavar="N",
            help="passes of the students over the data (auto)",
        )
        command.add_argument("--hidden-size", type=int, default=9, help="student's units (9)")
        command.add_argument("--short-weight", type=float, help="weight of the short-term loss")
        command.add_argument("--long-weight", type=float, help="weight of the long-term loss")
        command.add_argument(
            "--seeds",
            nargs="+",
            type=int,
            default=seeds,
            metavar="N",
            help="random states of the students, the first also the teacher's; the table "
            f"has means over them ({' '.join(map(str, seeds))})",
        )
        command.add_argument("--n-jobs", type=int, default=threads, help=f"threads ({threads})")
        command.add_argument("--quiet", action="store_true", help="show no progress bars")
        command.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON")
        command.add_argument("--plot", type=Path, metavar="FILE", help="draw the training curves")
        command.add_argument(
            "--save", type=Path, metavar="FILE", help="save the MemKD student (of the first seed)"
        )


def _epochs(text):
    if text == "auto" or text.isdigit():
        return text if text == "auto" else int(text)
    raise argparse.ArgumentTypeError(f"Got {text!r}, but expected an integer or auto.")


def run(args):
    """Fit and score, print the table, and write the files that were asked for."""
    from memkd_sklearn import MemKDClassifier, RecurrentClassifier
    from memkd_sklearn.benchmark import compare, format_table

    if args.plot:
        import memkd_sklearn.plotting  # noqa: F401, which says what to install, before any work

        check_picture(args.plot)
    inputs = [args.data, getattr(args, "test", None)]
    check_outputs([args.save, args.json, args.plot], inputs)
    common = {"n_jobs": args.n_jobs, "verbose": int(not args.quiet)}
    teacher = RecurrentClassifier(
        args.teacher_size, args.teacher_layers, n_epochs=args.teacher_epochs, **common
    )
    weights = {"short_weight": args.short_weight, "long_weight": args.long_weight}
    student = MemKDClassifier(
        teacher,
        args.hidden_size,
        n_epochs=args.epochs,
        **{name: value for name, value in weights.items() if value is not None},
        **common,
    )
    train, test, test_is = load_splits(args)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*very little variation.*")
        tell = {} if args.quiet else {"notify": _announce}
        rows, fitted = compare(
            teacher, student, train, test, args.seeds, n_labelled=args.labelled, **tell
        )
    if args.save:
        fitted["student, MemKD"].save(args.save)
    if args.json:
        report = {"data_set": args.data, "n_labelled": args.labelled, "rows": rows}
        write_whole(args.json, (json.dumps(report, indent=2) + "\n").encode())
    if args.plot:
        write_figure(_training_curves(fitted), args.plot)
    labels = f", of which students know {args.labelled} labels" if args.labelled else ""
    seeds = f", {len(args.seeds)} seeds" if len(args.seeds) > 1 else ""
    print(
        f"\n{args.data}: {len(train[0])} training cases{labels}, "
        f"{len(test[0])} {test_is} cases{seeds}"
    )
    print(format_table(rows))


def _training_curves(fitted):
    from matplotlib.figure import Figure

    from memkd_sklearn.plotting import TrainingCurveDisplay

    figure = Figure(layout="constrained", figsize=(6, 3.2 * len(fitted)))
    panels = figure.subplots(len(fitted))
    for (name, classifier), panel in zip(fitted.items(), panels, strict=True):
        TrainingCurveDisplay.from_estimator(classifier, name=name, ax=panel)
    return figure


def _announce(name):
    print(f"{name}:", file=sys.stderr)
