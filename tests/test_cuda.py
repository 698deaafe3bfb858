"""Fits on a GPU: skipped, loudly, where there is none."""

import numpy as np
import pytest
import torch

from memkd_sklearn import DistillationClassifier, MemKDClassifier, RecurrentClassifier
from memkd_sklearn.benchmark import METHODS

DEVICE = "cuda"
QUICK = {"n_epochs": 5, "synthetic": 20, "random_state": 0}

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="NO GPU: device='cuda' is untested"
)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("n_layers", [1, 3])
def test_a_network_learns_as_it_does_on_the_cpu(italy, cell, n_layers):
    X, y, X_test, _ = italy
    ours, theirs = (
        RecurrentClassifier(8, n_layers, cell, device=device, **QUICK).fit(X, y)
        for device in (DEVICE, "cpu")
    )
    for row, wanted in zip(ours.history_, theirs.history_, strict=True):
        assert row["train_loss"] == pytest.approx(wanted["train_loss"], rel=1e-2)
    assert np.abs(ours.predict_proba(X_test) - theirs.predict_proba(X_test)).max() < 0.02


@pytest.mark.parametrize("method", [name for name, loss in METHODS.items() if loss])
def test_every_loss_copies_a_teacher(italy, teacher, method):
    X, y, X_test, _ = italy
    ours, theirs = (
        DistillationClassifier(teacher, METHODS[method], 4, 1, device=device, **QUICK).fit(X, y)
        for device in (DEVICE, "cpu")
    )
    assert ours.history_[-1].keys() == theirs.history_[-1].keys()
    assert ours.history_[-1]["train_loss"] == pytest.approx(
        theirs.history_[-1]["train_loss"], rel=2e-2
    )
    assert np.abs(ours.predict_proba(X_test) - theirs.predict_proba(X_test)).max() < 0.05


def test_unequal_lengths_and_held_out_cases(italy):
    X, y = italy[:2]
    cut = [series[:, : 24 - case % 5] for case, series in enumerate(X)]
    classifier = RecurrentClassifier(4, 1, device=DEVICE, early_stopping=True, **QUICK).fit(cut, y)
    assert np.isfinite([row["valid_cross_entropy"] for row in classifier.history_]).all()


def test_what_was_fitted_there_leaves_python_from_the_cpu(italy, teacher, tmp_path):
    X, y, X_test, _ = italy
    fitted = MemKDClassifier(teacher, 4, 1, device=DEVICE, **QUICK).fit(X, y)
    fitted.save(tmp_path / "file")
    assert {p.device.type for p in fitted.network_.parameters()} == {DEVICE}
    loaded = MemKDClassifier.load(tmp_path / "file")
    assert np.array_equal(loaded.predict_proba(X_test), fitted.predict_proba(X_test))
    stream = fitted.stream()
    for x_t in X_test[0].T:
        last = stream.update(x_t)
    assert np.abs(last - fitted.predict_proba(X_test[:1])[0]).max() < 1e-12
