"""Writes models as tinygrad does, and what they compute.

    python3 -m venv env && env/bin/pip install tinygrad==0.14.0 safetensors==0.8.0 numpy==2.4.6
    env/bin/python tests/golden/import/tinygrad_models.py

tinygrad/NAME.safetensors is a file of nn.state.safe_save; tinygrad.safetensors holds for each NAME an input
`x [B, T, I]`, the LSTM's outputs `y [B, T, H]` and with a head the prediction `out [B, O]` from the last of them. Of
several LSTMs each has an input and outputs of its own, `NAME.LSTM.x` and `NAME.LSTM.y`. tinygrad wants a `clang`
(or one that CC names) whatever device it computes on.
"""

import os
import pathlib
import shutil

os.environ.setdefault("DEV", "CPU")

import numpy as np
from safetensors.numpy import save_file
from tinygrad import Tensor, nn

HERE = pathlib.Path(__file__).parent
OUT = HERE / "tinygrad"
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()
Tensor.manual_seed(1)
rng = np.random.default_rng(1)
results = {}
B, T = 3, 5


def unrolled(cell, x):
    state, y = None, []
    for t in range(T):
        state = cell(x[:, t], state)
        y.append(state[0])
    return Tensor.stack(*y, dim=1).realize()


class Net:
    def __init__(self, inputs, hidden, outputs):
        self.rnn = nn.LSTMCell(inputs, hidden)
        self.out = nn.Linear(hidden, outputs)

    def __call__(self, x):
        y = unrolled(self.rnn, x)
        return {"x": x, "y": y, "out": self.out(y[:, -1])}


class Stacked:
    def __init__(self, inputs, hidden, outputs):
        self.cells = [nn.LSTMCell(i, h) for i, h in zip([inputs, *hidden], hidden)]
        self.out = nn.Linear(hidden[-1], outputs)

    def __call__(self, x):
        found = {}
        for n, cell in enumerate(self.cells):
            found[f"cells.{n}.x"] = x
            found[f"cells.{n}.y"] = x = unrolled(cell, x)
        return found | {"out": self.out(x[:, -1])}


def saved(name, model, inputs):
    state = nn.state.get_state_dict(model)
    # Weights that differ, biases too.
    for w in state.values():
        w.assign(Tensor(w.numpy() + rng.uniform(-0.3, 0.3, w.shape).astype(np.float32))).realize()
    nn.state.safe_save(state, str(OUT / f"tinygrad_{name}.safetensors"))
    found = model(Tensor(rng.standard_normal((B, T, inputs)).astype(np.float32)))
    for what, tensor in found.items():
        results[f"tinygrad_{name}.{what}"] = np.ascontiguousarray(tensor.numpy(), dtype=np.float32)
    print(name, {k: v.shape for k, v in state.items()})


saved("cell", Net(3, 5, 2), 3)
saved("stacked", Stacked(4, [6, 5], 2), 4)

save_file(results, HERE / "tinygrad.safetensors")
print(len(results), "arrays;", sum(f.stat().st_size for f in OUT.iterdir()), "bytes of models")
