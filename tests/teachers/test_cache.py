"""A teacher is read, and fitted, once for each part of the data, whatever searches ask of it."""

import shutil
import sys
import textwrap
import warnings

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
)

from memkd_sklearn import DistillationClassifier, MemKDClassifier, RecurrentClassifier
from memkd_sklearn.losses import SoftTargets

# In a module of its own, which worker processes can import; it counts in a file, over all.
COUNTING = """
    import os
    from memkd_sklearn import RecurrentClassifier

    class Counting(RecurrentClassifier):
        def _count(self, what):
            with open(os.environ["MEMKD_TEST_COUNTS"], "a") as file:
                file.write(what)

        def _fit(self, X, y):
            self._count("f")
            return super()._fit(X, y)

        def _read_trace(self, X, states):
            self._count("r")
            return super()._read_trace(X, states)
"""
SIZES = {"hidden_size": [2, 3, 4, 5, 6]}


@pytest.fixture
def counts(tmp_path, monkeypatch):
    """The module of the counting teacher, and a function that says what happened since."""
    (tmp_path / "counting_teacher.py").write_text(textwrap.dedent(COUNTING))
    file = tmp_path / "counts"
    file.write_text("")
    monkeypatch.setenv("MEMKD_TEST_COUNTS", str(file))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.syspath_prepend(str(tmp_path))
    get_reusable_executor().shutdown(wait=True)  # workers start with this environment

    import counting_teacher

    def since():
        text = file.read_text()
        file.write_text("")
        return {"reads": text.count("r"), "fits": text.count("f")}

    yield counting_teacher, since
    get_reusable_executor().shutdown(wait=True)
    sys.modules.pop("counting_teacher")


def make(counting, *data, **params):
    teacher = counting.Counting(4, n_layers=1, n_epochs=2, random_state=0, **params)
    return teacher.fit(*data) if data else teacher


def student(teacher, **params):
    return MemKDClassifier(teacher, n_epochs=1, synthetic=0, random_state=0, **params)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_reads_a_fitted_teacher_once_a_fold(counts, italy, tmp_path, n_jobs):
    counting, since = counts
    X, y, *_ = italy
    teacher = make(counting, X, y)
    since()
    searches = []
    for reads in (5 + 1, 0):  # the folds and the refit; then nothing
        estimator = student(teacher, memory=str(tmp_path / "cache"))
        searches.append(GridSearchCV(estimator, SIZES, cv=5, n_jobs=n_jobs).fit(X, y))
        assert since() == {"reads": reads, "fits": 0}
    plain = GridSearchCV(student(teacher), SIZES, cv=5).fit(X, y)
    for search in searches:
        scores = [s.cv_results_["mean_test_score"] for s in (search, plain)]
        assert np.array_equal(*scores)


def test_a_search_fits_an_unfitted_teacher_once_a_fold(counts, italy, tmp_path):
    counting, since = counts
    X, y, *_ = italy
    estimator = student(make(counting), memory=joblib.Memory(tmp_path / "cache", verbose=0))
    search = GridSearchCV(estimator, SIZES, cv=3).fit(X, y)
    assert since() == {"reads": 4, "fits": 4}
    assert not estimator.teacher.is_fitted
    assert search.best_estimator_.teacher_.is_fitted
    GridSearchCV(estimator, {"teacher__hidden_size": [4, 5]}, cv=3).fit(X, y)
    assert since()["fits"] in (3, 4)  # of the new size, the refit perhaps included


def test_without_seeds_a_search_fits_a_teacher_once_a_fold_as_well(counts, italy, tmp_path):
    counting, since = counts
    X, y, *_ = italy
    teacher = counting.Counting(4, n_layers=1, n_epochs=2)
    # So few series that the teacher reads them in one part.
    memory = str(tmp_path / "cache")
    estimator = MemKDClassifier(teacher, n_epochs=1, synthetic=99, memory=memory)
    folds = list(StratifiedKFold(3).split(X, y))
    for counted in ({"reads": 4, "fits": 4}, {"reads": 0, "fits": 0}):
        GridSearchCV(estimator, SIZES, cv=folds).fit(X, y)
        assert since() == counted
    first, second = (MemKDClassifier(teacher, n_epochs=1).fit(X, y).teacher_ for _ in range(2))
    assert joblib.hash(first.network_) != joblib.hash(second.network_)


