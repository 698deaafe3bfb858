"""The command ``memkd``, also ``python -m memkd_sklearn``.

A command imports its modules when it runs: PyTorch and aeon take seconds to load, and help does
without them.
"""

import argparse
import os
import sys
import warnings

from memkd_sklearn import __version__
from memkd_sklearn.cli import benchmark, distil, export, predict

__all__ = ["main"]

INTERRUPTED = 130  # a shell expects it of a command that Ctrl-C stopped
NO_READER = 141  # and of one whose output nobody reads on, as after `| head`


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str or None, default=None
        Arguments; None takes the process's.

    Returns
    -------
    code : int
        Exit code: 0, 2 for bad input, 130 after Ctrl-C, 141 if nobody reads the output on.
    """
    args = _parser().parse_args(argv)
    usual, warnings.formatwarning = warnings.formatwarning, _one_line
    try:
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return NO_READER
    except KeyboardInterrupt:
        resumable = args.run is benchmark.run
        then = ": the same command goes on from here" if resumable else ""
        print(f"Interrupted{then}.", file=sys.stderr)
        return INTERRUPTED
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"memkd: {error}", file=sys.stderr)
        return 2
    finally:
        warnings.formatwarning = usual
    return 0


def _one_line(message, *args):
    """A warning as a user of commands reads it, who has no use for a line of code."""
    return f"memkd: {message}\n"


def _parser():
    parser = argparse.ArgumentParser(
        prog="memkd",
        description="Shrink a recurrent time series classifier by memory-discrepancy distillation.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (distil, predict, export, benchmark):
        command.add_parsers(commands)
    return parser
