"""Rounding beats plain rounding, on data that it was not chosen on."""

from dataclasses import replace

import numpy as np

from memkd_sklearn.deploy import calibrate, quantise
from memkd_sklearn.deploy.int8 import calibration
from memkd_sklearn.deploy.int8.rounding import round_for_scores


def problem(slopes, exact):
    """Blocks, their slopes, and moments of inputs that tell no two numbers apart."""
    moments = [np.broadcast_to(np.eye(b.shape[2]), (*b.shape, b.shape[2])) for b in exact]
    start = [np.round(block) for block in exact]

    def errors(numbers):
        return sum(
            np.einsum("sui,suin->n", n - e, s)
            for n, e, s in zip(numbers, exact, slopes, strict=True)
        )

    return (exact, slopes, moments, errors(start)), errors


def test_scores_err_less_than_after_plain_rounding():
    rng = np.random.default_rng(0)
    exact = [rng.normal(scale=3, size=(4, 8, 10)), rng.normal(scale=3, size=(1, 2, 9))]
    slopes = [rng.normal(size=(*block.shape, 100)) for block in exact]
    arguments, errors = problem(slopes, exact)
    found = round_for_scores(*arguments)
    assert all((block == np.round(block)).all() for block in found)
    assert all(np.abs(f - e).max() < 10 for f, e in zip(found, exact, strict=True))
    # 338 numbers for 100 scores: most of the errors can cancel.
    assert (errors(found) ** 2).sum() < 0.25 * (arguments[-1] ** 2).sum()


def test_errors_cancel_where_no_single_move_would_help():
    rng = np.random.default_rng(0)
    exact = [rng.normal(scale=20, size=(4, 8, 9))]
    n = exact[0].size
    # Scores of cases that are much alike: all that they tell of most numbers is a few sums.
    smooth = rng.normal(size=(n, 400)) @ np.diag(0.8 ** np.arange(400))
    arguments, errors = problem([smooth.reshape(*exact[0].shape, 400)], exact)
    found = round_for_scores(*arguments)
    single, curvature = (np.round(exact[0]) - exact[0]).ravel(), smooth @ smooth.T
    for _ in range(30):
        for index in range(n):
            single[index] -= np.round(curvature[index] @ single / curvature[index, index])
    assert (errors(found) ** 2).sum() < 0.5 * single @ curvature @ single


def test_whole_numbers_stay_within_twelve_bits():
    exact = [np.array([[[2047.0, 2046.7, -2047.0, 3.4]]])]
    slopes = [np.ones((1, 1, 4, 1)) * np.array([1.0, 1.0, -1.0, 0.01])[:, None]]
    arguments, _ = problem(slopes, exact)
    found = round_for_scores(*arguments[:-1], np.array([-50.0]))[0]
    assert np.abs(found).max() == 2047


def test_numbers_of_which_no_score_tells_stay():
    exact = [np.array([[[3.3, -2.6, 0.0, 7.4]]])]
    slopes = [np.zeros((1, 1, 4, 5))]
    slopes[0][0, 0, 0] = 1.0
    moments = [np.ones((1, 1, 4, 4))]  # nor do sums tell one from another
    errors = np.einsum("sui,suin->n", np.round(exact[0]) - exact[0], slopes[0])
    found = round_for_scores(exact, slopes, moments, errors)[0]
    assert np.abs(found - exact[0]).max() < 2
    assert found[0, 0, 2] == 0


def test_mixtures_help_where_training_series_are_few(all_trained, monkeypatch):
    def distance(n_mixtures):
        monkeypatch.setattr(calibration, "MOST_MIXTURES", n_mixtures)
        total = 0
        for trained in all_trained.values():
            found = calibrate(trained.student, trained.X[:6])
            proba = quantise(replace(trained.student, calibration=found)).predict_proba(trained.X)
            total += np.log(np.abs(proba - trained.proba(trained.X)).mean())
        return total / len(all_trained)

    assert distance(512) < distance(0) + np.log(0.8)


def test_probabilities_are_nearer_on_series_that_were_not_seen(all_trained, monkeypatch):
    def distance(most_parameters):
        # Of networks that are larger, every weight is rounded alone.
        monkeypatch.setattr(calibration, "MOST_PARAMETERS", most_parameters)
        total = 0
        for trained in all_trained.values():
            half = len(trained.X) // 2
            found = calibrate(trained.student, trained.X[:half])
            quantised = quantise(replace(trained.student, calibration=found))
            unseen = trained.X[half:]
            total += np.log(np.abs(quantised.predict_proba(unseen) - trained.proba(unseen)).mean())
        return total / len(all_trained)

    assert distance(5000) < distance(0) + np.log(0.8)
