"""A teacher reads its student's cases part by part, as it takes them."""

import numpy as np
import pytest

from memkd_sklearn import RecurrentClassifier
from memkd_sklearn.teachers.reading import TeacherReading, fill_for

CLASSES = np.array(["down", "up"])


class Plain:
    """Says of a series that begins above zero that it is up, with probability 0.9."""

    classes_ = CLASSES

    def predict_proba(self, X):
        up = np.where([series[0, 0] > 0 for series in X], 0.9, 0.1)
        return np.column_stack([1 - up, up])


def series(*begins):
    """One series of one channel for each begin, each a time point longer than the one before."""
    return [np.full((1, 3 + i), float(begin)) for i, begin in enumerate(begins)]


def test_parts_have_scores_lengths_and_labels_of_their_cases():
    X, target = series(1, -1, 1, -1, 1), np.array([0, 0, -1, -1, 1])
    reading = TeacherReading(Plain(), X, target, CLASSES, reads_states=False, n_needed=2)
    parts, n_read = [], []
    for part in reading:
        parts.append(part)
        n_read.append(reading.n_read)
    assert n_read[0] == 2
    assert n_read[-1] == 5
    assert len(parts) > 2
    log_proba, states, lengths, labels = zip(*parts, strict=True)
    np.testing.assert_allclose(np.concatenate(log_proba)[:, 1], np.log([0.9, 0.1, 0.9, 0.1, 0.9]))
    assert set(states) == {None}
    assert np.concatenate(lengths).tolist() == [3, 4, 5, 6, 7]
    # The labels' classes, and the teacher's choice where there is none.
    assert np.concatenate(labels).tolist() == [0, 0, 1, 0, 1]


def test_an_array_has_no_lengths():
    X = np.stack([np.ones((1, 4)), -np.ones((1, 4))])
    ((_, _, lengths, labels),) = TeacherReading(Plain(), X, np.array([1, -1]), CLASSES, False)
    assert lengths is None
    assert labels.tolist() == [1, 0]


@pytest.mark.parametrize(("target", "knows"), [([1, 0, 1, -1], True), ([0, 1, 0, -1], False)])
def test_a_teacher_is_judged_by_the_cases_that_it_read(target, knows):
    # The last case, without a label, does not count.
    X = series(1, -1, 1, 1)
    reading = TeacherReading(Plain(), X, np.array(target), CLASSES, reads_states=False)
    assert sum(len(labels) for *_, labels in reading) == reading.n_read == 4
    if knows:
        assert reading.n_known(n_real=4) == 4
    else:
        with pytest.warns(UserWarning, match="Teacher Plain errs on 100% of the .* labels alone"):
            assert reading.n_known(n_real=4) == 0


def test_series_that_were_made_are_judged_by_themselves():
    X = series(1, -1, 1, -1)
    # Of the first two, the second without a label; the made ones are not what they were made of.
    reading = TeacherReading(Plain(), X, np.array([1, -1, 0, 1]), CLASSES, reads_states=False)
    assert len(list(reading)) > 0
    with pytest.warns(UserWarning, match=r"errs on 100% of .* made up .* learns without these"):
        assert reading.n_known(n_real=2) == 2


def test_gaps_are_filled_with_the_means_of_training_series():
    training = np.array([[[1.0, 3.0], [10.0, 10.0]]])  # means of 2 and 10
    X = np.array([[[5.0, np.nan], [np.nan, 7.0]]])
    filled = fill_for(Plain(), X, training)
    assert filled.tolist() == [[[5.0, 2.0], [10.0, 7.0]]]
    assert np.isnan(X).sum() == 2
    as_list = fill_for(Plain(), [X[0], X[0, :, :1]], training)
    assert [one.tolist() for one in as_list] == [[[5.0, 2.0], [10.0, 7.0]], [[5.0], [10.0]]]


def test_a_teacher_that_takes_gaps_gets_them():
    X = np.array([[[1.0, np.nan]]])
    assert fill_for(RecurrentClassifier(), X, X) is X
    whole = np.ones((2, 1, 3))
    assert fill_for(Plain(), whole, X) is whole
