"""Writes models that look like what exporters write for a sequence that is turned round, or for tokens that count from
the end of a table, and aren't.

    python3 -m venv env && env/bin/pip install onnx==1.23.2 numpy==2.4.6
    env/bin/python tests/golden/import/onnx_idioms.py

onnx_idioms/NAME.onnx: `turned` and `words` are what they look like, the others aren't.
"""

import pathlib
import shutil

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
OUT = HERE / "onnx_idioms"
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()
rng = np.random.default_rng(1)
WORDS = 7


def weight(*shape):
    return rng.uniform(-0.3, 0.3, shape).astype(np.float32)


def model(name, nodes, constants, inputs):
    weights = {"W": weight(1, 16, 3), "R": weight(1, 16, 4), "K": weight(4, 2)}
    last = [
        helper.make_node("LSTM", ["in", "W", "R"], ["Y"], hidden_size=4),
        helper.make_node("Squeeze", ["Y", "one"], ["y"]),
        helper.make_node("Gather", ["y", "last"], ["final"], axis=0),
        helper.make_node("MatMul", ["final", "K"], ["out"]),
    ]
    constants = {**weights, "one": np.array([1]), "last": np.array(-1), **constants}
    values = [helper.make_tensor_value_info(key, kind, sizes) for key, (kind, sizes) in inputs.items()]
    out = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    made = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph([*nodes, *last], name, values, out, made)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), OUT / f"{name}.onnx")


def lengths(axis):
    """The size of an axis, once for each row."""
    return [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "axis"], ["size"], axis=0),
        helper.make_node("Gather", ["shape", "rows"], ["count"], axis=0),
        helper.make_node("Expand", ["size", "count"], ["lengths"]),
    ], {"axis": np.array([axis]), "rows": np.array([1])}


def turned(name, axis, time=0, rows=1):
    nodes, constants = lengths(axis)
    turn = helper.make_node("ReverseSequence", ["x", "lengths"], ["in"], time_axis=time, batch_axis=rows)
    model(name, [*nodes, turn], constants, {"x": (TensorProto.FLOAT, [None, None, 3])})


turned("turned", 0)
turned("turned_as_many_as_rows", 1)
turned("turned_rows", 1, time=1, rows=0)
model(
    "turned_by_lengths",
    [helper.make_node("ReverseSequence", ["x", "lengths"], ["in"], time_axis=0, batch_axis=1)],
    {},
    {"x": (TensorProto.FLOAT, [None, None, 3]), "lengths": (TensorProto.INT64, [None])},
)


def words(name, count=WORDS, bound=0.0, other="x"):
    nodes = [
        helper.make_node("Cast", ["x"], ["compared"], to=TensorProto.FLOAT),
        helper.make_node("Less", ["compared", "bound"], ["negative"]),
        helper.make_node("Not", ["negative"], ["positive"]),
        helper.make_node("Cast", ["negative"], ["n"], to=TensorProto.INT32),
        helper.make_node("Cast", ["positive"], ["p"], to=TensorProto.INT32),
        helper.make_node("Add", ["x", "count"], ["from_end"]),
        helper.make_node("Mul", ["n", "from_end"], ["first"]),
        helper.make_node("Mul", [other, "p"], ["second"]),
        helper.make_node("Add", ["first", "second"], ["tokens"]),
        helper.make_node("Gather", ["E", "tokens"], ["in"], axis=0),
    ]
    constants = {"bound": np.float32(bound), "count": np.int32(count), "E": weight(WORDS, 3)}
    model(name, nodes, constants, {"x": (TensorProto.INT32, [None, None]), "z": (TensorProto.INT32, [None, None])})


words("words")
words("words_more", count=WORDS + 1)
words("words_bound", bound=1.0)
words("words_other", other="z")
