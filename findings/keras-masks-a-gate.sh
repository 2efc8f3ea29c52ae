#!/usr/bin/env bash
# PyPI keras 3.15.1, on its JAX backend (jax 0.10.2).
#
# LSTM(dropout=0.5) multiplies the input with one mask, whichever gate it is for. With recurrent_dropout beside it
# the layer goes over to its other implementation without a word, and there every gate has a mask of its own: four
# for the hidden state, and four for the input as well. So a recurrent_dropout, however small, changes what the
# option dropout means, and what Gal and Ghahramani (2016) call tied and untied weights are both in one layer.
#
# Needs Python 3.11 or newer with venv and pip.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet keras==3.15.1 jax==0.10.2 numpy==2.4.6
cat >masks.py <<'PYTHON'
import os

os.environ["KERAS_BACKEND"] = "jax"
import keras
import numpy

# So many masks, of the input and of the hidden state, and how many of them differ from the first.
expected = {
    "dropout": (2, 1, 0, 0, 0),
    "recurrent_dropout": (1, 0, 0, 4, 3),
    "both": (1, 4, 3, 4, 3),
}
options = {
    "dropout": {"dropout": 0.5},
    "recurrent_dropout": {"recurrent_dropout": 0.5},
    "both": {"dropout": 0.5, "recurrent_dropout": 0.01},
}
found = {}
for name, chosen in options.items():
    keras.utils.set_random_seed(1)
    layer = keras.layers.LSTM(400, **chosen)
    x = numpy.ones((3, 5, 300), "float32")
    layer.build(x.shape)
    cell, masks = layer.cell, {}

    def kept(which):
        drawn = getattr(cell, which)

        def call(values):
            masks[which] = drawn(values)
            return masks[which]

        setattr(cell, which, call)

    kept("get_dropout_mask")
    kept("get_recurrent_dropout_mask")
    layer(x, training=True)
    row = [cell.implementation]
    for which in ("get_dropout_mask", "get_recurrent_dropout_mask"):
        of_gates = masks.get(which)
        if of_gates is None:
            of_gates = []
        elif not isinstance(of_gates, (list, tuple)):
            of_gates = [of_gates]
        others = [mask for mask in of_gates if not numpy.array_equal(mask, of_gates[0])]
        row += [len(of_gates), len(others)]
    found[name] = tuple(row)
    print(f"{name}: implementation {row[0]}, {row[1]} input masks of which {row[2]} differ from the first,")
    print(f"  {row[3]} masks of the hidden state of which {row[4]} differ")
assert found == expected, found
PYTHON
env/bin/python masks.py
