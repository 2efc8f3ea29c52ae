"""Writes models as people of Paddle do, and what they compute.

    python3 -m venv env && env/bin/pip install paddlepaddle==3.3.1 safetensors==0.8.0 numpy==2.4.6
    env/bin/python tests/golden/import/paddle_models.py

paddle/NAME.{safetensors,npz} has the arrays of state_dict(), which names those of an LSTM twice; paddle_flat only the
names that PyTorch has too. paddle.safetensors holds for each NAME an input `x [B, T, I]`, the LSTM's outputs
`y [B, T, D H or P]` and with a head the prediction `out [B, O]` from the last output of the only direction, or from
both final states.
"""

import pathlib
import shutil

import numpy as np
import paddle
import safetensors.paddle
from paddle import nn
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
OUT = HERE / "paddle"
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()
paddle.set_device("cpu")
paddle.seed(1)
rng = np.random.default_rng(1)
results = {}
B, T = 3, 5


class Net(nn.Layer):
    def __init__(self, inputs, hidden, outputs, **config):
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, **config)
        if outputs:
            self.fc = nn.Linear(hidden * self.lstm.num_directions, outputs)

    def forward(self, x):
        y, (h, _) = self.lstm(x)
        last = paddle.concat([h[-2], h[-1]], 1) if self.lstm.num_directions == 2 else y[:, -1]
        return y, self.fc(last) if hasattr(self, "fc") else None


def kept(name, array):
    results[f"paddle_{name}"] = np.ascontiguousarray(array.numpy(), dtype=np.float32)


def shaken(model):
    """Weights that differ, biases too."""
    for w in model.parameters():
        w.set_value(w.numpy() + rng.uniform(-0.3, 0.3, w.shape).astype(np.float32))


def saved(name, model, end, flat=False):
    shaken(model)
    model.eval()
    state = {k: v for k, v in model.state_dict().items() if not (flat and ".cell." in k)}
    if end == ".npz":
        np.savez(OUT / f"paddle_{name}.npz", **{k: v.numpy() for k, v in state.items()})
    else:
        safetensors.paddle.save_file(state, OUT / f"paddle_{name}.safetensors")
    x = paddle.to_tensor(rng.standard_normal((B, T, model.lstm.input_size)).astype(np.float32))
    with paddle.no_grad():
        y, out = model(x)
    kept(f"{name}.x", x)
    kept(f"{name}.y", y)
    if out is not None:
        kept(f"{name}.out", out)
    print(name, {k: v.shape for k, v in state.items()})


saved("lstm", Net(3, 5, 2), ".safetensors")
saved("stacked", Net(4, 6, 2, num_layers=2, direction="bidirect"), ".npz")
saved("projected", Net(3, 6, None, num_layers=2, proj_size=4), ".safetensors")

# The head's weight is square: its shape doesn't say that it is (in, out).
saved("flat", Net(4, 5, 5), ".safetensors", flat=True)

save_file(results, HERE / "paddle.safetensors")
print(len(results), "arrays;", sum(f.stat().st_size for f in OUT.iterdir()), "bytes of models")
