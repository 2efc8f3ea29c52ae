#!/usr/bin/env bash
# PyPI tf2onnx 1.17.0, with tf_keras 2.21.0, tensorflow_cpu 2.21.0, onnx 1.23.2; onnxruntime 1.32.0 runs the files.
#
# An LSTM of tf_keras whose recurrent activation is a product, a sum and a clip, such as clip(x / 6 + 0.5, 0, 1),
# becomes ONNX's LSTM with HardSigmoid and neither alpha nor beta, which is clip(0.2 x + 0.5, 0, 1): the pattern that is
# there for Keras' own "hard_sigmoid" looks at the operations and not at their four constants. There is neither an error
# nor a warning, and the file computes what the same weights with "hard_sigmoid" do. In the file nothing is left of the
# constants, so a reader can't tell. The same function written as relu6(x + 3) / 6 comes out as a loop, and right.
#
# Needs Python 3.11 or newer with venv and pip.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet tf2onnx==1.17.0 tensorflow_cpu==2.21.0 keras==3.15.0 tf_keras==2.21.0 \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat >clips.py <<'PYTHON'
import numpy
import onnxruntime
import tensorflow as tf
import tf2onnx
import tf_keras

batch, steps, width, hidden = 3, 5, 4, 6
rng = numpy.random.default_rng(0)
x = rng.normal(size=(batch, steps, width)).astype(numpy.float32)
shapes = (width, 4 * hidden), (hidden, 4 * hidden), (4 * hidden,)
weights = [rng.normal(size=shape).astype(numpy.float32) for shape in shapes]


def of(activation):
    """What Keras computes, what the file does, and the attributes of the LSTM in the file."""
    tf_keras.backend.clear_session()
    inputs = tf_keras.Input(shape=(None, width))
    model = tf_keras.Model(inputs, tf_keras.layers.LSTM(hidden, recurrent_activation=activation)(inputs))
    model.set_weights(weights)
    signature = [tf.TensorSpec((None, None, width), tf.float32, name="x")]
    file, _ = tf2onnx.convert.from_keras(model, signature)
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    nodes = [node for node in file.graph.node if node.op_type == "LSTM"]
    attributes = [{attribute.name: attribute for attribute in node.attribute} for node in nodes]
    return model(x).numpy(), session.run(None, {"x": x})[0], attributes


def apart(one, other):
    return float(abs(one - other).max())


own, own_file, _ = of("hard_sigmoid")
assert apart(own, own_file) < 1e-5
ways = {
    "clip_by_value(x / 6 + 0.5, 0, 1)": lambda x: tf.clip_by_value(x / 6 + 0.5, 0.0, 1.0),
    "backend.clip(x * (1 / 6) + 0.5, 0, 1)": lambda x: tf_keras.backend.clip(x * (1 / 6) + 0.5, 0.0, 1.0),
    "maximum(minimum(x / 6 + 0.5, 1), 0)": lambda x: tf.maximum(tf.minimum(x / 6 + 0.5, 1.0), 0.0),
    "clip_by_value(x * 0.5 + 0.3, 0.1, 0.8)": lambda x: tf.clip_by_value(x * 0.5 + 0.3, 0.1, 0.8),
    "relu6(x + 3) / 6": lambda x: tf.nn.relu6(x + 3) / 6,
}
lines, wrong = [], []
for name, activation in ways.items():
    keras_out, file_out, attributes = of(activation)
    activations = [[str(one, "ascii") for one in each["activations"].strings] for each in attributes]
    constants = [each.keys() & {"activation_alpha", "activation_beta"} for each in attributes]
    off = apart(keras_out, file_out)
    lines.append(f"  {name}: {activations or 'no LSTM'}, off by {off:.2g}")
    if off < 1e-5:
        continue
    assert off > 0.01, (name, off)
    assert activations == [["HardSigmoid", "Tanh", "Tanh"]] and constants == [set()], (name, attributes)
    assert apart(own, file_out) < 1e-5, name
    wrong.append(name)
print("the recurrent activation, the activations of the LSTM in the file, and how far its output is from Keras':")
print("\n".join(lines))
print("the wrong ones are within 1e-5 of what Keras computes with \"hard_sigmoid\", clip(0.2 x + 0.5, 0, 1)")
assert wrong == list(ways)[:4], wrong
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES="" env/bin/python clips.py
