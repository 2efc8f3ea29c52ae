"""Writes models as people of JAX do (Flax linen and nnx, Haiku, Equinox), and what they compute.

    python3 -m venv env && env/bin/pip install jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 dm-haiku==0.0.17 \
        equinox==0.13.8 safetensors==0.8.0 numpy==2.4.6
    JAX_PLATFORMS=cpu env/bin/python tests/golden/import/jax_libraries.py

None of these libraries has a format of its own for safetensors or npz, so names are made as people make them:
  flax_*    flatten_dict of params with '.', or of all variables with '/'
  nnx_*     nnx.to_pure_dict of the whole nnx.state, flattened with '.'; the state has the RNN's random keys beside the
            weights: counts are uint32 [], a key is its key_data, uint32 [2]
  haiku_*   f"{module}/{name}"
  equinox_* jax.tree_util.keystr of each leaf's path, plain or as it is ('.cell.weight_ih')

jax_libraries/NAME.{safetensors,npz} is such a file; jax_libraries.safetensors holds for each NAME an input `x [B, T, I]` (or
`tokens [B, T]`), the LSTM's outputs `y [B, T, H]` and with a head the prediction `out [B, O]` from the last of them. Of
several LSTMs each has an input and outputs of its own, `NAME.LSTM.x` and `NAME.LSTM.y`.
"""

import os
import pathlib
import shutil

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
OUT = HERE / "jax_libraries"
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()
jax.config.update("jax_default_matmul_precision", "highest")
key = jax.random.key(1)
rng = np.random.default_rng(1)
results = {}
B, T = 3, 5


