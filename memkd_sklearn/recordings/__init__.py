"""Long recordings are cut into windows; events that a stream found in them are scored."""

from memkd_sklearn.recordings.events import EventScores, choose_decision, intervals, score_events
from memkd_sklearn.recordings.windows import cut_recordings, cut_windows

__all__ = [
    "EventScores",
    "choose_decision",
    "cut_recordings",
    "cut_windows",
    "intervals",
    "score_events",
]
