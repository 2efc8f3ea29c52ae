"""Writes checkpoints as torch.save does, and what their models compute.

    python3 -m venv env && env/bin/pip install torch==2.15.0 safetensors==0.8.0 numpy==2.4.6
    env/bin/python tests/golden/import/pytorch.py

pytorch/NAME.pth is a file as people have it; pytorch.safetensors holds for each NAME an input
`x [T, B, I]`, the LSTM's output `y`, and with a head the prediction `out` from the last output of the
only direction, or from both final states.
"""

import pathlib
import warnings

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).parent
torch.set_num_threads(1)
results = {}


class Net(nn.Module):
    """An LSTM and a linear layer, under the names that tutorials have."""

    def __init__(self, lstm, outputs=2):
        super().__init__()
        self.lstm = lstm
        features = (lstm.proj_size or lstm.hidden_size) * (2 if lstm.bidirectional else 1)
        self.fc = nn.Linear(features, outputs)

    def forward(self, x):
        y, (h, _) = self.lstm(x)
        last = torch.cat([h[-2], h[-1]], 1) if self.lstm.bidirectional else y[-1]
        return y, self.fc(last)


class Inside(nn.Module):
    """A net inside of another module."""

    def __init__(self, net):
        super().__init__()
        self.encoder = net

    def forward(self, x):
        return self.encoder(x)


def computed(name, model, size=3):
    x = torch.randn(4, 3, size)
    model.eval()
    with torch.no_grad():
        found = model(x)
    y, out = found if isinstance(found, tuple) and torch.is_tensor(found[1]) else (found[0], None)
    results[f"{name}.x"], results[f"{name}.y"] = x, y.float().contiguous()
    if out is not None:
        results[f"{name}.out"] = out.float().contiguous()


def case(name, model, saved, **how):
    computed(name, model)
    torch.save(saved, HERE / "pytorch" / f"{name}.pth", **how)


def net(seed, **config):
    torch.manual_seed(seed)
    return Net(nn.LSTM(3, 5, **config))


def main():
    (HERE / "pytorch").mkdir(exist_ok=True)
    m = net(1)
    case("one_layer", m, m.state_dict())
    m = net(2, num_layers=2, bidirectional=True)
    case("stacked", m, m.state_dict())
    m = net(3)
    case("legacy", m, m.state_dict(), _use_new_zipfile_serialization=False)
    m = net(4, proj_size=2, bias=False)
    case("projected", m, m.state_dict())
    # As Lightning keeps it, with the optimizer's state of as many tensors.
    m = Inside(net(5, num_layers=2))
    optimizer = torch.optim.Adam(m.parameters())
    m(torch.randn(4, 3, 3))[1].sum().backward()
    optimizer.step()
    saved = {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": m.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hyper_parameters": {"hidden": 5, "rate": 1e-3},
    }
    case("lightning", m, saved)
    # Compiled inside, wrapped outside, averaged.
    m = net(6)
    m.lstm = torch.compile(m.lstm)
    averaged = torch.optim.swa_utils.AveragedModel(nn.DataParallel(net(7)))
    state = averaged.state_dict()
    plain = net(6)
    saved = {"model": m.state_dict(), "step": 7}
    computed("compiled", plain)
    torch.save(saved, HERE / "pytorch" / "compiled.pth")
    computed("averaged", averaged.module.module)
    torch.save(state, HERE / "pytorch" / "averaged.pth")
    # Several dictionaries with an LSTM each.
    a, b = net(8), net(9)
    case("two", b, {"model": a.state_dict(), "ema": b.state_dict()})
    # Weights that are computed from others.
    m = net(10)
    m.lstm = nn.utils.weight_norm(m.lstm, "weight_hh_l0")
    nn.utils.weight_norm(m.fc, "weight", dim=None)
    case("weight_norm_old", m, m.state_dict())
    m = net(11)
    parametrizations.weight_norm(m.lstm, "weight_hh_l0")
    parametrizations.weight_norm(m.lstm, "weight_ih_l0", dim=1)
    case("weight_norm", m, m.state_dict())
    m = net(12)
    prune.l1_unstructured(m.lstm, "weight_hh_l0", 0.4)
    prune.random_unstructured(m.fc, "weight", 0.3)
    case("pruned", m, m.state_dict())
    m = net(13)
    nn.utils.spectral_norm(m.fc)
    parametrizations.spectral_norm(m.lstm, "weight_hh_l0")
    m.eval()
    case("spectral_norm", m, m.state_dict())
    m = net(14)
    parametrizations.orthogonal(m.lstm, "weight_hh_l0")
    torch.save(m.state_dict(), HERE / "pytorch" / "refused_orthogonal.pth")
    # As AWD-LSTM keeps it: the weight beside the module, in the module a copy of which some was dropped.
    m = net(15)
    state = m.state_dict()
    saved = {k.replace("lstm.", "rnns.0.module."): v for k, v in state.items()}
    saved["rnns.0.weight_hh_l0_raw"] = saved["rnns.0.module.weight_hh_l0"]
    saved["rnns.0.module.weight_hh_l0"] = saved["rnns.0.weight_hh_l0_raw"] * (torch.rand(20, 5) > 0.5)
    case("awd", m, saved)
    # Other types, views of one storage, a buffer of integers.
    for seed, kind in [(16, "half"), (17, "bfloat16"), (18, "double")]:
        m = getattr(net(seed), kind)()
        torch.save(m.state_dict(), HERE / "pytorch" / f"{kind}.pth")
        computed(kind, m.float())
    m = net(19)
    flat = torch.cat([p.detach().reshape(-1) for p in m.parameters()])
    saved, at = {}, 0
    for k, p in m.named_parameters():
        # One is a transpose.
        view = flat[at : at + p.numel()].view(p.shape)
        saved[k] = view.t().contiguous().t() if k == "fc.weight" else view
        at += p.numel()
    saved["bn.num_batches_tracked"] = torch.tensor(3)
    case("views", m, saved)
    # The module itself, whose classes a reader hasn't.
    m = net(20)
    case("whole", m, m)
    # A cell by itself.
    torch.manual_seed(21)
    cell = nn.LSTMCell(3, 5)
    x = torch.randn(4, 3, 3)
    h, c, ys = torch.zeros(3, 5), torch.zeros(3, 5), []
    with torch.no_grad():
        for x_t in x:
            h, c = cell(x_t, (h, c))
            ys.append(h)
    results["cell.x"], results["cell.y"] = x, torch.stack(ys)
    torch.save({"rnn." + k: v for k, v in cell.state_dict().items()}, HERE / "pytorch" / "cell.pth")
    # The same in the old format, which has no checksums.
    for name in ["lightning", "weight_norm", "two"]:
        saved = torch.load(HERE / "pytorch" / f"{name}.pth", weights_only=False)
        path = HERE / "pytorch" / f"legacy_{name}.pth"
        torch.save(saved, path, _use_new_zipfile_serialization=False)
    # What has no tensors to read.
    m = net(22)
    torch.save(
        torch.ao.quantization.quantize_dynamic(m, {nn.LSTM, nn.Linear}).state_dict(),
        HERE / "pytorch" / "refused_quantized.pth",
    )
    torch.jit.script(nn.LSTM(3, 5)).save(str(HERE / "pytorch" / "refused_script.pth"))
    torch.save({"conv.weight": torch.ones(2, 2)}, HERE / "pytorch" / "refused_without_lstm.pth")
    results_ = {k: v.clone() for k, v in results.items()}
    save_file(results_, HERE / "pytorch.safetensors", metadata={"torch": torch.__version__})


main()