def random(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def shaken(tree):
    """Weights that differ, biases too."""
    return jax.tree.map(lambda w: w + rng.uniform(-0.3, 0.3, w.shape).astype(np.float32), tree)


def kept(name, **arrays):
    for what, array in arrays.items():
        results[f"{name}.{what}"] = np.ascontiguousarray(array, dtype=np.float32)


def saved(file, tensors):
    tensors = {k: np.ascontiguousarray(v).reshape(np.shape(v)) for k, v in tensors.items()}
    if file.endswith(".npz"):
        np.savez(OUT / file, **tensors)
    else:
        save_file(tensors, OUT / file)
    print(file, {k: (str(v.dtype), v.shape) for k, v in tensors.items()})


# Flax linen.
class Named(nn.Module):
    def setup(self):
        self.lstm = nn.RNN(nn.LSTMCell(5))
        self.head = nn.Dense(2)

    def __call__(self, x):
        y = self.lstm(x)
        return y, self.head(y[:, -1])


class Compact(nn.Module):
    """The cell is the outer module's, whatever the RNN is called: no name says "lstm" but LSTMCell_0."""

    @nn.compact
    def __call__(self, x):
        y = nn.RNN(nn.LSTMCell(6), name="encoder")(x)
        return y, nn.Dense(2, name="head")(y[:, -1])


class Inline(nn.Module):
    """The outer cell, the last layer's, is made first."""

    @nn.compact
    def __call__(self, x):
        return nn.RNN(nn.LSTMCell(6))(nn.RNN(nn.LSTMCell(5))(x))


class Words(nn.Module):
    def setup(self):
        self.embed = nn.Embed(7, 4)
        self.lstm = nn.RNN(nn.OptimizedLSTMCell(6))
        self.head = nn.Dense(2)

    def __call__(self, tokens):
        y = self.lstm(self.embed(tokens))
        return y, self.head(y[:, -1])


class Both(nn.Module):
    def setup(self):
        self.both = nn.Bidirectional(nn.RNN(nn.LSTMCell(5)), nn.RNN(nn.LSTMCell(5)))

    def __call__(self, x):
        return self.both(x)


def linen(model, x):
    return shaken(model.init(key, x))


x = random(B, T, 3)
variables = linen(Named(), x)
saved("flax_cell.safetensors", flatten_dict(variables["params"], sep="."))
y, out = Named().apply(variables, x)
kept("flax_cell", x=x, y=y, out=out)

x = random(B, T, 4)
variables = linen(Compact(), x)
saved("flax_compact.safetensors", flatten_dict(variables["params"], sep="."))
y, out = Compact().apply(variables, x)
kept("flax_compact", x=x, y=y, out=out)

x = random(B, T, 4)
variables = linen(Inline(), x)
saved("flax_inline.npz", flatten_dict(variables, sep="/"))


def layer(n, size, x):
    params = {"cell": variables["params"][f"LSTMCell_{n}"]}
    return nn.RNN(nn.LSTMCell(size)).apply({"params": params}, x)


first = layer(1, 5, x)
kept("flax_inline.LSTMCell_1", x=x, y=first)
kept("flax_inline.LSTMCell_0", x=first, y=Inline().apply(variables, x))
assert np.allclose(layer(0, 6, first), results["flax_inline.LSTMCell_0.y"])

tokens = rng.integers(0, 7, (B, T))
variables = linen(Words(), tokens)
saved("flax_optimized.safetensors", flatten_dict(variables["params"], sep="."))
y, out = Words().apply(variables, tokens)
kept("flax_optimized", tokens=tokens, y=y, out=out)

x = random(B, T, 3)
variables = linen(Both(), x)
saved("flax_bidirectional.safetensors", flatten_dict(variables["params"], sep="."))
kept("flax_bidirectional", x=x, y=Both().apply(variables, x))


# Flax nnx.
class Module(nnx.Module):
    def __init__(self, cell, inputs, hidden, rngs):
        self.lstm = nnx.RNN(cell(inputs, hidden, rngs=rngs), rngs=rngs)
        self.head = nnx.Linear(hidden, 2, rngs=rngs)

    def __call__(self, x):
        y = self.lstm(x)
        return y, self.head(y[:, -1])


def held(value):
    return jax.random.key_data(value) if jnp.issubdtype(value.dtype, jax.dtypes.prng_key) else value


for name, cell, inputs, hidden in [("nnx_cell", nnx.LSTMCell, 3, 5), ("nnx_optimized", nnx.OptimizedLSTMCell, 4, 6)]:
    model = Module(cell, inputs, hidden, nnx.Rngs(1))
    nnx.update(model, shaken(nnx.state(model, nnx.Param)))
    state = flatten_dict(nnx.to_pure_dict(nnx.state(model)))
    saved(f"{name}.safetensors", {".".join(map(str, k)): held(v) for k, v in state.items()})
    x = random(B, T, inputs)
    y, out = model(x)
    kept(name, x=x, y=y, out=out)


# Haiku.
def haiku(name, build, inputs):
    model = hk.without_apply_rng(hk.transform(build))
    x = random(B, T, inputs)
    params = shaken(model.init(key, x))
    saved(f"{name}.npz", {f"{module}/{w}": v for module, all in params.items() for w, v in all.items()})
    return params, x, model.apply(params, x)


def unrolled(core, x):
    y, _ = hk.dynamic_unroll(core, jnp.swapaxes(x, 0, 1), core.initial_state(x.shape[0]))
    return jax.tree.map(lambda y: jnp.swapaxes(y, 0, 1), y)


def with_head(x):
    y = unrolled(hk.LSTM(5), x)
    return y, hk.Linear(2)(y[:, -1])


def named(x):
    y = unrolled(hk.LSTM(6, name="core"), x)
    return y, hk.Linear(2, name="head")(y[:, -1])


def deep(x):
    return unrolled(hk.DeepRNN([hk.LSTM(6), hk.LSTM(5)]), x)


_, x, (y, out) = haiku("haiku_lstm", with_head, 3)
kept("haiku_lstm", x=x, y=y, out=out)
params, x, last = haiku("haiku_deep", deep, 4)
below = {"lstm/linear": params["lstm/linear"]}
first = hk.without_apply_rng(hk.transform(lambda x: unrolled(hk.LSTM(6), x))).apply(below, x)
kept("haiku_deep.lstm", x=x, y=first)
kept("haiku_deep.lstm_1", x=first, y=last)
_, x, (y, out) = haiku("haiku_named", named, 3)
kept("haiku_named", x=x, y=y, out=out)


# Equinox.
class Scanned(eqx.Module):
    cell: eqx.nn.LSTMCell
    head: eqx.nn.Linear

    def __init__(self, inputs, hidden, key):
        a, b = jax.random.split(key)
        self.cell = eqx.nn.LSTMCell(inputs, hidden, key=a)
        self.head = eqx.nn.Linear(hidden, 2, key=b)

    def __call__(self, x):
        def step(state, x):
            state = self.cell(x, state)
            return state, state[0]

        zeros = jnp.zeros(self.cell.hidden_size)
        _, y = jax.lax.scan(step, (zeros, zeros), x)
        return y, self.head(y[-1])


plain = lambda path: jax.tree_util.keystr(path, simple=True, separator=".")
for name, named_by, inputs, hidden in [("equinox_cell", plain, 3, 5), ("equinox_keystr", jax.tree_util.keystr, 4, 6)]:
    model = Scanned(inputs, hidden, key)
    weights, rest = eqx.partition(model, eqx.is_array)
    model = eqx.combine(shaken(weights), rest)
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_array))
    saved(f"{name}.safetensors", {named_by(path): leaf for path, leaf in leaves})
    x = random(B, T, inputs)
    y, out = jax.vmap(model)(x)
    kept(name, x=x, y=y, out=out)

save_file(results, HERE / "jax_libraries.safetensors")
print(len(results), "arrays;", sum(f.stat().st_size for f in OUT.iterdir()), "bytes of models")
