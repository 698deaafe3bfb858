"""The benchmark runner: what it chooses, writes, takes up again and refuses."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from unittest.mock import patch

import joblib
import numpy as np
import pytest
from aeon.benchmarking import results_loaders
from aeon.classification.base import BaseClassifier
from aeon.classification.dummy import DummyClassifier

from memkd_sklearn.benchmark import (
    METHODS,
    Experiment,
    average_ranks,
    fits,
    load_split,
    mean_scores,
    summarise,
)
from memkd_sklearn.benchmark.fits import n_holdouts
from memkd_sklearn.losses import DistillationLoss, SoftTargets

# Real data, hardly trained. The teacher is fitted here, so that a run need not.
SMALL = {"hidden_size": 2, "n_epochs": 2, "n_init": 1}


class LogitMatching(DistillationLoss):
    def __call__(self, student, teacher, rng):
        return {"logit": (student.logits - teacher.logits).square().mean()}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory, teacher):
    """A folder with a small teacher of ItalyPowerDemand, as a run leaves it."""
    folder = tmp_path_factory.mktemp("teachers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fits, "RecurrentClassifier", lambda random_state: teacher)
        fit = fits.TeacherFit(folder / "ItalyPowerDemand.joblib", "ItalyPowerDemand")
        fit.do(Experiment("unused", ["ItalyPowerDemand"]))
    return folder


def small(out, teachers, **params):
    settings = {
        "methods": {"Base": None, "KD": SoftTargets(), "logits": LogitMatching()},
        "seeds": (3, 7),
        "weights": (0.5, 2.0),
        "student": SMALL,
        "teachers": teachers,
    }
    return Experiment(out, ("ItalyPowerDemand",), **settings | params)


def rows_of(file):
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


def loaded_by_aeon(out, methods, measure):
    """Load results with aeon, whose loader has to be told names other than its own."""
    name = measure.replace("_", "")
    with (
        patch.dict(results_loaders.NAME_ALIASES, {method: set() for method in methods}),
        patch.dict(results_loaders.VALID_RESULT_MEASURES, {"classification": [name]}),
    ):
        return results_loaders.get_estimator_results_as_array(
            methods, num_resamples=None, measure=name, path=str(out / "aeon")
        )


def test_a_run_writes_tidy_rows_that_aeon_loads(tmp_path, teachers):
    experiment = small(tmp_path, teachers, references={"Dummy": DummyClassifier()}).run()
    rows = rows_of(tmp_path / "results.csv")
    assert [(r["method"], r["seed"]) for r in rows] == [
        (method, seed) for method in ("Base", "KD", "logits", "Dummy") for seed in ("3", "7")
    ]
    base, kd = rows[0], rows[2]
    assert base["weight"] == ""
    assert float(kd["weight"]) in (0.5, 2.0)
    assert kd["epochs"] == "2"
    assert kd["parameters"] == str(3 * 2 * (1 + 2 + 2) + 2 * 3)
    assert all(0 < float(r["auc_prc"]) <= 1 and float(r["fit_seconds"]) >= 0 for r in rows)
    assert all(r["torch"] for r in rows)
    choices = rows_of(tmp_path / "choices.csv")
    assert len(choices) == 2 * 2 * n_holdouts(67)
    for measure in ("accuracy", "auc_prc", "log_loss"):
        scores, data_sets = loaded_by_aeon(tmp_path, ["Base", "KD", "Dummy"], measure)
        assert data_sets == ["ItalyPowerDemand"]
        means, _, methods = mean_scores(experiment.results(), measure)
        expected = [means[0, methods.index(name)] for name in ("Base", "KD", "Dummy")]
        assert scores[0] == pytest.approx(expected)
    table = experiment.summary()
    assert f"{float(np.mean([float(r['auc_prc']) for r in rows[:2]])):.3f}" in table
    assert "average rank" in table


def test_the_weight_is_the_best_on_held_out_training_cases(tmp_path, teachers):
    experiment = small(tmp_path, teachers).run()
    for method in ("KD", "logits"):
        rows = [row for row in experiment.choices() if row["method"] == method]
        means = {
            weight: np.mean([row["auc_prc"] for row in rows if row["weight"] == weight])
            for weight in (0.5, 2.0)
        }
        if means[0.5] != means[2.0]:
            assert experiment.chosen_weight("ItalyPowerDemand", method) == max(means, key=means.get)
    assert experiment.chosen_weight("ItalyPowerDemand", "Base") is None


def test_methods_share_initial_weights(tmp_path, teachers):
    experiment = small(tmp_path, teachers, student=SMALL | {"n_epochs": 1, "learning_rate": 1e-12})
    X, y = load_split("ItalyPowerDemand", "train")
    students = [
        experiment.build("ItalyPowerDemand", method, 1.0, seed=7).fit(X, y)
        for method in ("Base", "KD", "logits")
    ]
    arrays = [student.network_.arrays() for student in students]
    for name, array in arrays[0].items():
        assert all(np.allclose(array, other[name], atol=1e-6) for other in arrays[1:])


def test_a_single_weight_is_not_chosen(tmp_path, teachers):
    experiment = small(tmp_path, teachers, weights=(2.0,), seeds=(1,)).run()
    assert experiment.choices() == []
    assert {row["weight"] for row in experiment.results()} == {None, 2.0}


def test_a_second_run_does_nothing_twice(tmp_path, teachers, monkeypatch):
    small(tmp_path, teachers).run()
    before = (tmp_path / "results.csv").read_bytes()
    monkeypatch.setattr(BaseClassifier, "fit", lambda *args: pytest.fail("fitted"))
    small(tmp_path, teachers).run()
    assert (tmp_path / "results.csv").read_bytes() == before


def test_a_run_goes_on_with_more_methods_and_seeds(tmp_path, teachers):
    first = small(tmp_path, teachers, methods={"Base": None}, seeds=[3]).run()
    assert first.report().startswith("AUC-PRC on test splits, one seed\n")
    experiment = small(tmp_path, teachers, weights=np.array([0.5, 2]), seeds=np.array([3, 7]))
    rows = experiment.run().results()
    assert [(row["method"], row["seed"]) for row in rows] == [
        (method, seed) for method in ("Base", "KD", "logits") for seed in (3, 7)
    ]
    assert experiment.report().startswith("AUC-PRC on test splits, mean over 2 seeds\n")
    (tmp_path / "runs" / "ItalyPowerDemand" / "KD" / "seed-7.json").unlink()
    assert experiment.report().startswith("AUC-PRC on test splits, mean over 1 to 2 seeds\n")
    small(tmp_path, teachers, methods={"Base": None}, seeds=[7]).run()
    folder = tmp_path / "aeon" / "classification" / "accuracy"
    assert [file.name for file in folder.iterdir()] == ["Base_accuracy.csv"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"student": SMALL | {"hidden_size": 3}}, "Got student hidden_size=3, but expected 2, as"),
        ({"weights": (0.5, 4.0)}, r"Got weights=\[0.5, 4.0\], but expected \[0.5, 2.0\]"),
        ({"methods": {"KD": SoftTargets(1.0)}}, "Got method KD=SoftTargets.temperature=1.0"),
    ],
)
def test_results_of_other_settings_are_not_taken_for_ours(tmp_path, teachers, params, message):
    small(tmp_path, teachers, methods={"KD": SoftTargets()}, seeds=[3]).run()
    before = (tmp_path / "settings.json").read_bytes()
    with pytest.raises(ValueError, match=message):
        small(tmp_path, teachers, seeds=[3], **params).run()
    assert (tmp_path / "settings.json").read_bytes() == before


def test_what_is_not_done_yet_is_left_out(tmp_path, teachers):
    experiment = small(tmp_path, tmp_path)
    assert (experiment.teacher_rows(), experiment.choices(), experiment.results()) == ([], [], [])


def test_a_killed_run_is_taken_up_again(tmp_path, teachers):
    command = [
        *(sys.executable, "-m", "memkd_sklearn", "benchmark", "--datasets", "ItalyPowerDemand"),
        *("--methods", "Base", "KD", "DKD", "--seeds", "1", "--weights", "0.5", "2"),
        *("--hidden-size", "2", "--n-init", "1", "--teachers", str(teachers)),
        *("--quiet", "--n-jobs", "2", "--plot", str(tmp_path / "diagram.png")),
    ]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        [*command, "--out", str(killed)], start_new_session=True, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 600
    while len(list(killed.rglob("*.json"))) < 3:  # in the middle
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "results.csv").exists()
    for out in (killed, whole):
        shown = subprocess.run(
            [*command, "--out", str(out)], check=True, capture_output=True, text=True
        ).stdout
    assert "average rank" in shown
    assert (whole / "summary.txt").read_text() in shown
    assert (tmp_path / "diagram.png").read_bytes().startswith(b"\x89PNG")
    first, second = (rows_of(out / "results.csv") for out in (killed, whole))
    assert len(first) == 3
    for row in (*first, *second):
        row.pop("fit_seconds")
    assert first == second
    assert (killed / "choices.csv").read_bytes() == (whole / "choices.csv").read_bytes()


def test_ranks_and_wins():
    rows = [
        {"data_set": d, "method": m, "auc_prc": s}
        for d, scores in {"a": (0.5, 0.7, 0.6), "b": (0.9, 0.8, 0.8)}.items()
        for m, s in zip(("Base", "KD", "MemKD"), scores, strict=True)
    ]
    assert average_ranks(mean_scores(rows)[0]).tolist() == [2.0, 1.75, 2.25]
    table = {line.split("  ")[0]: line for line in summarise(rows).splitlines()}
    assert table["wins against Base"].split()[3:] == ["0", "1", "1"]
    assert table["mean"].split()[-3:] == ["0.700", "0.750", "0.700"]


def test_holdouts_make_up_for_small_sets():
    assert [n_holdouts(n) for n in (20, 30, 67, 100, 1000)] == [4, 4, 2, 2, 2]


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"methods": {"x": "KD"}}, TypeError, "Got method 'x'='KD', but expected a loss or None"),
        ({"methods": {"a/b": None}}, ValueError, "Got name 'a/b', but expected one without"),
        ({"methods": {}}, ValueError, "Got no methods, but expected at least one"),
        ({"references": {"KD": DummyClassifier()}}, ValueError, "Got reference 'KD', but expected"),
        ({"seeds": (3, 3)}, ValueError, r"Got seeds=\[3, 3\], but expected each once"),
        ({"weights": (0.0,)}, ValueError, "Got weights=0.0, but expected"),
        ({"seeds": (-1,)}, ValueError, "Got seeds=-1, but expected"),
    ],
)
def test_senseless_settings_are_refused(tmp_path, params, error, message):
    with pytest.raises(error, match=message):
        small(tmp_path, tmp_path, **params)


def test_a_missing_data_set_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="Got data set 'Nowhere', but expected a file"):
        Experiment(tmp_path / "out", ("Nowhere",), tmp_path).run()
    assert not (tmp_path / "out").exists()


def test_the_paper_s_methods():
    assert list(METHODS) == [
        *("Base", "KD", "FitNet", "RKD", "AT", "DKD", "DT2W", "MemKD", "MemKD+KD")
    ]  # fmt: skip


DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a list": lambda content: b"[]",
    "no scores": lambda content: b"{}",
    "infinite": lambda content: content.replace(b'"accuracy": ', b'"accuracy": 1e999, "x": '),
    "not finite": lambda content: content.replace(b'"accuracy": ', b'"accuracy": NaN, "x": '),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_row_is_named_and_done_anew(tmp_path, teachers, damage):
    experiment = small(tmp_path, teachers, methods={"Base": None}, seeds=(3, 7)).run()
    before = [{**row, "fit_seconds": None} for row in experiment.results()]
    file = tmp_path / "runs" / "ItalyPowerDemand" / "Base" / "seed-3.json"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.warns(RuntimeWarning, match=rf"'{file}', a damaged file, which counts as not done"):
        assert [row["seed"] for row in experiment.results()] == [7]
    with pytest.warns(RuntimeWarning, match=f"{file}"):
        experiment.run()
    assert [{**row, "fit_seconds": None} for row in experiment.results()] == before


def test_a_damaged_teacher_is_named_and_fitted_anew(tmp_path, teachers, teacher, monkeypatch):
    shutil.copytree(teachers, tmp_path / "teachers")
    monkeypatch.setattr(fits, "RecurrentClassifier", lambda random_state: teacher)
    experiment = small(tmp_path, tmp_path / "teachers", methods={"Base": None}, seeds=(3,))
    file = tmp_path / "teachers" / "ItalyPowerDemand.joblib"
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    with pytest.warns(RuntimeWarning, match=f"{file}"):
        experiment.run()
    X, _ = load_split("ItalyPowerDemand", "test")
    assert np.array_equal(joblib.load(file).predict_proba(X), teacher.predict_proba(X))


@pytest.mark.parametrize("content", [b"{", b"[]"])
def test_damaged_settings_are_refused_by_name(tmp_path, teachers, content):
    file = tmp_path / "settings.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"Got '{file}'"):
        small(tmp_path, teachers).run()


def test_a_row_that_is_a_pipe_is_refused(tmp_path, teachers):
    experiment = small(tmp_path, teachers, methods={"Base": None}, seeds=(3,))
    folder = tmp_path / "runs" / "ItalyPowerDemand" / "Base"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "seed-3.json")
    with pytest.raises(ValueError, match=r"seed-3.json', a device or a pipe"):
        experiment.run()
