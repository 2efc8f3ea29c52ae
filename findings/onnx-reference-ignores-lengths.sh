#!/usr/bin/env bash
# PyPI onnx 1.23.2 (onnx.reference.ReferenceEvaluator), beside onnxruntime 1.32.0.
#
# The evaluator that comes with ONNX, which is there to say what an operator means, computes an LSTM as if
# sequence_lens, activations, clip and input_forget weren't there: the outputs are those of the model without them, to
# the bit, and there is neither an error nor a warning. Directions and peepholes it computes. So it can't judge an LSTM
# that runs over padded sequences, which is what an export of a packed sequence is: it computes on through the padding,
# and the final states are those after it. ONNX Runtime computes all four.
#
# Needs Python 3.11 or newer with venv and pip.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat >lengths.py <<'PYTHON'
import numpy
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

steps, batch, width, hidden = 4, 2, 3, 5
rng = numpy.random.default_rng(0)


def random(*shape):
    return rng.normal(size=shape).astype(numpy.float32)


x = random(steps, batch, width)
weights = {"W": random(1, 4 * hidden, width), "R": random(1, 4 * hidden, hidden), "B": random(1, 8 * hidden)}
lengths = numpy.array([4, 2], numpy.int32)
peepholes = random(1, 3 * hidden)
outputs = {"Y": (steps, 1, batch, hidden), "Y_h": (1, batch, hidden), "Y_c": (1, batch, hidden)}


def outputs_of(with_lengths=False, with_peepholes=False, **attributes):
    constants = dict(weights)
    names = ["X", "W", "R", "B", "", "", "", ""]
    if with_lengths:
        names[4], constants["lengths"] = "lengths", lengths
    if with_peepholes:
        names[7], constants["P"] = "P", peepholes
    graph = helper.make_graph(
        [helper.make_node("LSTM", names, list(outputs), hidden_size=hidden, **attributes)],
        "lstm",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9)
    checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return ReferenceEvaluator(model).run(None, {"X": x}), session.run(None, {"X": x})


def apart(some, others):
    return max(float(abs(one - other).max()) for one, other in zip(some, others, strict=True))


plain, plain_runtime = outputs_of()
assert apart(plain, plain_runtime) < 1e-5
cases = {
    "sequence_lens": ({"with_lengths": True}, True),
    "activations": ({"activations": ["HardSigmoid", "Relu", "Relu"]}, True),
    "clip": ({"clip": 0.3}, True),
    "input_forget": ({"input_forget": 1}, True),
    "direction": ({"direction": "reverse"}, False),
    "P": ({"with_peepholes": True}, False),
}
print("how far the outputs move with each, in ONNX's evaluator, in ONNX Runtime, and how far the two are apart:")
found = {}
for name, (options, _) in cases.items():
    reference, runtime = outputs_of(**options)
    moved, moved_runtime, between = apart(reference, plain), apart(runtime, plain_runtime), apart(reference, runtime)
    print(f"  {name}: {moved:.3f}, {moved_runtime:.3f}, {between:.3f}")
    assert moved_runtime > 0.01, name
    found[name] = moved == 0.0 and between > 0.01
    assert found[name] or between < 1e-5, name
assert found == {name: ignored for name, (_, ignored) in cases.items()}, found
PYTHON
env/bin/python lengths.py
