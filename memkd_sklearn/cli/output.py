"""Files that commands write, checked before any work."""

import io
import os
from pathlib import Path

from memkd_sklearn._files import write_whole

__all__ = ["check_outputs", "check_picture", "write_figure"]


def check_picture(file):
    """Raise ValueError unless a file's name is that of a picture."""
    if file.suffix not in ("", ".png", ".pdf", ".svg"):
        raise ValueError(f"Got --plot {file}, but expected a name that ends in .png, .pdf or .svg.")


def check_outputs(outputs, inputs=()):
    """Raise ValueError unless files can be written without replacing an input or one another.

    Of both, some may be None; an input that is not there is the name of a data set.
    """
    taken = [file for file in map(Path, filter(None, inputs)) if file.exists()]
    for file in filter(None, outputs):
        folder = file.absolute().parent
        if file.is_dir() or not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise ValueError(f"Got {file}, but expected a file in a folder that can be written.")
        if any(_is_same(file, other) for other in taken):
            raise ValueError(
                f"Got {file} to write, but expected a file that the command neither reads nor "
                "writes otherwise."
            )
        taken.append(file)


def _is_same(file, other):
    if os.path.realpath(file) == os.path.realpath(other):
        return True
    return file.exists() and other.exists() and file.samefile(other)  # of another case, perhaps


def write_figure(figure, file):
    """Write a matplotlib figure whole, in the form that the file's name asks for."""
    picture, form = io.BytesIO(), file.suffix[1:] or "png"
    figure.savefig(picture, format=form, dpi=120, bbox_inches="tight")
    write_whole(file, picture.getvalue())
