"""``memkd benchmark``: distillation methods over data sets and seeds."""

from pathlib import Path

from memkd_sklearn.cli.output import check_outputs, check_picture, write_figure

__all__ = ["METHODS", "add_parsers", "run"]

# The names of `memkd_sklearn.benchmark.METHODS`, without loading it.
METHODS = ("Base", "KD", "FitNet", "RKD", "AT", "DKD", "DT2W", "MemKD", "MemKD+KD")


def add_parsers(commands):
    """Add the command."""
    benchmark = commands.add_parser(
        "benchmark", help="distillation methods over data sets and seeds; can be interrupted"
    )
    benchmark.set_defaults(run=run)
    benchmark.add_argument("--data-path", metavar="DIR", help="folder of data sets, aeon's layout")
    benchmark.add_argument(
        "--datasets", nargs="+", required=True, metavar="NAME", help="data sets to compare on"
    )
    benchmark.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=METHODS,
        metavar="METHOD",
        help=f"methods to compare, of {', '.join(METHODS)} (all)",
    )
    benchmark.add_argument(
        "--references", nargs="+", default=[], metavar="CLASS", help="aeon classifiers, by class"
    )
    benchmark.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=[1, 24, 300, 49000, 1001],
        metavar="N",
        help="random states, each a student (1 24 300 49000 1001)",
    )
    benchmark.add_argument(
        "--weights",
        nargs="+",
        type=float,
        default=[0.1, 1.0, 10.0, 100.0],
        metavar="W",
        help="weights of a loss to choose from on training splits (0.1 1 10 100)",
    )
    benchmark.add_argument("--hidden-size", type=int, default=9, help="students' units (9)")
    benchmark.add_argument("--n-init", type=int, default=2, help="restarts of every student (2)")
    benchmark.add_argument(
        "--teachers",
        metavar="DIR",
        help="folder of fitted teachers to share; its files are unpickled, so trust who writes it",
    )
    benchmark.add_argument("--n-jobs", type=int, default=1, help="processes (1)")
    benchmark.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the results"
    )
    benchmark.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the critical difference diagram"
    )
    benchmark.add_argument("--quiet", action="store_true", help="show no progress bars")


def run(args):
    """Run what is not there yet, and print the report."""
    from memkd_sklearn import benchmark

    if args.plot:
        from aeon.visualisation import plot_critical_difference  # before any work

        import memkd_sklearn.plotting  # noqa: F401, which says what to install

        check_picture(args.plot)
        check_outputs([args.plot])
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
        scores, _, names = benchmark.mean_scores(experiment.results())
        figure = plot_critical_difference(scores, names)[0]
        write_figure(figure, args.plot)
