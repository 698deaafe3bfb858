"""The command ``memkd``, also ``python -m memkd_sklearn``.

A command imports what it needs when it runs: PyTorch and aeon take seconds to load, and help does
without them.
"""

import argparse
import io
import json
import os
import sys
import warnings
from pathlib import Path

from memkd_sklearn import __version__
from memkd_sklearn._files import write_whole

__all__ = ["main"]

INTERRUPTED = 130  # what a shell expects of a command that Ctrl-C stopped

# The names of `memkd_sklearn.benchmark.METHODS`, without loading it.
METHODS = ("Base", "KD", "FitNet", "RKD", "AT", "DKD", "DT2W", "MemKD", "MemKD+KD")


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str or None, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    code : int
        Exit code: 0, 2 for bad input, 130 after Ctrl-C.
    """
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except KeyboardInterrupt:
        resumable = args.run is _benchmark
        then = "the same command goes on from here" if resumable else "nothing was written"
        print(f"Interrupted: {then}.", file=sys.stderr)
        return INTERRUPTED
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"memkd: {error}", file=sys.stderr)
        return 2
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="memkd",
        description="Shrink a recurrent time series classifier by memory-discrepancy distillation.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo", help="teacher, label-only student and MemKD student on data that aeon ships"
    )
    demo.set_defaults(run=_distil, data_set="ItalyPowerDemand", data_path=None, resize=None)
    distil = commands.add_parser("distil", help="the same on any classification data set")
    distil.set_defaults(run=_distil)
    distil.add_argument("data_set", help="name of the data set, such as CBF")
    distil.add_argument(
        "--data-path",
        metavar="DIR",
        help="folder of data sets in aeon's layout (default: aeon's own, shipped or downloaded)",
    )
    distil.add_argument(
        "--resize", type=int, metavar="N", help="resize longer series to N time points"
    )
    for command in (demo, distil):
        command.add_argument("--teacher-epochs", type=_epochs, default="auto", metavar="N")
        command.add_argument("--teacher-size", type=int, default=100, help="units a layer (100)")
        command.add_argument("--teacher-layers", type=int, default=3, help="layers (3)")
        command.add_argument("--epochs", type=_epochs, default="auto", metavar="N")
        command.add_argument("--hidden-size", type=int, default=8, help="student's units (8)")
        command.add_argument("--short-weight", type=float, help="weight of the short-term loss")
        command.add_argument("--long-weight", type=float, help="weight of the long-term loss")
        command.add_argument("--seed", type=int, default=0, help="random state (0)")
        command.add_argument("--n-jobs", type=int, default=1, help="threads (1)")
        command.add_argument("--quiet", action="store_true", help="show no progress bars")
        command.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON")
        command.add_argument("--plot", type=Path, metavar="FILE", help="draw the training curves")
        command.add_argument("--save", type=Path, metavar="FILE", help="save the MemKD student")
    export = commands.add_parser("export", help="write a saved student as ONNX or C")
    export.set_defaults(run=_export)
    export.add_argument("student", type=Path, help="a file that .save() or --save wrote")
    export.add_argument("--format", choices=("onnx", "c", "c-int8"), required=True)
    export.add_argument("--out", type=Path, metavar="FILE", required=True)
    export.add_argument("--streaming", action="store_true", help="ONNX: take and return the state")
    export.add_argument("--name", help="C: prefix of all names (student)")
    benchmark = commands.add_parser(
        "benchmark", help="distillation methods over data sets and seeds; can be interrupted"
    )
    benchmark.set_defaults(run=_benchmark)
    benchmark.add_argument("--data-path", metavar="DIR", help="folder of data sets, aeon's layout")
    benchmark.add_argument("--datasets", nargs="+", required=True, metavar="NAME")
    benchmark.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    benchmark.add_argument(
        "--references", nargs="+", default=[], metavar="CLASS", help="aeon classifiers, by class"
    )
    benchmark.add_argument("--seeds", nargs="+", type=int, default=[1, 24, 300, 49000, 1001])
    benchmark.add_argument("--weights", nargs="+", type=float, default=[0.1, 1.0, 10.0, 100.0])
    benchmark.add_argument("--hidden-size", type=int, default=8, help="students' units (8)")
    benchmark.add_argument("--n-init", type=int, default=3, help="restarts of every student (3)")
    benchmark.add_argument("--teachers", metavar="DIR", help="folder of fitted teachers to share")
    benchmark.add_argument("--n-jobs", type=int, default=1, help="processes (1)")
    benchmark.add_argument("--out", type=Path, required=True, metavar="DIR")
    benchmark.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the critical difference diagram"
    )
    benchmark.add_argument("--quiet", action="store_true", help="show no progress bars")
    return parser


def _epochs(text):
    if text == "auto" or text.isdigit():
        return text if text == "auto" else int(text)
    raise argparse.ArgumentTypeError(f"Got {text!r}, but expected an integer or auto.")


def _distil(args):
    from memkd_sklearn import MemKDClassifier, RecurrentClassifier
    from memkd_sklearn.benchmark import compare, format_table, load_split

    if args.plot:
        import memkd_sklearn.plotting  # noqa: F401, which says what to install, before any work

        _check_picture(args.plot)
    _check_folders(args.json, args.plot, args.save)
    common = {"random_state": args.seed, "n_jobs": args.n_jobs, "verbose": int(not args.quiet)}
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
    splits = [
        load_split(args.data_set, split, args.data_path, args.resize) for split in ("train", "test")
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*very little variation.*")
        rows, fitted = compare(teacher, student, *splits, *([] if args.quiet else [_announce]))
    print(f"\n{args.data_set}: {len(splits[0][0])} training cases, {len(splits[1][0])} test cases")
    print(format_table(rows))
    if args.save:
        fitted["student, MemKD"].save(args.save)
    if args.json:
        report = {"data_set": args.data_set, "seed": args.seed, "rows": rows}
        write_whole(args.json, (json.dumps(report, indent=2) + "\n").encode())
    if args.plot:
        _write_figure(_training_curves(fitted), args.plot)


def _training_curves(fitted):
    from matplotlib.figure import Figure

    from memkd_sklearn.plotting import TrainingCurveDisplay

    figure = Figure(layout="constrained", figsize=(4.5 * len(fitted), 3.5))
    panels = figure.subplots(1, len(fitted))
    for (name, classifier), panel in zip(fitted.items(), panels, strict=True):
        TrainingCurveDisplay.from_estimator(classifier, name=name, ax=panel)
    return figure


def _check_picture(file):
    if file.suffix not in ("", ".png", ".pdf", ".svg"):
        raise ValueError(f"Got --plot {file}, but expected a name that ends in .png, .pdf or .svg.")


def _check_folders(*files):
    for file in filter(None, files):
        folder = file.absolute().parent
        if file.is_dir() or not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise ValueError(f"Got {file}, but expected a file in a folder that can be written.")


def _export(args):
    if args.streaming and args.format != "onnx":
        raise ValueError(f"Got --streaming with --format {args.format}, but expected onnx.")
    if args.name is not None and args.format == "onnx":
        raise ValueError(f"Got --name {args.name} with --format onnx, but expected a C format.")
    if args.out.exists() and args.out.samefile(args.student):
        raise ValueError(f"Got --out {args.out}, the student's own file, but expected another.")
    from memkd_sklearn import deploy

    student, *_ = deploy.load(args.student)
    if args.format == "onnx":
        deploy.to_onnx(student, args.out, streaming=args.streaming)
    else:
        dtype = "int8" if args.format == "c-int8" else "float32"
        deploy.to_c(
            student, args.out, dtype=dtype, name="student" if args.name is None else args.name
        )
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


def _benchmark(args):
    from memkd_sklearn import benchmark

    if args.plot:
        from aeon.visualisation import plot_critical_difference  # before any work

        import memkd_sklearn.plotting  # noqa: F401, which says what to install

        _check_picture(args.plot)
        _check_folders(args.plot)
        if len(args.methods) + len(args.references) < 3:
            raise ValueError("Got --plot of fewer than 3 methods, but expected as many to rank.")
    known = {}
    if args.references:
        from aeon.utils.discovery import all_estimators

        known = dict(all_estimators(type_filter="classifier"))
    for name in args.references:
        if name not in known:
            raise ValueError(f"Got reference {name!r}, but expected the class of a classifier.")
    experiment = benchmark.Experiment(
        args.out,
        tuple(args.datasets),
        args.data_path,
        methods={name: benchmark.METHODS[name] for name in args.methods},
        seeds=tuple(args.seeds),
        weights=tuple(args.weights),
        references={name: known[name]() for name in args.references},
        student={"hidden_size": args.hidden_size, "n_init": args.n_init},
        teachers=args.teachers,
    ).run(n_jobs=args.n_jobs, verbose=not args.quiet)
    print(f"\n{experiment.report()}")
    if args.plot:
        scores, _ = benchmark.load_results(args.out, [*args.methods, *args.references])
        figure = plot_critical_difference(scores, [*args.methods, *args.references])[0]
        _write_figure(figure, args.plot)


def _write_figure(figure, file):
    picture, form = io.BytesIO(), file.suffix[1:] or "png"
    figure.savefig(picture, format=form, dpi=120, bbox_inches="tight")
    write_whole(file, picture.getvalue())


def _announce(name):
    print(f"{name}:", file=sys.stderr)
