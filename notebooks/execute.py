"""Run every notebook from top to bottom, in place with --write; fail at the first error."""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def main():
    for path in sorted(HERE.glob("*.ipynb")):
        began = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        resources = {"metadata": {"path": HERE}}
        NotebookClient(notebook, timeout=600, coalesce_streams=True, resources=resources).execute()
        print(f"{path.name}: {time.perf_counter() - began:.0f} s", flush=True)
        if "--write" in sys.argv:
            for cell in notebook.cells:
                cell.metadata.pop("execution", None)  # times of this run
            nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
