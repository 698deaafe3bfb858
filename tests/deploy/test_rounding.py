"""Rounding beats plain rounding, on data that it was not chosen on."""

import itertools
from dataclasses import replace

import numpy as np

from memkd_sklearn.deploy import calibrate, calibration, quantise
from memkd_sklearn.deploy.rounding import RoundForScores, round_for_sums


def test_sums_err_less_than_after_plain_rounding(trained):
    weights, biases = trained.student.rows(0)
    joined = np.random.default_rng(0).normal(size=(500, weights.shape[2] + 1))
    joined[:, 1:] += 3 * joined[:, :1]  # inputs that move together
    joined[:, -1] = 1
    moment = joined.T @ joined / len(joined)
    scales = np.broadcast_to(np.abs(weights).max(axis=2, keepdims=True) / 127, weights.shape)
    numbers = round_for_sums(weights, biases, scales, 2.0**-12, moment)
    assert (numbers == np.round(numbers)).all()
    assert np.abs(numbers[..., :-1]).max() <= 127
    assert (numbers[..., :-1][weights == 0] == 0).all()

    def errors(rounded, shift):
        return (
            joined[:, :-1] @ (rounded * scales - weights).reshape(-1, len(joined[0]) - 1).T
            + (shift - biases).ravel()
        )

    together = (errors(numbers[..., :-1], numbers[..., -1] * 2.0**-12) ** 2).mean()
    plain = (errors(np.round(weights / scales), biases) ** 2).mean()
    assert together < 0.8 * plain


def test_scores_err_no_more_than_any_neighbours():
    rng = np.random.default_rng(0)
    exact = [rng.normal(scale=3, size=(1, 1, 5)), rng.normal(scale=3, size=(1, 2, 3))]
    slopes = [rng.normal(size=(*block.shape, 40)) for block in exact]
    moments = [np.broadcast_to(np.eye(b.shape[2]), (*b.shape, b.shape[2])) for b in exact]
    start = [np.round(block) for block in exact]

    def errors(numbers):
        return sum(
            np.einsum("sui,suin->n", n - e, s)
            for n, e, s in zip(numbers, exact, slopes, strict=True)
        )

    found = RoundForScores(exact, slopes, moments)(start, errors(start))
    assert (errors(found) ** 2).sum() < (errors(start) ** 2).sum()
    # No single move helps, but for the sums' small share.
    for block, move in itertools.product(range(2), (-1, 1)):
        for at in np.ndindex(found[block].shape):
            near = [numbers.copy() for numbers in found]
            near[block][at] += move
            assert (errors(found) ** 2).sum() < 1.01 * (errors(near) ** 2).sum()


def test_errors_cancel_where_no_single_move_would_help():
    rng = np.random.default_rng(0)
    exact = [rng.normal(scale=20, size=(4, 8, 9))]
    n = exact[0].size
    # Scores of cases that are much alike: all that they tell of most numbers is a few sums.
    smooth = rng.normal(size=(n, 400)) @ np.diag(0.8 ** np.arange(400))
    slopes, start = [smooth.reshape(*exact[0].shape, 400)], [np.round(exact[0])]
    moments = [np.broadcast_to(np.eye(9), (*exact[0].shape, 9))]

    def errors(numbers):
        return np.einsum("sui,suin->n", numbers[0] - exact[0], slopes[0])

    found = RoundForScores(exact, slopes, moments)(start, errors(start))
    assert (found[0] == np.round(found[0])).all()
    single, curvature = (start[0] - exact[0]).ravel(), smooth @ smooth.T
    for _ in range(30):
        for index in range(n):
            single[index] -= np.round(curvature[index] @ single / curvature[index, index])
    assert (errors(found) ** 2).sum() < 0.5 * single @ curvature @ single


def test_numbers_of_which_no_score_tells_stay():
    exact = [np.array([[[3.3, -2.6, 0.0, 7.4]]])]
    slopes = [np.zeros((1, 1, 4, 5))]
    slopes[0][0, 0, 0] = 1.0
    moments = [np.ones((1, 1, 4, 4))]  # nor do sums tell one from another
    start = [np.round(exact[0])]
    errors = np.einsum("sui,suin->n", start[0] - exact[0], slopes[0])
    found = RoundForScores(exact, slopes, moments)(start, errors)[0]
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
    def distance(rounds):
        monkeypatch.setattr(calibration, "ROUNDS", rounds)
        total = 0
        for trained in all_trained.values():
            half = len(trained.X) // 2
            found = calibrate(trained.student, trained.X[:half])
            quantised = quantise(replace(trained.student, calibration=found))
            seen, expected = (
                quantised.predict_proba(trained.X[half:]),
                trained.proba(trained.X[half:]),
            )
            total += np.log(np.abs(seen - expected).mean())
        return total / len(all_trained)

    assert distance(3) < distance(0) + np.log(0.8)
