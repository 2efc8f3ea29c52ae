"""Writes models as MLX does, and what they compute.

    python3 -m venv env && env/bin/pip install 'mlx[cpu]==0.32.4' safetensors==0.8.0 numpy==2.4.6
    env/bin/python tests/golden/import/mlx_models.py

mlx/NAME.{safetensors,npz} is a file of Module.save_weights; mlx.safetensors holds for each NAME an input `x [B, T, I]`,
the LSTM's outputs `y [B, T, H]` and with a head the prediction `out [B, O]` from the last of them. Of several LSTMs
each has an input and outputs of its own, `NAME.LSTM.x` and `NAME.LSTM.y`.
"""

import pathlib
import shutil

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_map
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
OUT = HERE / "mlx"
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()
mx.set_default_device(mx.cpu)
mx.random.seed(1)
rng = np.random.default_rng(1)
results = {}
B, T = 3, 5


class Net(nn.Module):
    def __init__(self, inputs, hidden, outputs, bias=True):
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, bias=bias)
        self.head = nn.Linear(hidden, outputs)

    def __call__(self, x):
        y, _ = self.lstm(x)
        return y, self.head(y[:, -1])


class Stacked(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.layers = [nn.LSTM(i, h) for i, h in zip([inputs, *hidden], hidden)]
        self.head = nn.Linear(hidden[-1], outputs)

    def __call__(self, x):
        for n, layer in enumerate(self.layers):
            kept(f"stacked.layers.{n}.x", x)
            x, _ = layer(x)
            kept(f"stacked.layers.{n}.y", x)
        return x, self.head(x[:, -1])


def kept(name, array):
    results[f"mlx_{name}"] = np.ascontiguousarray(np.array(array), dtype=np.float32)


def shaken(model):
    """Weights that differ, biases too."""
    moved = lambda w: w + mx.array(rng.uniform(-0.3, 0.3, w.shape).astype(np.float32))
    model.update(tree_map(moved, model.parameters()))


def saved(name, model, end, inputs):
    shaken(model)
    model.save_weights(str(OUT / f"mlx_{name}{end}"))
    x = mx.array(rng.standard_normal((B, T, inputs)).astype(np.float32))
    y, out = model(x)
    if not isinstance(model, Stacked):
        kept(f"{name}.x", x)
        kept(f"{name}.y", y)
    kept(f"{name}.out", out)
    print(name, {k: v.shape for k, v in tree_flatten(model.parameters())})


saved("lstm", Net(3, 5, 2), ".safetensors", 3)
saved("nobias", Net(4, 6, 2, bias=False), ".npz", 4)
saved("stacked", Stacked(3, [6, 5], 2), ".safetensors", 3)

save_file(results, HERE / "mlx.safetensors")
print(len(results), "arrays;", sum(f.stat().st_size for f in OUT.iterdir()), "bytes of models")
