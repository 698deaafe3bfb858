"""``memkd export``: a saved student as ONNX, C, or a project that builds."""

from pathlib import Path

__all__ = ["add_parsers", "run"]

PROJECTS = ("arduino", "platformio", "cmake", "make")


def add_parsers(commands):
    """Add the command."""
    export = commands.add_parser("export", help="write a saved student as ONNX, C or a project")
    export.set_defaults(run=run)
    export.add_argument("student", type=Path, help="a file that .save() or --save wrote")
    export.add_argument(
        "--format",
        choices=("onnx", "c", "c-int8", *PROJECTS),
        required=True,
        help="what to write; the last four are projects, in int8",
    )
    export.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        required=True,
        help="file to write, or a project's folder",
    )
    export.add_argument("--streaming", action="store_true", help="ONNX: take and return the state")
    export.add_argument("--name", help="C: prefix of all names (that of the file or folder)")


def run(args):
    """Write the file, and say how large it is."""
    if args.streaming and args.format != "onnx":
        raise ValueError(f"Got --streaming with --format {args.format}, but expected onnx.")
    if args.name is not None and args.format == "onnx":
        raise ValueError(f"Got --name {args.name} with --format onnx, but expected a C format.")
    if args.out.exists() and args.out.samefile(args.student):
        raise ValueError(f"Got --out {args.out}, the student's own file, but expected another.")
    from memkd_sklearn import deploy

    student, *_ = deploy.load(args.student)
    if args.format in PROJECTS:
        deploy.to_project(student, args.out, args.format, name=args.name)
        print(f"{args.out}: a project, see {args.out / 'README.md'}")
        return
    if args.format == "onnx":
        deploy.to_onnx(student, args.out, streaming=args.streaming)
    else:
        dtype = "int8" if args.format == "c-int8" else "float32"
        deploy.to_c(student, args.out, dtype=dtype, name=args.name)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")
