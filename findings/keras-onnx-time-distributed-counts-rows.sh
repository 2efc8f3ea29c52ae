#!/usr/bin/env bash
# PyPI keras 3.15.0 on tensorflow_cpu 2.21.0, with tf2onnx 1.17.0, onnx 1.23.2; onnxruntime 1.32.0 runs the file.
#
# A model of LSTM(return_sequences=True) and TimeDistributed(Dense) over a free time axis, written with
# model.export(format="onnx"), gives as many steps as the batch has rows: of B rows of T steps, the first B steps where
# B < T, without an error; all where B = T; and where B > T the file fails as it runs. The export succeeds; that a node
# is "missing output shape", which it warns of many times, is all it says.
# TimeDistributed.call takes the shape before it swaps the axes of batch and time, and counts its steps by that shape's
# first axis, so a tf.function of the model with the time free does the same before any ONNX. Called on arrays, whose
# number of steps is known, or in its place a Dense alone, which does the same, the model is right.
#
# Needs Python 3.11 or newer with venv and pip.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet tf2onnx==1.17.0 tensorflow_cpu==2.21.0 keras==3.15.0 tf_keras==2.21.0 \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat >rows.py <<'PYTHON'
import logging

import keras
import numpy
import onnxruntime
import tensorflow as tf
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

steps, width, hidden = 5, 4, 6
rng = numpy.random.default_rng(0)
logging.disable(logging.WARNING)
onnxruntime.set_default_logger_severity(4)


def of(name, head):
    """The model as Keras calls it, as a graph with a free time axis, and as the file."""
    inputs = keras.Input(shape=(None, width))
    model = keras.Model(inputs, head(keras.layers.LSTM(hidden, return_sequences=True)(inputs)))
    model(numpy.zeros((1, steps, width), numpy.float32))  # it isn't exported before a first call
    model.export(f"{name}.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    graph = tf.function(model, input_signature=[tf.TensorSpec((None, None, width), tf.float32)])
    return model, graph, lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]


def outcome(function, x, right):
    """The number of steps that come out, 0 where it fails; those that do come out are right."""
    try:
        out = numpy.asarray(function(x))
    except (tf.errors.InvalidArgumentError, Fail):
        return 0
    assert out.shape[0] == right.shape[0] and out.shape[1] <= steps, out.shape
    assert abs(out - right[:, : out.shape[1]]).max() < 1e-5
    return out.shape[1]


models = {
    "time_distributed": of("time_distributed", keras.layers.TimeDistributed(keras.layers.Dense(2))),
    "dense": of("dense", keras.layers.Dense(2)),
}
found, lines = {}, []
for name, (model, graph, file) in models.items():
    for rows in (1, 3, 5, 7):
        x = rng.normal(size=(rows, steps, width)).astype(numpy.float32)
        right = numpy.asarray(model(x))
        assert right.shape == (rows, steps, 2)
        found[name, rows] = outcome(graph, x, right), outcome(file, x, right)
        lines.append(f"  {name}, {rows} rows: {found[name, rows][0]}, {found[name, rows][1]}")
print(f"of {steps} steps, how many come out of Keras' graph with a free time axis, and of the file (0: it fails):")
print("\n".join(lines))
counted = {("time_distributed", rows): (rows, rows) if rows <= steps else (0, 0) for rows in (1, 3, 5, 7)}
assert found == counted | {("dense", rows): (steps, steps) for rows in (1, 3, 5, 7)}, found
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES="" KERAS_BACKEND=tensorflow env/bin/python rows.py
