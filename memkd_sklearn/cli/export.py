"""``memkd export``: a saved student as ONNX, C, or a project that builds; and what would fit."""

from itertools import product
from pathlib import Path

__all__ = ["add_parsers", "run"]

PROJECTS = ("arduino", "platformio", "cmake", "make", "micropython")


def add_parsers(commands):
    """Add the command."""
    export = commands.add_parser(
        "export",
        help="write a saved student as ONNX, C or a project; or say what fits a board",
        description="Write a saved student; or, with --budget and no student, say which sizes fit "
        "a board before one is trained.",
    )
    export.set_defaults(run=run)
    export.add_argument("student", type=Path, nargs="?", help="a file that .save() or --save wrote")
    export.add_argument(
        "--format",
        choices=("onnx", "c", "c-int8", *PROJECTS),
        help="what to write; from arduino on, a project",
    )
    export.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="file to write, or a project's folder",
    )
    export.add_argument("--streaming", action="store_true", help="ONNX: take and return the state")
    export.add_argument("--name", help="C: prefix of all names (the file's or folder's)")
    export.add_argument(
        "--dtype",
        choices=("int8", "float32"),
        help="projects: arithmetic of the step (int8, but for micropython)",
    )
    export.add_argument(
        "--window", type=int, metavar="N", help="C: answer for windows of N steps of a recording"
    )
    export.add_argument(
        "--hop", type=int, metavar="M", help="C: steps from one window to the next (N)"
    )

    budget = export.add_argument_group("before training")
    budget.add_argument(
        "--budget", help="bytes and milliseconds of a reading, such as flash=4096,ram=256,ms=5"
    )
    budget.add_argument("--board", help="atmega328p, cortex-m0plus, cortex-m4f or riscv32")
    budget.add_argument("--mhz", type=float, help="the board's clock, if not the usual one")
    for name, default in (("channels", 1), ("classes", 2)):
        budget.add_argument(f"--{name}", type=int, metavar="N", help=f"of the series ({default})")


def run(args):
    """Write the file, and say how large it is; or say what fits."""
    writing = {"student": args.student, "--format": args.format, "--out": args.out}
    if args.budget is not None:
        for option, value in writing.items():
            if value is not None:
                raise ValueError(f"Got --budget and {option} {value}, but expected one of them.")
        for name in ("streaming", "name", "dtype", "window", "hop"):
            if (value := getattr(args, name)) is not None and value is not False:  # 0 is given
                raise ValueError(f"Got --{name} with --budget, but expected it with --format.")
        _say_what_fits(args)
        return
    for option, value in writing.items():
        if value is None:
            raise ValueError(f"Got no {option}, but expected a student, --format and --out.")
    for name in ("board", "mhz", "channels", "classes"):
        if (value := getattr(args, name)) is not None:
            raise ValueError(f"Got --{name} {value} without --budget, but expected both.")
    _write(args)


def _say_what_fits(args):
    """Print, for each number format and cell, the largest student that fits."""
    from memkd_sklearn.deploy import boards

    budget = boards.Budget.parse(args.budget)
    if args.board is None:
        raise ValueError(f"Got no --board, but expected one of {', '.join(boards.BOARDS)}.")
    channels = 1 if args.channels is None else args.channels
    classes = 2 if args.classes is None else args.classes
    shape = {"n_channels": channels, "n_classes": classes}
    boards.check_board(args.board)
    board = boards.BOARDS[args.board]
    lines = [
        f"{args.board} at {args.mhz or board.mhz:g} MHz, channels: {channels}, "
        f"classes: {classes}; the largest student of one layer",
        f"{'dtype':9}{'cell':6}{'units':>6}{'flash':>9}{'ram':>8}{board.counts:>14}{'ms':>9}"
        "   one unit more exceeds",
    ]
    for dtype, cell in product(boards.DTYPES, boards.GATES):
        how = {"cell": cell, "dtype": dtype, "board": args.board, "mhz": args.mhz} | shape
        size = boards.largest(budget, **how)
        over = budget.exceeded_by(boards.cost(hidden_size=size + 1, **how))
        figures = " " * 40
        if size:
            one = boards.cost(hidden_size=size, **how)
            figures = f"{one.flash:>9,}{one.ram:>8,}{one.step:>14,}{one.ms:>9.2f}"
        lines.append(f"{dtype:9}{cell:6}{size or 'none':>6}{figures}   {', '.join(over)}")
    print("\n".join(lines))


def _write(args):
    if args.streaming and args.format != "onnx":
        raise ValueError(f"Got --streaming with --format {args.format}, but expected onnx.")
    for option in ("name", "window", "hop"):
        if (value := getattr(args, option)) is not None and args.format == "onnx":
            raise ValueError(f"Got --{option} {value} with --format onnx, but expected a C format.")
    if args.dtype is not None and args.format not in PROJECTS:
        raise ValueError(
            f"Got --dtype {args.dtype} with --format {args.format}, but expected a project."
        )
    if args.out.exists() and args.out.samefile(args.student):
        raise ValueError(f"Got --out {args.out}, the student's own file, but expected another.")
    from memkd_sklearn import deploy

    student, *_ = deploy.load(args.student)
    options = {"name": args.name, "window": args.window, "hop": args.hop}
    if args.format in PROJECTS:
        deploy.to_project(student, args.out, args.format, args.dtype, **options)
        print(f"{args.out}: a project, see {args.out / 'README.md'}")
        return
    if args.format == "onnx":
        deploy.to_onnx(student, args.out, streaming=args.streaming)
    else:
        dtype = "int8" if args.format == "c-int8" else "float32"
        deploy.to_c(student, args.out, dtype=dtype, **options)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")
