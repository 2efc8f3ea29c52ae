#!/usr/bin/env bash
# PyPI flax 0.12.8 (flax.linen), jax 0.10.2.
#
# nn.RNN(nn.LSTMCell(4), name="encoder") within a method that is @nn.compact keeps its weights as LSTMCell_0, beside
# the RNN and not within it: the name that was given is nowhere among the parameters. In setup() the same layer is
# encoder/cell. With nn.Bidirectional it loses more: its two cells are LSTMCell_0 and LSTMCell_1, as those of two layers
# one above the other are, and where the input is as wide as the state the shapes are the same too. So weights of the
# one go into the other without an error, and nothing in a file of them tells which it is. A cell with parent=None
# goes where the names say.
#
# Needs Python 3.11 or newer with venv and pip.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet flax==0.12.8 jax==0.10.2 numpy==2.4.6
cat >names.py <<'PYTHON'
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict


class InSetup(nn.Module):
    def setup(self):
        self.encoder = nn.RNN(nn.LSTMCell(4))

    def __call__(self, x):
        return self.encoder(x)


class InCompact(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.RNN(nn.LSTMCell(4), name="encoder")(x)


class WithoutParent(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.RNN(nn.LSTMCell(4, parent=None), name="encoder")(x)


class BothDirections(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Bidirectional(nn.RNN(nn.LSTMCell(4)), nn.RNN(nn.LSTMCell(4)), name="encoder")(x)


class TwoLayers(nn.Module):
    @nn.compact
    def __call__(self, x):
        lower = nn.RNN(nn.LSTMCell(4), name="lower")(x)
        return nn.RNN(nn.LSTMCell(4), name="upper")(lower)


x = jax.random.normal(jax.random.key(0), (2, 3, 4))
# Where the cells' parameters are.
expected = {
    InSetup: ["encoder/cell"],
    InCompact: ["LSTMCell_0"],
    WithoutParent: ["encoder/cell"],
    BothDirections: ["LSTMCell_0", "LSTMCell_1"],
    TwoLayers: ["LSTMCell_0", "LSTMCell_1"],
}
variables, found = {}, {}
for model in expected:
    variables[model] = model().init(jax.random.key(1), x)
    found[model] = sorted({"/".join(path[:-2]) for path in flatten_dict(variables[model]["params"])})
    print(f"{model.__name__}: {', '.join(found[model])}")

shapes = [jax.tree.map(jnp.shape, variables[model]) for model in (BothDirections, TwoLayers)]
taken = TwoLayers().apply(variables[BothDirections], x)
print("names and shapes of both directions and of two layers are the same:", shapes[0] == shapes[1])
print("two layers take the weights of both directions, and give", taken.shape)
assert found == expected, found
assert shapes[0] == shapes[1] and taken.shape == (2, 3, 4)
PYTHON
env/bin/python names.py
