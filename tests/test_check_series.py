"""Series and labels in every container, and a word where a data set is likely a mistake."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from aeon.datasets import load_japanese_vowels
from conftest import tiny

from memkd_sklearn._check_series import (
    check_series,
    looks_transposed,
    warn_of_labels,
    warn_of_series,
)


@pytest.fixture(scope="module")
def classifier(italy):
    """A classifier that is fitted in no time."""
    return tiny(n_epochs=1, hidden_size=3).fit(*italy[:2])


# Containers.


def long_frame(X):
    index = pd.MultiIndex.from_product([range(len(X)), range(X.shape[2])])
    return pd.DataFrame(X.transpose(0, 2, 1).reshape(-1, X.shape[1]), index)


def wide_frame(X):
    return pd.DataFrame(X[:, 0])


@pytest.mark.parametrize(
    "pack",
    [
        wide_frame,
        lambda X: wide_frame(X).astype("Float64"),
        long_frame,
        torch.from_numpy,
        lambda X: [pd.DataFrame(series) for series in X],
        lambda X: tuple(X),
    ],
    ids=["wide", "nullable", "long", "torch", "frames", "tuple"],
)
def test_series_of_every_container(italy, classifier, pack):
    X, y = italy[:2]
    expected = classifier.predict_proba(X)
    assert np.array_equal(classifier.predict_proba(pack(X)), expected)
    again = tiny(n_epochs=1, hidden_size=3).fit(pack(X), y)
    assert np.array_equal(again.predict_proba(X), expected)
    assert again.score(pack(X), y) == classifier.score(X, y)
    assert len(classifier.hidden_states(pack(X))) == len(X)


def test_channels_of_a_long_frame_keep_their_order(motions):
    X, y = motions[0][:20, :, ::5], motions[1][:20]
    frame = long_frame(X).set_axis(list("fedcba"), axis=1)
    np.testing.assert_array_equal(check_series(frame), X)
    assert tiny(n_epochs=1).fit(frame, y).predict(frame).shape == (20,)


@pytest.mark.parametrize(
    "pack",
    [
        lambda y: pd.Series(y),
        lambda y: pd.Series(y, dtype="string"),
        lambda y: pd.Categorical(y),
        lambda y: pd.Index(y),
        lambda y: pd.DataFrame({"label": y}),
        lambda y: pd.Series(y.astype(int), dtype="Int64"),
        lambda y: torch.from_numpy(y.astype(int)),
        lambda y: torch.from_numpy(y.astype(int) == 2),
        lambda y: pd.Series(y == "2", dtype="boolean"),
    ],
    ids=[
        "series",
        "string",
        "categories",
        "index",
        "frame",
        "nullable",
        "torch",
        "bool",
        "boolean",
    ],
)
def test_labels_of_every_container(italy, pack):
    X, y = italy[:2]
    packed = pack(y)
    classifier = tiny(n_epochs=1, hidden_size=3).fit(X, packed)
    labels = np.asarray(packed).ravel()
    assert set(classifier.predict(X).tolist()) <= set(labels.tolist())
    assert classifier.score(X, packed) == np.mean(classifier.predict(X) == labels)
    assert classifier.score(X, packed, "neg_log_loss", use_proba=True) > 0


def test_one_column_of_labels_is_flattened_with_scikit_learn_s_warning(italy):
    X, y = italy[:2]
    with pytest.warns(UserWarning, match="column-vector y was passed"):
        column = tiny(n_epochs=1).fit(X, y[:, np.newaxis])
    assert np.array_equal(column.predict_proba(X), tiny(n_epochs=1).fit(X, y).predict_proba(X))


def test_a_part_of_one_class_is_scored(italy, classifier):
    X, y = italy[:2]
    ones = y == "1"
    assert classifier.score(X[ones], y[ones]) == np.mean(classifier.predict(X[ones]) == "1")


# Padding.


def test_series_padded_with_nan_are_shorter():
    X, _ = load_japanese_vowels(split="train")
    X, longest = X[:20], max(series.shape[1] for series in X[:20])
    padded = np.full((20, 12, longest), np.nan)
    for out, series in zip(padded, X, strict=True):
        out[:, : series.shape[1]] = series
    for given in (padded, list(padded)):
        for found, series in zip(check_series(given), X, strict=True):
            np.testing.assert_array_equal(found, series)
    one = check_series(padded[:, :1])
    assert [series.shape for series in one] == [(1, series.shape[1]) for series in X]


def test_only_what_every_channel_lacks_at_the_end_is_padding():
    X = np.zeros((2, 2, 5))
    X[0, 0, 2:] = X[0, :, 1] = X[1, :, 4:] = np.nan
    first, second = check_series(X)
    np.testing.assert_array_equal(first, X[0])
    np.testing.assert_array_equal(second, X[1, :, :4])
    np.testing.assert_array_equal(check_series(X[:1]), X[:1])


def test_padded_series_train_as_shorter_ones(italy):
    X, y = italy[:2]
    short = [series[:, : 10 + i % 10] for i, series in enumerate(X)]
    padded = np.full((67, 24), np.nan)
    for out, series in zip(padded, short, strict=True):
        out[: series.shape[1]] = series[0]
    one, other = (tiny(n_epochs=1).fit(given, y) for given in (short, padded))
    assert np.array_equal(one.predict_proba(short), other.predict_proba(padded))


# Mistakes.


@pytest.mark.parametrize("shape", [(100, 6), (150, 3), (24, 6), (1000, 64), (20, 2)])
def test_swapped_axes_are_told(shape):
    assert looks_transposed(*shape)
    with pytest.warns(UserWarning, match=r"If it is \(cases, time, channels\), transpose it"):
        warn_of_series(np.random.default_rng(0).normal(size=(9, *shape)))


# Channels and time points of UEA's data sets of most channels for their length.
@pytest.mark.parametrize(
    "shape", [(963, 144), (1345, 270), (144, 62), (200, 22), (28, 50), (12, 7), (24, 51), (9, 144)]
)
def test_data_sets_of_many_channels_are_not_told(shape):
    assert not looks_transposed(*shape)


def test_swapped_axes_at_predict_are_told(motions):
    X, y = motions[0][..., :50], motions[1]
    classifier = tiny(n_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match=r"50 channels, but expected 6, as in fit. Transpose"):
        classifier.predict(X.transpose(0, 2, 1))


@pytest.fixture
def sine():
    """Twenty series of two channels, of two classes."""
    rng = np.random.default_rng(0)
    return 5 + rng.normal(size=(20, 2, 24)), np.repeat(["a", "b"], 10)


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e100])
def test_one_reading_that_decides_is_told(sine, scale, as_list):
    X, y = sine
    X[7, 1, 3] = 1e6
    X = scale * X
    X = [series[:, : 24 - i % 3] for i, series in enumerate(X)] if as_list else X
    with pytest.warns(UserWarning, match=r"case 7 in channel 1 \(1e.* at time point 3\).*put NaN"):
        warn_of_series(X)


def test_one_case_that_decides_is_told(sine):
    X, y = sine
    X[4, 0] *= 1000
    with pytest.warns(UserWarning, match="One case alone decides .*: case 4 in channel 0"):
        tiny(n_epochs=1).fit(X, y)


@pytest.mark.parametrize("data", ["italy", "gunpoint", "motions"])
def test_data_sets_as_they_are_are_not_told(data, request):
    X, y = request.getfixturevalue(data)[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_series(X)
        warn_of_labels(y)
        warn_of_series(X * np.where(np.arange(len(X)) % 2, 1, 3)[:, None, None])


def test_channels_that_never_change_are_told(sine):
    X, y = sine
    X[:, 1] = 7
    X[2, 1, 5] = np.nan
    with pytest.warns(UserWarning, match=r"never change and tell nothing: channel 1 \(always 7\)"):
        tiny(n_epochs=1).fit(X, y)
    X[:, 0] = 0
    with pytest.warns(UserWarning, match="All of them do: no class can be told from another"):
        tiny(n_epochs=1).fit(X, y)


def test_a_class_of_one_case_is_told(italy):
    X, y = italy[0], italy[1].astype("<U4")
    y[5] = "late"
    with pytest.warns(UserWarning, match=r"Some classes have one case.*class late \(case 5\)"):
        tiny(n_epochs=1).fit(X, y)


def test_of_many_mistakes_some_are_named():
    with pytest.warns(UserWarning, match=r"class 2 \(case 2\) and 4 more\. Collect"):
        warn_of_labels(np.arange(7))
