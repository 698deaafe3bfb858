"""aeon's Keras deep classifiers as teachers: their last feature maps are read."""

import joblib
import numpy as np

from memkd_sklearn.teachers.reader import TeacherReader, log_of, register_teacher, to_array
from memkd_sklearn.teachers.trace import resample

BATCH_SIZE = 64
_DEEP = "aeon.classification.deep_learning"


@register_teacher
class _KerasReader(TeacherReader):
    """Of FCN, ResNet, InceptionTime, LITETime and their like.

    TensorFlow is there if such a classifier is fitted; nothing here imports it.
    """

    has_states = True

    @classmethod
    def matches(cls, estimator):
        # Not by isinstance: the classes' import is not for those who do without.
        return any(c.__module__.startswith(_DEEP) for c in type(estimator).__mro__)

    def key(self):
        """Settings and weights; a Keras model's own hash differs from copy to copy."""
        weights = [model.get_weights() for model in self._models]
        return joblib.hash((type(self.estimator).__name__, self.classes_, weights))

    @property
    def n_parameters(self):
        return sum(model.count_params() for model in self._models)

    @property
    def _models(self):
        """The Keras models, of an ensemble all."""
        members = getattr(self.estimator, "classifiers_", [self.estimator])
        return [member.model_ for member in members]

    def read(self, X, states):
        """Average the models' probabilities, and join their maps, interpolated to one length."""
        x = to_array(X, "Keras reads an array").transpose(0, 2, 1)
        read = [_read_model(model, x, states) for model in self._models]
        log_proba = log_of(np.mean([proba for proba, _ in read], axis=0))
        return log_proba, np.concatenate([maps for _, maps in read], axis=2) if states else None


def _read_model(model, x, states):
    """Probabilities, and the outputs of the last layer that has a time axis or None."""
    if states:
        reading = type(model)(model.inputs, [model.output, _last_maps(model)])
        proba, maps = reading.predict(x, batch_size=BATCH_SIZE, verbose=0)
        maps = resample(maps, x.shape[1])  # members of an ensemble may stride differently
    else:
        proba, maps = model.predict(x, batch_size=BATCH_SIZE, verbose=0), None
    if proba.shape[1] == 1:  # a single sigmoid
        proba = np.hstack([1 - proba, proba])
    return proba, maps


def _last_maps(model):
    """The symbolic output of the last layer before time is pooled or flattened away."""
    with_time = [
        layer.output
        for layer in model.layers[1:]  # the first is the input
        if len(layer.output.shape) == 3 and layer.output.shape[1] > 1
    ]
    if not with_time:
        raise ValueError(
            f"Got teacher model {model.name!r}, in which no layer's output has a time axis, but "
            "expected one. From such a teacher only soft targets can be learned."
        )
    return with_time[-1]
