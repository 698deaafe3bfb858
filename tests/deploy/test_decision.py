import numpy as np
import pytest

from memkd_sklearn.deploy import Decision


def events_by_plain_loops(answers, threshold, n, m, hold_off, rest):
    """All answers are at hand: look back from each."""
    events, last = [], -(10**9)
    votes = [
        int(np.argmax(p)) if max(p) >= threshold and np.argmax(p) != rest else None for p in answers
    ]
    for now, vote in enumerate(votes):
        enough = vote is not None and votes[max(now - m + 1, 0) : now + 1].count(vote) >= n
        if enough and now > last + hold_off:
            events.append((now, vote))
            last = now
    return events


@pytest.mark.parametrize("rest", [None, 0])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (3, 3), (5, 32)])
@pytest.mark.parametrize("hold_off", [0, 1, 6])
def test_events_are_those_of_plain_loops(n, m, hold_off, rest):
    answers = np.random.default_rng(n + m).dirichlet([0.5] * 3, size=300)
    decision = Decision(0.6, n, m, hold_off, rest)
    found = [
        (now, event) for now, p in enumerate(answers) if (event := decision.update(p)) is not None
    ]
    assert found == events_by_plain_loops(answers, 0.6, n, m, hold_off, rest)
    assert found
    decision.reset()
    again = [
        (now, event) for now, p in enumerate(answers) if (event := decision.update(p)) is not None
    ]
    assert again == found


@pytest.mark.parametrize(
    "bad",
    [{"threshold": 1.5}, {"n": 2}, {"m": 33}, {"hold_off": -1}, {"rest": -1}, {"n": 0}],
)
def test_bad_rules(bad):
    with pytest.raises(ValueError, match=r"Got .* but expected"):
        Decision(**bad)


def test_numbers_of_numpy_are_numbers():
    decision = Decision(np.float32(0.5), np.int64(2), np.int64(3), np.int64(1), np.int64(0))
    plain = Decision(0.5, 2, 3, 1, 0)
    assert repr(decision) == repr(plain)
    answers = np.random.default_rng(0).dirichlet([0.5] * 3, size=50)
    assert [decision.update(p) for p in answers] == [plain.update(p) for p in answers]
