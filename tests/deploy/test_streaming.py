import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from memkd_sklearn.deploy import Stream, WindowStream


def run(stream, series):
    return [stream.update(x_t) for x_t in series.T][-1]


def test_stream_equals_the_network(trained):
    streamed = [run(Stream(trained.student), x) for x in trained.X[:40]]
    assert np.abs(streamed - trained.proba(trained.X[:40])).max() < 1e-12


def test_every_prefix_equals_the_network(trained):
    stream, series = Stream(trained.student), trained.X[0]
    for length in range(1, 20):
        expected = trained.proba(series[None, :, :length])[0]
        assert np.abs(stream.update(series[:, length - 1]) - expected).max() < 1e-12


def test_reset_starts_anew(trained):
    stream = Stream(trained.student)
    first = run(stream, trained.X[0])
    run(stream, trained.X[1])
    stream.reset()
    assert np.array_equal(run(stream, trained.X[0]), first)


def test_state_is_a_copy_that_another_stream_goes_on_from(trained):
    series = trained.X[0]
    stream = Stream(trained.student)
    run(stream, series[:, :10])
    state = stream.state
    end = run(stream, series[:, 10:])
    other = Stream(trained.student)
    other.state = pickle.loads(pickle.dumps(state))
    assert np.array_equal(run(other, series[:, 10:]), end)
    stream.state = state
    assert np.array_equal(run(stream, series[:, 10:]), end)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_goes_on_from_where_the_first_was(trained, copied):
    series, stream = trained.X[0], Stream(trained.student)
    run(stream, series[:, :10])
    other = copied(stream)
    assert np.array_equal(run(other, series[:, 10:]), run(stream, series[:, 10:]))
    assert np.abs(run(other, series) - run(stream, series)).max() == 0


def test_streams_share_a_student_across_threads(lstm):
    expected = [run(Stream(lstm.student), x) for x in lstm.X[:32]]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: run(Stream(lstm.student), x), lstm.X[:32]))
    assert np.array_equal(found, expected)


def test_results_are_not_overwritten_and_the_student_is_not_changed(lstm):
    before = pickle.dumps(lstm.student.arrays)
    stream = Stream(lstm.student)
    first = stream.update([41.0])
    kept = first.copy()
    stream.update([3.0])
    assert np.array_equal(first, kept)
    assert pickle.dumps(lstm.student.arrays) == before


def test_counts_of_a_large_offset_cost_no_accuracy(trained):
    """A converter of 24 bits: readings around 8,000,000 that change by 3."""
    n_channels = trained.student.n_channels
    student = replace(
        trained.student, mean=np.full(n_channels, 8e6 + 0.37), scale=np.full(n_channels, 3.1)
    )
    z = (trained.X[:40] - trained.student.mean[:, None]) / trained.student.scale[:, None]
    counts = np.round(student.mean[:, None] + student.scale[:, None] * z)
    streamed = [run(Stream(student), x) for x in counts]
    assert np.abs(streamed - replace(trained, student=student).proba(counts)).max() < 1e-12


@pytest.mark.parametrize("x_t", [[1.0, 2.0], [], [[1.0]]])
def test_bad_step(lstm, x_t):
    stream = Stream(lstm.student)
    before = stream.state
    with pytest.raises(ValueError, match=r"expected \(1,\): one value a channel"):
        stream.update(x_t)
    assert np.array_equal(stream.state, before)


@pytest.mark.parametrize("value", [np.inf, 1e300, -1e300])
def test_a_reading_that_is_no_number_leaves_the_stream_where_it_was(lstm, value):
    stream = Stream(lstm.student)
    stream.update([41.0])
    before = stream.state
    with pytest.raises(ValueError, match=r"Got x_t=.*, but expected finite values"):
        stream.update([value])
    assert np.array_equal(stream.state, before)


