"""Searches over several machines: joblib's dask backend, on worker processes of their own."""

import pickle
import re
from itertools import chain
from pathlib import Path

import joblib
import numpy as np
import pytest
from conftest import tiny
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from memkd_sklearn import MemKDClassifier

distributed = pytest.importorskip(
    "distributed", reason="searches over a cluster need the extra: memkd-sklearn[dask]"
)
from observed import Counting, Mortal  # noqa: E402

GRID = {"hidden_size": [2, 3, 4]}


@pytest.fixture(scope="module")
def data(italy):
    """So many cases that joblib scatters the index arrays of folds, as it does of any real set."""
    X, y, X_test, y_test = italy
    return np.concatenate([X, X_test[:150]]), np.concatenate([y, y_test[:150]])


@pytest.fixture(scope="module")
def splits(data):
    return list(StratifiedKFold(5).split(*data))


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    return tmp_path_factory.mktemp("traces") / "traces"


@pytest.fixture(scope="module")
def client(traces, data, splits):
    """Two worker processes, each with the nanny that starts it anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMKD_TEST_TRACES", str(traces))
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
        with (
            distributed.LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # of its bare HTTP server
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            client.amm.stop()
            # None is to finish four folds while the other still imports and compiles.
            client.run(student(tiny(n_epochs=1)).fit, *data)
            # Dask names what is scattered by its content. What one search scatters would be lost if
            # the word to free the same of the search before came later; what is held is not freed.
            held = client.scatter(everything(data, splits), broadcast=True)
            yield client
            del held


def student(teacher, make=MemKDClassifier, **params):
    return make(teacher, n_init=1, n_epochs=2, random_state=0, **params)


def everything(data, splits):
    return [*data, *chain(*splits)]


def fit_on_cluster(search, data, splits):
    with joblib.parallel_config(backend="dask", scatter=everything(data, splits)):
        return search.fit(*data)


def scores(search):
    results = search.cv_results_
    return np.array([results[name] for name in results if name.endswith("_test_score")])


def bytes_sent(client):
    """By the client to the scheduler and by the scheduler to its workers, so far."""
    return client.scheduler_comm.byte_count, client.run_on_scheduler(
        lambda dask_scheduler: sum(c.byte_count for c in dask_scheduler.stream_comms.values())
    )


def test_a_fitted_teacher_travels_at_most_once_a_task_and_scores_are_the_serial_ones(
    client, data, splits
):
    n_tasks = len(GRID["hidden_size"]) * len(splits)
    unfitted = tiny(hidden_size=64, n_layers=1, n_epochs=1)
    travelled = []
    for teacher in (unfitted, clone(unfitted).fit(*data)):
        far, here = (GridSearchCV(student(teacher), GRID, cv=splits) for _ in range(2))
        before = bytes_sent(client)
        fit_on_cluster(far, data, splits)
        travelled.append(np.subtract(bytes_sent(client), before) / n_tasks)
        assert np.array_equal(scores(far), scores(here.fit(*data)))
    as_parameters, as_fitted = travelled
    indices = sum(index.nbytes for index in chain(*splits))  # in the search, which travels
    assert (as_parameters < indices + 16_000).all()  # most of it scikit-learn's own
    of_teacher = (as_fitted - as_parameters) / len(pickle.dumps(teacher))
    assert (of_teacher < 1.2).all()  # a busy scheduler moves a task, and its teacher with it
    assert (of_teacher > 0.1).all()  # tasks may come in batches, but it is them that is counted


def test_the_lines_of_the_user_guide_read_and_fit_the_teacher_once_a_fold(
    client, data, traces, tmp_path
):
    text = (Path(__file__).parents[1] / "docs" / "guide" / "searching.md").read_text()
    section = text.split("\n## Beyond one machine\n")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    for theirs, ours in (
        ("tcp://scheduler:8786", client.scheduler.address),
        ("/shared/memkd", str(tmp_path)),
        # So few series that the teacher reads them in one part.
        ("RecurrentClassifier()", "teacher, n_init=1, n_epochs=2, synthetic=99"),
    ):
        assert theirs in code
        code = code.replace(theirs, ours)
    teacher = Counting(4, n_layers=1, n_epochs=2, random_state=0)
    names = dict(zip("Xy", data, strict=True), teacher=teacher, MemKDClassifier=MemKDClassifier)
    exec(code, names)
    names["client"].close()
    assert sorted(traces.read_text()) == ["f"] * 6 + ["r"] * 6  # five folds and the refit
    here = clone(names["search"]).set_params(estimator__memory=None).fit(*data)
    assert np.array_equal(scores(names["search"]), scores(here))


def test_a_worker_that_is_killed_takes_nothing_with_it(client, data, splits, traces):
    teacher = tiny().fit(*data)
    workers = set(client.scheduler_info()["workers"])
    search = GridSearchCV(student(teacher, make=Mortal), GRID, cv=splits, refit=False)
    far = fit_on_cluster(search, data, splits)
    assert traces.with_suffix(".killed").exists()
    client.wait_for_workers(2, timeout=600)
    assert len(workers - set(client.scheduler_info()["workers"])) == 1
    here = GridSearchCV(student(teacher), GRID, cv=splits, refit=False).fit(*data)
    assert np.array_equal(scores(far), scores(here))
