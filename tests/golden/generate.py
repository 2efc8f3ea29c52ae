"""Writes the PyTorch goldens beside this file.

    python3 -m venv env && env/bin/pip install torch==2.15.0 safetensors==0.8.0 numpy==2.4.6
    env/bin/python tests/golden/generate.py

Every file holds what it takes to repeat the run: initial weights, data, batch order, results.
The metadata name the versions that wrote it.
"""

import itertools
import sys

import numpy
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

sys.dont_write_bytecode = True  # no folder of it beside the goldens

from by_hand import by_hand
from files import FOLDER, save
from heads import heads
from sequences import sequences
from training import training


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


def grid():
    """Outputs, states and gradients of nn.LSTM under every combination of its options and lengths."""
    out = {}
    options = itertools.product((1, 3), *[(False, True)] * 5)
    for seed, (layers, bi, proj, bias, first, packed) in enumerate(options, start=1000):
        torch.manual_seed(seed)
        flags = {"bi": bi, "proj": proj, "bias": bias, "bf": first, "len": packed}
        name = "_".join([f"l{layers}", *(k for k, v in flags.items() if v)])
        out |= {f"{name}.{k}": v for k, v in grid_case(layers, bi, proj, bias, first, packed).items()}
    save("grid", out)


def grid_case(layers, bi, proj, bias, first, packed):
    """One case of the grid, with gradients from random upstream ones."""
    steps, batch, inputs, hidden, projected = 5, 4, 3, 6, 2 * proj
    lstm = nn.LSTM(inputs, hidden, layers, bias, first, bidirectional=bi, proj_size=projected)
    with torch.no_grad():
        for p in lstm.parameters():
            p.mul_(3.0)  # so that gates saturate
    x = 2.0 * torch.randn(*((batch, steps) if first else (steps, batch)), inputs)
    h_0 = torch.randn(layers * (1 + bi), batch, projected or hidden)
    c_0 = torch.randn(layers * (1 + bi), batch, hidden)
    given = {"x": x, "h_0": h_0, "c_0": c_0}
    for v in given.values():
        v.requires_grad_()

    out = {f"weights.{k}": v for k, v in lstm.state_dict().items()} | given
    if packed:
        lengths = torch.tensor([3, 5, 1, 4])
        sequence = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
        sequence, (h_n, c_n) = lstm(sequence, (h_0, c_0))
        y, _ = pad_packed_sequence(sequence, batch_first=first, total_length=steps)
        out["lengths"] = lengths
    else:
        y, (h_n, c_n) = lstm(x, (h_0, c_0))
    results = {"y": y, "h_n": h_n, "c_n": c_n}
    upstream = {f"d{k}": torch.randn(v.shape) for k, v in results.items()}
    torch.autograd.backward([*results.values()], [*upstream.values()])
    gradients = {f"grad.{k}": v.grad for k, v in [*lstm.named_parameters(), *given.items()]}
    return out | results | upstream | gradients


def philox(counter, key):
    """Philox 4x32-10 (Salmon et al. 2011): four words for a counter of four and a key of two."""
    c, k = ([numpy.asarray(v, dtype=numpy.uint64) for v in words] for words in (counter, key))
    low = 0xFFFFFFFF
    for _ in range(10):
        a, b = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(b >> 32) ^ c[1] ^ k[0], b & low, (a >> 32) ^ c[3] ^ k[1], a & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c