@pytest.mark.filterwarnings("error:.*not writable")
def test_a_memory_mapped_cache_is_read(italy, teacher, tmp_path):
    X, y, *_ = italy
    memory = joblib.Memory(tmp_path, mmap_mode="r", verbose=0)
    students = [student(teacher, memory=memory).fit(X, y) for _ in range(2)]
    assert students[0].history_ == students[1].history_


def test_what_changes_is_read_anew(counts, italy, tmp_path):
    counting, since = counts
    X, y, *_ = italy
    teacher, other = make(counting, X, y), make(counting, X, y, learning_rate=0.1)
    since()

    def reads(teacher, X, y):
        student(teacher, memory=str(tmp_path / "cache")).fit(X, y)
        return since()["reads"]

    assert reads(teacher, X, y) == 1
    assert reads(teacher, X, y) == 0
    assert reads(other, X, y) == 1
    changed = X.copy()
    changed[3, 0, 5] += 1e-9
    assert reads(teacher, changed, y) == 1
    assert reads(teacher, X[1:], y[1:]) == 1
    assert reads(teacher, X, y) == 0


def test_the_same_fit_is_the_same_teacher(counts, italy, tmp_path):
    counting, since = counts
    X, y, *_ = italy
    for n_reads in (1, 0):
        teacher = make(counting, X, y)
        since()
        student(teacher, memory=tmp_path / "cache").fit(X, y)  # of a path, not of a name
        assert since()["reads"] == n_reads
        assert "fit_time_millis_" in vars(teacher)


@pytest.mark.parametrize("damage", [b"", b"\x80\x04 not a pickle"])
def test_a_damaged_entry_is_read_anew(counts, italy, tmp_path, damage):
    counting, since = counts
    X, y, *_ = italy
    teacher = make(counting, X, y)
    cache = tmp_path / "cache"
    fitted = student(teacher, memory=str(cache)).fit(X, y)
    since()
    entries = list(cache.rglob("output.pkl"))
    assert entries
    for entry in entries:
        entry.write_bytes(damage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib tells of it
        again = student(teacher, memory=str(cache)).fit(X, y)
    assert since()["reads"] == 1
    assert again.history_ == fitted.history_
    for entry in list(cache.rglob("output.pkl")):
        shutil.rmtree(entry.parent)  # or half of it is gone
    assert student(teacher, memory=str(cache)).fit(X, y).history_ == fitted.history_
    assert since()["reads"] == 1


def test_other_searches_and_nested_parameters(italy, tmp_path):
    X, y, *_ = italy
    teacher = RecurrentClassifier(4, n_layers=1, n_epochs=2, random_state=0)
    memory = str(tmp_path / "cache")
    halving = HalvingGridSearchCV(
        student(teacher, memory=memory), {"hidden_size": [2, 3, 4]}, cv=2, random_state=0
    ).fit(X, y)
    assert halving.best_params_["hidden_size"] in (2, 3, 4)
    soft = DistillationClassifier(
        teacher, SoftTargets(), 2, n_epochs=1, memory=memory, random_state=0
    )
    grid = {"loss__temperature": [1.0, 4.0], "teacher__hidden_size": [3, 5]}
    random = RandomizedSearchCV(soft, grid, n_iter=3, cv=2, random_state=0).fit(X, y)
    best = random.best_estimator_
    assert best.teacher_.hidden_size == random.best_params_["teacher__hidden_size"]
    assert best.loss.temperature == random.best_params_["loss__temperature"]


@pytest.mark.parametrize("memory", [3, ["folder"]])
def test_no_memory(teacher, italy, memory):
    with pytest.raises(ValueError, match=r"Got memory=.*, but expected None, a folder or"):
        student(teacher, memory=memory).fit(*italy[:2])


def test_candidates_that_begin_at_once_wait_for_each_other(counts, italy, tmp_path):
    counting, since = counts
    X, y, *_ = italy
    estimator = student(make(counting), memory=str(tmp_path / "cache"))
    GridSearchCV(estimator, SIZES, cv=2, n_jobs=5).fit(X, y)
    assert since() == {"reads": 2 + 1, "fits": 2 + 1}
