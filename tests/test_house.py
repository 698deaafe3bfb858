"""The rules of the house that the sources show: who imports whom, unpickles, and says what it raises."""

import ast
import re
import sys
from pathlib import Path

import pytest

import memkd_sklearn

PACKAGE = Path(memkd_sklearn.__file__).parent
# No room below imports these: the estimators and all that stands above them.
TOP = {"_base", "_memkd", "_distillation", "_recurrent", "_deploy_mixin", "benchmark", "cli"}
BELOW = ("kernels", "network", "losses", "teachers", "deploy", "augmentation", "training")
# Who may unpickle: a teacher of --teachers, entries of memory=, and machine code of the cache.
UNPICKLING = {"benchmark/fits.py", "kernels/compiling.py", "teachers/cache.py"}


def sources(room=""):
    return sorted((PACKAGE / room).rglob("*.py"))


def imported(file):
    """Modules that a file imports, anywhere in it, with their dots."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, file  # relative imports would hide arrows
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_of(file):
    """Rooms and modules of the package that a file imports."""
    names = (name.split(".") for name in imported(file))
    return {parts[1] for parts in names if parts[0] == "memkd_sklearn" and len(parts) > 1}


def test_kernels_import_only_numpy_and_numba():
    allowed = sys.stdlib_module_names | {"numpy", "numba", "llvmlite", "memkd_sklearn"}
    for file in sources("kernels"):
        assert {name.split(".")[0] for name in imported(file)} <= allowed, file
        assert rooms_of(file) <= {"kernels", "_files"}, file  # and how files are written whole


@pytest.mark.parametrize("room", ["network", "losses"])
def test_networks_and_losses_know_no_other_room(room):
    for file in sources(room):
        assert not rooms_of(file) & {*BELOW} - {"kernels", room}, file


@pytest.mark.parametrize("room", BELOW)
def test_no_arrow_points_back_to_the_estimators(room):
    above = TOP if room == "training" else TOP | {"training"}
    for file in sources(room):
        assert not rooms_of(file) & above, file


def unpickles(file):
    """Whether a file calls something that unpickles, or imports it to do so."""
    text = file.read_text()
    names = {
        f"{ast.unparse(node.func.value)}.{node.func.attr}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    loads = {
        *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load"),
        *("cloudpickle.loads", "joblib.load", "torch.load", "np.load", "marshal.loads"),
        *("pd.read_pickle", "shelve.open", "dill.load", "dill.loads", "memory.cache"),
    }
    return bool(names & loads) or "import check_memory" in text


def test_nothing_unpickles_but_what_says_so():
    found = {f.relative_to(PACKAGE).as_posix() for f in sources() if unpickles(f)}
    assert found == UNPICKLING


def test_who_unpickles_what_others_write_says_so():
    from memkd_sklearn import DistillationClassifier, MemKDClassifier
    from memkd_sklearn.benchmark import Experiment

    for documented in (DistillationClassifier, MemKDClassifier, Experiment):
        assert "unpickled, which can run anything" in " ".join(documented.__doc__.split())
    assert "unpickled" in (PACKAGE / "cli" / "benchmark.py").read_text()


def raised_in(node):
    """Names of the exceptions that code raises itself, but for those that it catches."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
        return
    if isinstance(node, ast.Raise) and node.exc is not None:
        name = ast.unparse(node.exc).split("(")[0].split(".")[-1]
        if name[0].isupper() and name not in ("NotImplementedError", "AttributeError"):
            yield name
    caught = node.body if isinstance(node, ast.Try) and node.handlers else []
    for child in ast.iter_child_nodes(node):
        if child not in caught:
            yield from raised_in(child)


def public_functions(node, prefix="", documented=""):
    """Public functions and methods, by name, each with the text that documents it."""
    texts = {}
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            text = ast.get_docstring(child) or ""
            yield from public_functions(child, f"{prefix}{child.name}.", text)
        elif isinstance(child, ast.FunctionDef):
            own = texts.get(child.name, "") + (ast.get_docstring(child) or "")  # of a setter, both
            texts[child.name] = own
            if child.name in ("__init__", "__post_init__"):
                yield prefix + child.name, child, documented
            elif not child.name.startswith("_"):
                yield prefix + child.name, child, own


def test_public_functions_say_what_they_raise():
    silent = []
    for file in sources():
        if file.is_relative_to(PACKAGE / "cli"):  # it prints errors
            continue
        for name, function, text in public_functions(ast.parse(file.read_text())):
            said = text if text.startswith("Raise ") else text.partition("Raises\n------")[2]
            for exception in {n for part in function.body for n in raised_in(part)}:
                if not re.search(rf"\b{exception}\b", said):
                    silent.append(f"{file.relative_to(PACKAGE)}: {name} raises {exception}")
    assert not silent
