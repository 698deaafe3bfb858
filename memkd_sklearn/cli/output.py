"""Files that commands write, checked before any work."""

import io
import os

from memkd_sklearn._files import write_whole

__all__ = ["check_folders", "check_picture", "write_figure"]


def check_picture(file):
    """Raise ValueError unless a picture can be written under this name."""
    if file.suffix not in ("", ".png", ".pdf", ".svg"):
        raise ValueError(f"Got --plot {file}, but expected a name that ends in .png, .pdf or .svg.")
    check_folders(file)


def check_folders(*files):
    """Raise ValueError unless files, where they are not None, can be written."""
    for file in filter(None, files):
        folder = file.absolute().parent
        if file.is_dir() or not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise ValueError(f"Got {file}, but expected a file in a folder that can be written.")


def write_figure(figure, file):
    """Write a matplotlib figure whole, in the form that the file's name asks for."""
    picture, form = io.BytesIO(), file.suffix[1:] or "png"
    figure.savefig(picture, format=form, dpi=120, bbox_inches="tight")
    write_whole(file, picture.getvalue())
