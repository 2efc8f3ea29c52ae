#!/usr/bin/env bash
# PyPI tensorflow-cpu 2.21.0: tf.raw_ops.LSTMBlockCell.
#
# The operation's own text gives the columns of its matrix as `[i, f, ci, o] = xh * w + b`. What it computes takes them
# as i, ci, f, o: the candidate stands second and the forget gate third. All four are H wide, so weights laid out by
# the text run without an error and give other numbers. The outputs show it too: `f` is the sigmoid of the third
# quarter. (BlockLSTMV2 does take i, f, ci, o, and its text says in passing that this one doesn't.)
#
# Needs Python 3.11 or newer with venv and pip.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet tensorflow-cpu==2.21.0 numpy==2.4.6
cat >order.py <<'PYTHON'
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy
import tensorflow

operation = tensorflow.raw_ops.LSTMBlockCell
text = "[i, f, ci, o] = xh * w + b"
documented = text in operation.__doc__
print(f"the text says {text}: {documented}")

batch, width, hidden = 2, 3, 4
rng = numpy.random.default_rng(0)


def random(*shape):
    return rng.normal(size=shape).astype(numpy.float32)


def sigmoid(values):
    return 1 / (1 + numpy.exp(-values))


x, c, h, b = random(batch, width), random(batch, hidden), random(batch, hidden), random(4 * hidden)
w = random(width + hidden, 4 * hidden)
none = numpy.zeros(hidden, numpy.float32)
# Without what the operation does unasked: 1 is added to the forget gate, and the cell is held within 3.
outputs = operation(
    x=x, cs_prev=c, h_prev=h, w=w, wci=none, wcf=none, wco=none, b=b, forget_bias=0.0, cell_clip=-1.0
)


def off(order):
    gates = dict(zip(order, numpy.split(numpy.concatenate([x, h], 1) @ w + b, 4, axis=1), strict=True))
    i, f, ci, o = sigmoid(gates["i"]), sigmoid(gates["f"]), numpy.tanh(gates["ci"]), sigmoid(gates["o"])
    cs = ci * i + c * f
    wanted = {"i": i, "f": f, "ci": ci, "o": o, "cs": cs, "h": o * numpy.tanh(cs)}
    return {name: float(abs(getattr(outputs, name).numpy() - values).max()) for name, values in wanted.items()}


by_text, seen = off(["i", "f", "ci", "o"]), off(["i", "ci", "f", "o"])
for order, found in ("i, f, ci, o", by_text), ("i, ci, f, o", seen):
    print(f"its outputs are off from {order} by", ", ".join(f"{name} {value:.6f}" for name, value in found.items()))
assert documented
assert max(seen.values()) < 1e-5
assert min(by_text[name] for name in ("f", "ci", "cs", "h")) > 0.01
PYTHON
env/bin/python order.py