@pytest.mark.parametrize("other", [np.inf, 1e300])
def test_a_missing_reading_hides_no_other(all_trained, other):
    stream = Stream(all_trained["stack"].student)
    before = stream.state
    with pytest.raises(ValueError, match="but expected finite values"):
        stream.update([np.nan, other, 0, 0, 0, 0])
    assert np.array_equal(stream.state, before)


def test_a_missing_reading_is_the_mean_of_its_channel(trained):
    given, filled = Stream(trained.student), Stream(trained.student)
    rng = np.random.default_rng(0)
    for x_t in trained.X[0].T:
        missing = rng.random(len(x_t)) < 0.5
        seen = given.update(np.where(missing, np.nan, x_t))
        assert np.array_equal(seen, filled.update(np.where(missing, trained.student.mean, x_t)))


def test_of_one_channel_a_number_will_do(lstm):
    one, other = Stream(lstm.student), Stream(lstm.student)
    for value in (41.0, np.float32(3), 5, np.array(2.0), np.nan):
        assert np.array_equal(one.update(value), other.update([float(value)]))


def test_bad_state(lstm):
    with pytest.raises(ValueError, match=r"expected \(1, 2, 8\)"):
        Stream(lstm.student).state = np.zeros(8)
    with pytest.raises(ValueError, match="expected finite values"):
        Stream(lstm.student).state = np.full((1, 2, 8), np.nan)


WINDOWS = [(20, 5), (20, 7), (20, 20), (6, 9), (5, 1), (1, 1), (7, 3)]


@pytest.mark.parametrize(("window", "hop"), WINDOWS)
def test_every_window_equals_the_network(trained, window, hop):
    recording = np.hstack(list(trained.X[:4]))[:, :83]
    stream = WindowStream(trained.student, window, hop)
    answers = {}
    for time, x_t in enumerate(recording.T):
        if (answer := stream.update(x_t)) is not None:
            answers[time] = answer
    firsts = range(0, recording.shape[1] - window + 1, hop)
    assert list(answers) == [first + window - 1 for first in firsts]
    windows = np.stack([recording[:, first : first + window] for first in firsts])
    assert np.abs(np.stack(list(answers.values())) - trained.proba(windows)).max() < 1e-12


def test_a_stream_of_windows_without_end_keeps_as_much(lstm):
    stream = WindowStream(lstm.student, 24, 10)
    kept = [array.size for layer in stream._layers for array in layer.state]
    assert kept == [3 * 8, 3 * 8]  # ceil(24 / 10) states of 8 units, hidden and memory
    for x_t in np.tile(lstm.X[0], 20).T:
        stream.update(x_t)
    assert kept == [array.size for layer in stream._layers for array in layer.state]
    before = len(pickle.dumps(stream))
    for x_t in np.tile(lstm.X[0], 20).T:
        stream.update(x_t)
    assert len(pickle.dumps(stream)) <= before + 8


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copied_stream_of_windows_goes_on(trained, copied):
    recording, stream = np.hstack(list(trained.X[:3])).T, WindowStream(trained.student, 8, 3)
    for x_t in recording[:13]:
        stream.update(x_t)
    other = copied(stream)
    for x_t in recording[13:40]:
        one, two = stream.update(x_t), other.update(x_t)
        assert np.array_equal(one, two)
    stream.reset()
    fresh = WindowStream(trained.student, 8, 3)
    for x_t in recording[:30]:
        assert np.array_equal(stream.update(x_t), fresh.update(x_t))


def test_a_bad_reading_leaves_the_windows_where_they_were(lstm):
    stream, other = WindowStream(lstm.student, 5, 2), WindowStream(lstm.student, 5, 2)
    for x_t in lstm.X[0].T[:12]:
        with pytest.raises(ValueError, match="expected finite values"):
            stream.update([np.inf])
        assert np.array_equal(stream.update(x_t), other.update(x_t))


@pytest.mark.parametrize("bad", [{"window": 0}, {"window": 3, "hop": 0}, {"window": 2.5}])
def test_bad_windows(lstm, bad):
    with pytest.raises((TypeError, ValueError), match="expected an integer of at least 1"):
        WindowStream(lstm.student, **bad)
