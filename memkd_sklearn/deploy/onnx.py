"""A student as an ONNX graph."""

import json

import numpy as np

from memkd_sklearn._files import write_whole
from memkd_sklearn._types import StrPath
from memkd_sklearn.deploy.student import Student, warn_of_coarse_readings
from memkd_sklearn.footprint import GATES

__all__ = ["to_onnx"]

# ONNX's order of the gates, as blocks of PyTorch's: iofc of ifgo, zrh of rzn.
ORDER = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn": [0]}
OPSET, IR_VERSION = 17, 8  # of 2022: old enough for runtimes on devices
BATCH = "n_cases"


def to_onnx(student: Student, path: StrPath, streaming: bool = False) -> None:
    """Write a student as an ONNX graph, standardisation and softmax included.

    Parameters
    ----------
    student : Student
        The classifier.
    path : path-like
        File to write or replace.
    streaming : bool, default=False
        Whether the graph takes and returns the recurrent state, so that a series can be
        read in pieces.

    Raises
    ------
    ImportError
        If the package onnx is not installed.
    OSError
        If the file cannot be written.

    Warns
    -----
    UserWarning
        If float32 rounds readings around a channel's mean by more than 1e-3 of its scale.

    Notes
    -----
    Input ``x``: float32, (n_cases, n_channels, n_timepoints), the first and last of any size
    from 1 on; NaN counts as the channel's mean, as in C. So it does at the end of a series, where
    `predict_proba` takes it for padding: give shorter series as they are.
    Output ``probabilities``: (n_cases, n_classes). A streaming graph also has ``hidden``
    (and ``memory``, for an LSTM) of shape (n_layers, n_cases, hidden_size), to be zero
    at the start of a series, and returns ``next_hidden`` (``next_memory``).

    The model's metadata holds ``classes``, a JSON list, and ``classes_dtype``.
    """
    onnx = _import_onnx()
    warn_of_coarse_readings(student)
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = _Graph(onnx)
    x = graph.standardised(student)
    states = ["hidden", "memory"] if student.cell == "lstm" else ["hidden"]
    finals = graph.recurrent(student, x, states if streaming else [])
    weight, bias = student.head
    top = graph.add("Squeeze", [finals["hidden"][-1], graph.constant([0])])
    scores = graph.add("Gemm", [top, graph.constant(weight), graph.constant(bias)], transB=1)
    graph.add("Softmax", [scores], output="probabilities", axis=1)

    shape = (student.n_layers, BATCH, student.hidden_size)
    series = (BATCH, student.n_channels, "n_timepoints")
    inputs = [helper.make_tensor_value_info("x", floats, series)]
    outputs = [helper.make_tensor_value_info("probabilities", floats, (BATCH, student.n_classes))]
    for name in states if streaming else []:
        graph.add("Concat", finals[name], output=f"next_{name}", axis=0)
        inputs.append(helper.make_tensor_value_info(name, floats, shape))
        outputs.append(helper.make_tensor_value_info(f"next_{name}", floats, shape))
    model = helper.make_model(
        helper.make_graph(graph.nodes, "student", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="memkd_sklearn",
    )
    helper.set_model_props(
        model,
        {
            "classes": json.dumps(student.classes.tolist()),
            "classes_dtype": student.classes.dtype.str,
        },
    )
    onnx.checker.check_model(model, full_check=True)
    write_whole(path, model.SerializeToString())


def _import_onnx():
    try:
        import onnx
    except ImportError:
        raise ImportError(
            "Writing ONNX needs the package onnx: pip install memkd_sklearn[onnx]"
        ) from None
    return onnx


class _Graph:
    """Nodes and constants, each under a name of its own."""

    def __init__(self, onnx):
        self.onnx = onnx
        self.nodes, self.constants = [], []

    def constant(self, array):
        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(array)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def add(self, operator, inputs, output=None, **attributes):
        outputs = output if isinstance(output, list) else [output or f"node_{len(self.nodes)}"]
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, outputs, **attributes))
        return outputs[0]

    def standardised(self, student):
        """The input as (time, case, channel), standardised as in Python: in float64.

        A cell may squash NaN to a number: it is taken out before, where it is still seen.
        """
        kinds = self.onnx.TensorProto
        x = self.add("Transpose", ["x"], perm=[2, 0, 1])
        x = self.add("Cast", [x], to=kinds.DOUBLE)
        x = self.add("Sub", [x, self.constant(student.mean)])
        x = self.add("Div", [x, self.constant(student.scale)])
        x = self.add("Cast", [x], to=kinds.FLOAT)
        absent = self.add("IsNaN", [x])
        return self.add("Where", [absent, self.constant(np.float32(0)), x])

    def recurrent(self, student, x, states):
        """The layers; returns the final states of each, by name."""
        finals = {"hidden": [], "memory": []}
        for index in range(student.n_layers):
            w_ih, w_hh, b_ih, b_hh = (_reordered(a, student.cell) for a in student.layer(index))
            inputs = [
                x,
                self.constant(w_ih[None]),
                self.constant(w_hh[None]),
                self.constant(np.concatenate([b_ih, b_hh])[None]),
            ]
            if states:
                inputs.append("")  # no lengths: every case has all time steps
                bounds = [self.constant([index]), self.constant([index + 1])]
                inputs += [self.add("Slice", [name, *bounds]) for name in states]
            outputs = [f"sequence_{index}", f"hidden_{index}"]
            if student.cell == "lstm":
                outputs.append(f"memory_{index}")
            reset = {"linear_before_reset": 1} if student.cell == "gru" else {}
            self.add(
                student.cell.upper(), inputs, outputs, hidden_size=student.hidden_size, **reset
            )
            for name, output in zip(finals, outputs[1:], strict=False):
                finals[name].append(output)
            if index + 1 < student.n_layers:
                x = self.add("Squeeze", [outputs[0], self.constant([1])])
        return finals


def _reordered(array, cell):
    blocks = array.reshape(GATES[cell], -1, *array.shape[1:])
    return blocks[ORDER[cell]].reshape(array.shape)
