#!/usr/bin/env bash
# PyPI openvino 2026.4.1, beside onnx 1.23.2 and onnxruntime 1.32.0.
#
# OpenVINO reads an ONNX LSTM with peepholes (the input P), with coupled gates (input_forget=1) or with the batch first
# (layout=1), compiles it and gives the numbers of the LSTM without them, to the bit, with neither an error nor a
# warning. With layout=1 the sequences of the batch are read as the steps of one another. ONNX Runtime computes P and
# input_forget, and ONNX's evaluator P and layout. The activation HardSigmoid, which its CPU plugin can't compute here,
# is an error, so one expects to be told.
#
# Needs Python 3.11 or newer with venv and pip.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat >peepholes.py <<'PYTHON'
import io

import numpy
import onnxruntime
import openvino
from onnx import TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

# As many steps as sequences, so that either layout takes the same input.
steps = batch = 3
width, hidden = 2, 5
rng = numpy.random.default_rng(0)


def random(*shape):
    return rng.normal(size=shape).astype(numpy.float32)


x = random(steps, batch, width)
weights = {"W": random(1, 4 * hidden, width), "R": random(1, 4 * hidden, hidden), "B": random(1, 8 * hidden)}
peepholes = random(1, 3 * hidden)


def model_of(with_peepholes=False, **attributes):
    constants = {**weights, "P": peepholes} if with_peepholes else weights
    names = ["X", "W", "R", "B", "", "", "", "P"] if with_peepholes else ["X", "W", "R", "B"]
    shape = (batch, steps, 1, hidden) if attributes.get("layout") else (steps, 1, batch, hidden)
    graph = helper.make_graph(
        [helper.make_node("LSTM", names, ["Y"], hidden_size=hidden, **attributes)],
        "lstm",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9)
    checker.check_model(model, full_check=True)
    return model


def by_openvino(model):
    read = openvino.Core().read_model(io.BytesIO(model.SerializeToString()))
    return openvino.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]


def by_onnx(model):
    return ReferenceEvaluator(model).run(None, {"X": x})[0]


def by_runtime(model):
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=providers).run(None, {"X": x})[0]


def apart(one, other):
    return float(abs(one.reshape(steps, batch, hidden) - other.reshape(steps, batch, hidden)).max())


plain = by_openvino(model_of())
assert apart(plain, by_onnx(model_of())) < 1e-5 and apart(plain, by_runtime(model_of())) < 1e-5
clipped = model_of(clip=0.3)
assert apart(by_openvino(clipped), plain) > 0.01 and apart(by_openvino(clipped), by_runtime(clipped)) < 1e-5
try:
    by_openvino(model_of(activations=["HardSigmoid", "Tanh", "Tanh"]))
    refused = False
except RuntimeError:
    refused = True
print("an error for the activation HardSigmoid:", refused)
assert refused
print("how far the outputs move with each in OpenVINO, and how far its outputs are from another library's:")
for name, options, others in [
    ("P", {"with_peepholes": True}, [by_onnx, by_runtime]),
    ("input_forget", {"input_forget": 1}, [by_runtime]),
    ("layout", {"layout": 1}, [by_onnx]),
]:
    model = model_of(**options)
    outputs = by_openvino(model)
    moved, between = apart(outputs, plain), min(apart(outputs, other(model)) for other in others)
    print(f"  {name}: {moved:.3f}, {between:.3f}, shape {outputs.shape}")
    assert moved == 0.0 and between > 0.01, name
PYTHON
env/bin/python peepholes.py
