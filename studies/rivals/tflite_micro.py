"""The student in TensorFlow Lite Micro: its LSTM, and a GRU's step in elementary operators.

TensorFlow converts and quantises, from training series; the interpreter of the package
tflite-micro runs what it wrote. There is no GRU among the operators: its step takes and returns
the state, which between two steps is an int8 as all else.
"""

import os
import re
from pathlib import Path

import numpy as np

from . import microseconds

ARENA = 1 << 17  # more than any of these takes


def measure(task, folder):
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tflite_micro

    converted = _lstm if task.student.cell == "lstm" else _gru_step
    library = Path(tflite_micro.__file__).parent / "python/tflite_micro/_runtime.so"
    for dtype in ("float32", "int8"):
        for kind, model, run in converted(task, dtype):
            interpreter = _interpreter(model)
            proba = run(interpreter, task.X)
            yield task.row(
                f"TFLite Micro, {dtype}, {kind}",
                proba,
                where="x86-64",
                flash=len(model),
                library=library.stat().st_size,
                ram=_arena(interpreter, folder),
                time=microseconds(lambda: run(interpreter, task.X[:1]), task.X.shape[2]),  # noqa: B023
                unit="us a step",
                streaming=kind != "series",
            )


def _lstm(task, dtype):
    """A model of a whole series, and one of a time point: its operator keeps the state."""
    import tensorflow as tf
    import tf_keras

    student, n_steps = task.student, task.X.shape[2]
    weights, biases = _standardised(student)
    x = tf_keras.Input(batch_shape=(1, n_steps, student.n_channels))
    states = tf_keras.layers.LSTM(student.hidden_size)(x)
    proba = tf_keras.layers.Dense(student.n_classes, activation="softmax")(states)
    network = tf_keras.Model(x, proba)
    w_hh, (w_head, b_head) = student.layer(0)[1], student.head
    network.set_weights([weights.T, w_hh.T, biases, w_head.T, b_head])

    def examples():
        return ([series.T[None].astype(np.float32)] for series in task.X_train)

    model = _convert(tf.lite.TFLiteConverter.from_keras_model(network), dtype, examples)
    yield "series", model, _run_lstm
    yield "step", _of_one_step(model, n_steps), _run_lstm


def _run_lstm(interpreter, X):
    _, length, _ = interpreter.get_input_details(0)["shape"]
    proba = []
    for series in X:
        interpreter.reset()
        for t in range(0, X.shape[2], length):
            _feed(interpreter, 0, series.T[None, t : t + length])
            interpreter.invoke()
        proba.append(_answer(interpreter, 0)[0])
    return np.array(proba)


def _gru_step(task, dtype):
    """A model of a time point and a state, to class probabilities and the next state."""
    import tensorflow as tf

    student, size = task.student, task.student.hidden_size
    weights, biases = _standardised(student, separate=True)
    _, w_hh, _, b_hh = student.layer(0)
    w_head, b_head = student.head

    def step(x, h):
        inputs = tf.matmul(x, weights.T) + biases
        hidden = tf.matmul(h, w_hh.T) + b_hh
        gates = tf.sigmoid(inputs[:, : 2 * size] + hidden[:, : 2 * size])
        reset, update = gates[:, :size], gates[:, size:]
        new = tf.tanh(inputs[:, 2 * size :] + reset * hidden[:, 2 * size :])
        after = new + update * (h - new)
        return tf.nn.softmax(tf.matmul(after, w_head.T) + b_head), after

    zero = np.zeros((1, size), np.float32)

    def pairs():
        for series in task.X_train:
            h = zero
            for reading in series.T.astype(np.float32):
                yield [reading[None], h]
                h = step(reading[None], h)[1].numpy()

    shapes = [(1, student.n_channels), (1, size)]
    function = tf.function(step).get_concrete_function(*map(tf.TensorSpec, shapes))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])

    def run(interpreter, X):
        assert interpreter.get_output_details(1)["shape"][1] == size
        proba = []
        for series in X:
            h = zero
            for reading in series.T:
                _feed(interpreter, 0, reading[None])
                _feed(interpreter, 1, h)
                interpreter.invoke()
                h = _answer(interpreter, 1)
            proba.append(_answer(interpreter, 0)[0])
        return np.array(proba)

    yield "step", _convert(converter, dtype, pairs), run


def _standardised(student, separate=False):
    """Input weights and biases of a network that takes readings as they are."""
    w_ih, _, b_ih, b_hh = (array.astype(float) for array in student.layer(0))
    weights = w_ih / student.scale
    biases = b_ih - weights @ student.mean + (0 if separate else b_hh)
    return weights.astype(np.float32), biases.astype(np.float32)


def _convert(converter, dtype, examples):
    import tensorflow as tf

    if dtype == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def _of_one_step(model, n_steps):
    """The same model, of series of one time point."""
    import flatbuffers
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    graph = schema.ModelT.InitFromPackedBuf(model, 0)
    for tensor in graph.subgraphs[0].tensors:
        if tensor.shape is not None and len(tensor.shape) == 3:
            tensor.shape = np.where(tensor.shape == n_steps, 1, tensor.shape)
            tensor.shapeSignature = None
    builder = flatbuffers.Builder(len(model))
    builder.Finish(graph.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _interpreter(model):
    from tflite_micro import runtime

    return runtime.Interpreter.from_bytes(model, arena_size=ARENA)


def _arena(interpreter, folder):
    """Bytes of RAM that the interpreter took; it tells them on the standard error alone."""
    told, stderr = folder / "allocations", os.dup(2)
    with told.open("wb") as file:
        os.dup2(file.fileno(), 2)
        interpreter.print_allocations()
        os.dup2(stderr, 2)
    os.close(stderr)
    return int(re.search(r"Arena allocation total (\d+)", told.read_text())[1])


def _feed(interpreter, index, values):
    details = interpreter.get_input_details(index)
    if details["dtype"] == np.int8:
        scales = details["quantization_parameters"]
        values = np.round(values / scales["scales"][0]) + scales["zero_points"][0]
        values = values.clip(-128, 127)
    interpreter.set_input(values.astype(details["dtype"]), index)


def _answer(interpreter, index):
    details = interpreter.get_output_details(index)
    values = interpreter.get_output(index)
    if details["dtype"] == np.int8:
        scales = details["quantization_parameters"]
        values = (values.astype(np.float32) - scales["zero_points"][0]) * scales["scales"][0]
    return values
