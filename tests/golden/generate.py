"""Writes the PyTorch goldens beside this file.

    python3 -m venv env && env/bin/pip install torch==2.15.0 safetensors==0.8.0 numpy==2.4.6
    env/bin/python tests/golden/generate.py

Every file holds what it takes to repeat the run: initial weights, data, batch order, results.
The metadata name the versions that wrote it.
"""

import pathlib

import numpy
import safetensors
import torch
from safetensors.torch import save_file
from torch import nn

FOLDER = pathlib.Path(__file__).parent
VERSIONS = {"torch": torch.__version__, "safetensors": safetensors.__version__, "numpy": numpy.__version__}


def save(name, tensors):
    tensors = {k: v.detach().clone().contiguous().float() for k, v in tensors.items()}
    save_file(tensors, FOLDER / f"{name}.safetensors", metadata=VERSIONS)
    print(name, sum(v.numel() for v in tensors.values()) * 4, "bytes")


class Model(nn.Module):
    def __init__(self, inputs, hidden, layers, outputs):
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, layers)
        self.fc = nn.Linear(hidden, outputs)

    def forward(self, x):  # [T, B, I]
        y, _ = self.lstm(x)
        return self.fc(y[-1])


def stack(layers, single):
    """Outputs, states, gradients, ten Adam steps of a stack with a linear head."""
    torch.manual_seed(layers * 10 + single)
    steps, batch, inputs, hidden, outputs = 7, 5, 3, 9, 2
    model = Model(inputs, hidden, layers, outputs)
    with torch.no_grad():
        for p in model.lstm.parameters():
            p.mul_(3.0)  # so that gates saturate
    if single:
        for name, p in model.lstm.named_parameters():
            if name.startswith("bias_hh"):
                p.data.zero_()
                p.requires_grad_(False)
    out = {f"weights.{k}": v.clone() for k, v in model.state_dict().items()}

    x = (2.0 * torch.randn(steps, batch, inputs)).requires_grad_()
    h_0 = torch.randn(layers, batch, hidden).requires_grad_()
    c_0 = torch.randn(layers, batch, hidden).requires_grad_()
    y, (h_n, c_n) = model.lstm(x, (h_0, c_0))
    out |= {"x": x, "h_0": h_0, "c_0": c_0, "y": y, "h_n": h_n, "c_n": c_n}

    # Gradients of the head's loss, from zero states.
    target = torch.randn(batch, outputs)
    zeros = [torch.zeros(layers, batch, hidden, requires_grad=True) for _ in range(2)]
    sequence, _ = model.lstm(x, tuple(zeros))
    prediction = model.fc(sequence[-1])
    loss = nn.functional.mse_loss(prediction, target)
    loss.backward()
    out |= {"target": target, "prediction": prediction, "loss": loss.reshape(1)}
    out |= {f"grad.{k}": p.grad for k, p in model.named_parameters() if p.requires_grad}
    out |= {"grad.x": x.grad, "grad.h_0": zeros[0].grad, "grad.c_0": zeros[1].grad}

    # Two epochs of ten steps over shuffled batches; the last of each has fewer rows.
    data_x, data_y = 2.0 * torch.randn(48, steps, inputs), torch.randn(48, outputs)
    order = torch.randperm(48)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for rows in order.split(5) * 2:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(data_x[rows].transpose(0, 1)), data_y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert len(losses) == 20
    out |= {"data.x": data_x, "data.y": data_y, "data.order": order, "losses": torch.tensor(losses)}
    out |= {f"trained.{k}": v for k, v in model.state_dict().items()}
    save(f"stack_{layers}_{'single' if single else 'double'}", out)


def plain():
    """A model's state dict as a user saves it, without any metadata, and what it predicts."""
    torch.manual_seed(9)
    model = Model(3, 6, 2, 2)
    x = torch.randn(4, 5, 3)
    save_file(model.state_dict(), FOLDER / "plain.safetensors")
    save("plain_results", {"x": x, "prediction": model(x)})


def optimizer():
    """Ten Adam steps from stored gradients, with and without weight decay."""
    torch.manual_seed(4)
    p = torch.randn(300).requires_grad_()
    gradients = torch.randn(10, 300) * torch.logspace(-6, 2, 300)
    out = {"p": p.clone(), "gradients": gradients}
    for decay in (0.0, 0.1):
        q = p.detach().clone().requires_grad_()
        adam = torch.optim.Adam([q], lr=0.003, betas=(0.8, 0.99), eps=1e-7, weight_decay=decay)
        for g in gradients:
            q.grad = g.clone()
            adam.step()
        out[f"after_decay_{decay}"] = q
    save("adam", out)


def toy():
    """The two companies: hidden size 1, one bias a gate, Adam at 0.01, 500 epochs."""
    data = torch.tensor([[0.0, 0.5, 0.25, 1.0], [1.0, 0.5, 0.25, 1.0]])
    target = torch.tensor([0.0, 1.0])
    for seed in range(3):
        torch.manual_seed(seed)
        names = ("i", "f", "g", "o")
        w = {k: torch.randn(()).requires_grad_() for k in (f"{m}{n}" for n in names for m in "wu")}
        b = {k: torch.zeros(()).requires_grad_() for k in names}
        out = {
            "weight_ih": torch.stack([w["w" + n] for n in names]).reshape(4, 1),
            "weight_hh": torch.stack([w["u" + n] for n in names]).reshape(4, 1),
        }
        out = {k: v.clone() for k, v in out.items()}

        def forward(x):
            h = c = torch.zeros(())
            for x_t in x:
                i, f, o = (torch.sigmoid(x_t * w["w" + n] + h * w["u" + n] + b[n]) for n in "ifo")
                c = f * c + i * torch.tanh(x_t * w["wg"] + h * w["ug"] + b["g"])
                h = o * torch.tanh(c)
            return h

        adam = torch.optim.Adam([*w.values(), *b.values()], lr=0.01)
        losses = []
        for _ in range(500):
            for x, y in zip(data, target):
                loss = (forward(x) - y) ** 2
                adam.zero_grad()
                loss.backward()
                adam.step()
                losses.append(loss.item())
        out |= {"losses": torch.tensor(losses), "predictions": torch.stack([forward(x) for x in data])}
        save(f"toy_{seed}", out)


def cell():
    """The worked cell: long memory 2, short memory 1, input 1, one Adam step towards 0.5."""
    values = {
        "f": (2.7, 1.63, 1.62), "i": (2.0, 1.65, 0.62), "g": (1.41, 0.94, -0.32), "o": (4.38, -0.19, 0.59),
    }
    p = {k: torch.tensor(v).requires_grad_() for k, v in values.items()}
    adam = torch.optim.Adam(p.values(), lr=0.001)
    pre = {k: v[0] * 1.0 + v[1] * 1.0 + v[2] for k, v in p.items()}
    i, f, o = (torch.sigmoid(pre[k]) for k in "ifo")
    g = torch.tanh(pre["g"])
    c = f * 2.0 + i * g
    h = o * torch.tanh(c)
    loss = (h - 0.5) ** 2
    loss.backward()
    grads = torch.stack([p[k].grad for k in "ifgo"])
    adam.step()
    save("cell", {
        "stages": torch.stack([f, g, i, c, o, h]), "loss": loss.reshape(1), "grads": grads,
        "after": torch.stack([p[k] for k in "ifgo"]),
    })


for layers in (1, 2):
    for single in (False, True):
        stack(layers, single)
plain()
optimizer()
toy()
cell()