def philox_known():
    """Asserts the answers that the paper's own library, Random123, is tested with."""
    ones, pi = 0xFFFFFFFF, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
    known = (
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ones,) * 4, (ones,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (pi[:4], pi[4:], (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    )
    for counter, key, words in known:
        assert tuple(int(v) for v in philox(counter, key)) == words


def mask(shape, layer, p, seed, step):
    """Ones where the output of a layer [T, B, columns] is kept, zeros where it is dropped."""
    key = philox([step & 0xFFFFFFFF, step >> 32, 0, 0], [seed & 0xFFFFFFFF, seed >> 32])[:2]
    t, b, column = numpy.indices(shape)
    word = numpy.choose(column % 4, philox([column // 4, b, t, layer], key))
    return torch.from_numpy(word >= int(p * 2**32)).float()


def chain(lstm, x, factors):
    """A stack's layers one by one, on its own parameters, each output but the last times a factor."""
    states = []
    for number, factor in enumerate([*factors, None]):
        layer = nn.LSTM(
            x.shape[-1], lstm.hidden_size, bidirectional=lstm.bidirectional, proj_size=lstm.proj_size
        )
        for name, p in lstm.named_parameters():
            if f"_l{number}" in name:
                setattr(layer, name.replace(f"_l{number}", "_l0"), p)
        x, state = layer(x)
        x = x if factor is None else x * factor
        states.append(state)
    return x, tuple(torch.cat(v) for v in zip(*states))


def dropout():
    """Stacks with dropout whose masks come from Philox, keyed by a seed and the optimizer's step."""
    philox_known()
    out = {}
    for seed, (name, bi, projected) in enumerate((("uni", False, 0), ("bi", True, 3)), start=2000):
        torch.manual_seed(seed)
        out |= {f"{name}.{k}": v for k, v in dropout_case(bi, projected).items()}
    save("dropout", out)


def dropout_case(bi, projected):
    """One stack with dropout, with gradients from random upstream ones."""
    steps, batch, inputs, hidden, layers, p = 4, 3, 3, 5, 3, 0.3
    lstm = nn.LSTM(inputs, hidden, layers, bidirectional=bi, proj_size=projected)
    x = torch.randn(steps, batch, inputs).requires_grad_()
    whole, states = lstm(x)
    shape = (steps, batch, whole.shape[-1])
    by_hand, by_hand_states = chain(lstm, x, [torch.ones(shape)] * (layers - 1))
    torch.testing.assert_close((by_hand, *by_hand_states), (whole, *states), rtol=0.0, atol=1e-6)

    masks = [mask(shape, number, p, seed=0x1234_5678_9ABC_DEF0, step=5) for number in range(layers - 1)]
    y, (h_n, c_n) = chain(lstm, x, [m / (1.0 - p) for m in masks])
    dy = torch.randn(y.shape)
    (y * dy).sum().backward()
    out = {f"weights.{k}": v for k, v in lstm.state_dict().items()}
    out |= {f"mask_l{number}": m for number, m in enumerate(masks)}
    out |= {"x": x, "y": y, "h_n": h_n, "c_n": c_n, "dy": dy}
    return out | {f"grad.{k}": v.grad for k, v in [*lstm.named_parameters(), ("x", x)]}


def half():
    """State dicts in 16 bits, without any metadata, and what they give when widened to 32."""
    torch.manual_seed(3000)
    lstm, wide = nn.LSTM(3, 4, 1), nn.LSTM(3, 4, 1)
    out = {"x": torch.randn(2, 3, 3)}
    for name, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16)):
        weights = {k: v.to(dtype) for k, v in lstm.state_dict().items()}
        save_file(weights, FOLDER / f"half_{name}.safetensors")
        wide.load_state_dict(weights)
        out[f"y_{name}"] = wide(out["x"])[0]
    save("half_results", out)


def cell_module():
    """One step of nn.LSTMCell."""
    torch.manual_seed(3001)
    module = nn.LSTMCell(3, 5)
    x, h_0, c_0 = torch.randn(4, 3), torch.randn(4, 5), torch.randn(4, 5)
    h_1, c_1 = module(x, (h_0, c_0))
    out = {f"weights.{k}": v for k, v in module.state_dict().items()}
    save("lstm_cell", out | {"x": x, "h_0": h_0, "c_0": c_0, "h_1": h_1, "c_1": c_1})


def keys():
    """The names and shapes in the state dicts of nn.LSTM, in order."""
    lines = []
    for layers, bi, proj, bias in itertools.product((1, 2), *[(0, 1)] * 3):
        lstm = nn.LSTM(3, 4, layers, bias=bool(bias), bidirectional=bool(bi), proj_size=2 * proj)
        names = [f"{k}[{','.join(map(str, v.shape))}]" for k, v in lstm.state_dict().items()]
        lines.append(f"layers={layers} bidirectional={bi} proj={proj} bias={bias}: {' '.join(names)}\n")
    (FOLDER / "state_dict_keys.txt").write_text("".join(lines))


torch.set_num_threads(1)  # sums in one order everywhere
for layers in (1, 2):
    for single in (False, True):
        stack(layers, single)
plain()
optimizer()
toy()
cell()
grid()
dropout()
half()
cell_module()
keys()
training()
by_hand()
sequences()
heads()
