"""The goldens of the training toolbox; generate.py runs this.

Losses, optimizers, schedules, clipping, embedding, and whole training runs.
"""

import functools
import itertools

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.optim import lr_scheduler

from files import save, under

LENGTHS = torch.tensor([3, 5, 1, 4])


def inside(lengths, steps):
    """Which steps [B, T] are inside the lengths."""
    return torch.arange(steps) < lengths[:, None]


def loss_case(loss, prediction, target, select=lambda v: v):
    """A loss's mean and sum over what is selected, and the gradients of both."""
    out = {"prediction": prediction, "target": target}
    for reduction in ("mean", "sum"):
        p = prediction.clone().requires_grad_()
        value = loss(select(p), select(target), reduction=reduction)
        value.backward()
        out |= {reduction: value.reshape(1), f"grad_{reduction}": p.grad}
    return out


def regressions():
    """Differences from 0.01 to 5 about every loss's threshold, some of them zero."""
    torch.manual_seed(5000)
    prediction = torch.randn(5, 3)
    difference = torch.randn(15) * torch.logspace(-2.0, 0.7, 15)[torch.randperm(15)]
    difference[[2, 7, 8]] = 0.0
    target = prediction - difference.reshape(5, 3)
    losses = {"mse": functional.mse_loss, "l1": functional.l1_loss}
    for delta in (0.7, 1.0):
        losses[f"huber_{delta}"] = functools.partial(functional.huber_loss, delta=delta)
    for beta in (0.1, 0.7, 1.0):
        losses[f"smooth_l1_{beta}"] = functools.partial(functional.smooth_l1_loss, beta=beta)
    return {name: loss_case(loss, prediction, target) for name, loss in losses.items()}


def binaries():
    """Logits of ordinary size, and ones at which a sigmoid is 0 or 1 in single precision."""
    torch.manual_seed(5001)
    loss = functional.binary_cross_entropy_with_logits
    ordinary, extreme = 2.0 * torch.randn(5, 3), torch.randn(5, 3)
    targets = torch.rand(5, 3)
    ordinary[0], targets[0] = torch.tensor([0.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.3])
    ordinary[1], targets[1] = torch.tensor([30.0, -30.0, 30.0]), torch.tensor([1.0, 0.0, 0.3])
    extreme[:] = torch.tensor([[1e4], [-1e4], [30.0], [-30.0], [0.0]])
    ends = torch.tensor([0.0, 1.0, 0.25]).expand(5, 3)
    return {"bce": loss_case(loss, ordinary, targets), "bce_extreme": loss_case(loss, extreme, ends)}


def cross_entropies():
    """Every combination of weights, smoothing and an ignored class; great logits; many classes."""
    torch.manual_seed(5002)
    loss, out = functional.cross_entropy, {}
    prediction, target = 2.0 * torch.randn(9, 7), torch.tensor([3, 0, 6, 3, 1, 2, 4, 5, 0])
    weights = 0.5 + torch.rand(7)
    for weighted, smoothing, ignored in itertools.product((False, True), (0.0, 0.1), (-100, 3)):
        flags = {"weights": weighted, "smoothing": smoothing > 0.0, "ignore": ignored == 3}
        name = "_".join(["ce", *(k for k, v in flags.items() if v)])
        options = {"weight": weights if weighted else None, "label_smoothing": smoothing}
        case = functools.partial(loss, ignore_index=ignored, **options)
        out[name] = loss_case(case, prediction, target) | ({"class_weights": weights} if weighted else {})

    extreme = 1e4 * torch.randint(-1, 2, (9, 7)).float()
    out["ce_extreme"] = loss_case(loss, extreme, target)
    smoothed = functools.partial(loss, label_smoothing=0.1)
    out["ce_extreme_smoothing"] = loss_case(smoothed, extreme, target)
    out["ce_many"] = loss_case(loss, 2.0 * torch.randn(3, 1200), torch.tensor([0, 1199, 700]))
    return out


def lengths_cases():
    """Losses of every step [B, T, ...] inside the lengths; the steps past them have targets as well."""
    torch.manual_seed(5003)
    valid = inside(LENGTHS, 5)

    def select(v):
        return v[valid]

    squares = loss_case(functional.mse_loss, torch.randn(4, 5, 2), torch.randn(4, 5, 2), select)
    classes = loss_case(functional.cross_entropy, torch.randn(4, 5, 6), torch.randint(6, (4, 5)), select)
    return {"mse_lengths": squares | {"lengths": LENGTHS}, "ce_lengths": classes | {"lengths": LENGTHS}}


def losses():
    """Losses of predictions: their means, their sums, and the gradients of both."""
    cases = regressions() | binaries() | cross_entropies() | lengths_cases()
    save("losses", {k: v for name, case in cases.items() for k, v in under(name, case).items()})


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.003}),
    "sgd_momentum": (torch.optim.SGD, {"lr": 0.003, "momentum": 0.9}),
    "sgd_dampening": (
        torch.optim.SGD, {"lr": 0.003, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05},
    ),
    "sgd_nesterov": (
        torch.optim.SGD, {"lr": 0.003, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
    "adamw": (torch.optim.AdamW, {"lr": 0.003, "betas": (0.8, 0.99), "eps": 1e-7, "weight_decay": 0.1}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.003}),
    "rmsprop_momentum": (
        torch.optim.RMSprop, {"lr": 0.001, "alpha": 0.9, "momentum": 0.8, "weight_decay": 0.05},
    ),
    "rmsprop_centered": (torch.optim.RMSprop, {"lr": 0.001, "centered": True, "momentum": 0.8}),
}


def updates(kind, options, p, gradients):
    """The parameters after each step."""
    p = p.clone().requires_grad_()
    optimizer, after = kind([p], foreach=False, **options), []
    for g in gradients:
        p.grad = g.clone()
        optimizer.step()
        after.append(p.detach().clone())
    return torch.stack(after)


def optimizers():
    """Ten steps of each optimizer from stored gradients, by parameters that stay away from zero."""
    torch.manual_seed(5100)
    magnitudes = torch.logspace(-6, 2, 300)
    p = torch.randn(300)
    p = p.sign() * (0.3 + p.abs()) * magnitudes.clamp(min=1.0)
    gradients = torch.randn(10, 300) * magnitudes
    out = {"p": p, "gradients": gradients}
    for name, (kind, options) in OPTIMIZERS.items():
        after = updates(kind, options, p, gradients)
        torch.testing.assert_close(
            after.double(), updates(kind, options, p.double(), gradients.double()), rtol=1e-6, atol=0.0
        )
        out[f"{name}.after"] = after
    save("optimizers", out)


def warm_cosine(optimizer, warm, total):
    """Up to the rate in `warm` steps, then down to a hundredth of it along half a cosine."""
    lr = optimizer.param_groups[0]["lr"]
    if warm == 0:
        return lr_scheduler.CosineAnnealingLR(optimizer, total, eta_min=0.01 * lr)
    up = lr_scheduler.LinearLR(optimizer, 1.0 / (warm + 1), 1.0, warm)
    down = lr_scheduler.CosineAnnealingLR(optimizer, total - warm, eta_min=0.01 * lr)
    return lr_scheduler.SequentialLR(optimizer, [up, down], [warm])


def rates(schedule, calls):
    """The rate of every optimizer step, the schedule being stepped after each."""
    optimizer, out = torch.optim.SGD([torch.zeros(1)], lr=0.1), []
    scheduler = schedule(optimizer)
    for _ in range(calls):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return torch.tensor(out, dtype=torch.float64)


def plateau(metrics):
    """The rate after each metric."""
    optimizer, out = torch.optim.SGD([torch.zeros(1)], lr=0.1), []
    scheduler = lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=3, threshold=1e-4, cooldown=2, min_lr=0.004
    )
    for metric in metrics.tolist():
        border = scheduler.best * (1.0 - 1e-4)
        assert not abs(metric - border) < 1e-5 * border, "no decision hangs on a rounding"
        scheduler.step(metric)
        out.append(optimizer.param_groups[0]["lr"])
    return torch.tensor(out, dtype=torch.float64)


def schedules():
    """Rates from 0.1 on."""
    torch.manual_seed(5200)
    falls = 1.0 + torch.exp(-torch.arange(60) / 6.0)  # slower and slower
    metrics = falls + 0.03 * torch.randn(60)
    metrics[14:20] = metrics[:14].min() * (1.0 - torch.linspace(1e-5, 7e-5, 6))  # better by too little
    metrics[24] = torch.nan
    metrics[36:39] = 0.9 - 0.01 * torch.arange(3)
    save("schedules", {
        "step": rates(lambda optimizer: lr_scheduler.StepLR(optimizer, 7, 0.3), 60),
        "warm_cosine_5": rates(lambda optimizer: warm_cosine(optimizer, 5, 40), 40),
        "warm_cosine_0": rates(lambda optimizer: warm_cosine(optimizer, 0, 40), 40),
        "plateau.metrics": metrics,
        "plateau": plateau(metrics),
    })


def clipping():
    """Gradients clipped by their norm, above and below the limit, and by value."""
    torch.manual_seed(5300)
    gradients = {"a": torch.randn(4, 3), "b": 0.2 * torch.randn(7)}
    out = under("grad", gradients)
    clips = {
        "norm_1": lambda p: nn.utils.clip_grad_norm_(p, 1.0),
        "norm_100": lambda p: nn.utils.clip_grad_norm_(p, 100.0),
        "value_0.1": lambda p: nn.utils.clip_grad_value_(p, 0.1),
    }
    for name, clip in clips.items():
        parameters = {k: nn.Parameter(torch.zeros_like(g)) for k, g in gradients.items()}
        for k, p in parameters.items():
            p.grad = gradients[k].clone()
        norm = clip(parameters.values())
        if norm is not None:
            out["norm"] = norm.reshape(1)
        out |= under(name, {k: p.grad for k, p in parameters.items()})
    save("clipping", out)


def embedding():
    """An embedding and its gradient, one token unused; probabilities and classes of logits."""
    torch.manual_seed(5400)
    module = nn.Embedding(7, 3)
    tokens = torch.randint(6, (4, 5))
    tokens[tokens == 2] = 6
    y = module(tokens)
    dy = torch.randn(y.shape)
    y.backward(dy)
    logits = 2.0 * torch.randn(4, 6)
    logits[2, [1, 4]] = 5.0  # the first of equals
    logits[3] = torch.tensor([-1e4, 1e4, 0.0, 1e4 - 1.0, -30.0, 30.0])
    save("embedding", {
        "weight": module.weight, "tokens": tokens, "y": y, "dy": dy, "grad.weight": module.weight.grad,
        "logits": logits, "softmax": logits.softmax(1), "log_softmax": logits.log_softmax(1),
        "argmax": logits.argmax(1),
    })


class Model(nn.Module):
    """An LSTM, batch first, with a head on every step; before it an embedding if there are tokens."""

    def __init__(self, inputs, hidden, outputs, layers=1, bidirectional=False, tokens=0):
        super().__init__()
        if tokens:
            self.embedding = nn.Embedding(tokens, inputs)
        self.lstm = nn.LSTM(inputs, hidden, layers, batch_first=True, bidirectional=bidirectional)
        self.fc = nn.Linear((1 + bidirectional) * hidden, outputs)
        with torch.no_grad():
            for p in self.parameters():
                p.mul_(3.0)  # so that gates saturate and gradients are clipped

    def forward(self, x, lengths=None):
        x = self.embedding(x) if hasattr(self, "embedding") else x
        if lengths is None:
            return self.fc(self.lstm(x)[0])
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        return self.fc(y)

    def trainable(self):
        return [p for p in self.parameters() if p.requires_grad]


def fit(model, optimizer, batches, loss, clip=None, scheduler=None):
    """An optimizer step a batch: weights before and after, losses, norms and rates if there are any."""
    out = under("weights", {k: v.clone() for k, v in model.state_dict().items()})
    found = {"losses": [], "norms": [], "rates": []}
    for batch in batches:
        optimizer.zero_grad()
        value = loss(batch)
        value.backward()
        norm = clip(model.trainable()) if clip else None
        if norm is not None:
            found["norms"].append(norm.item())
        if scheduler:
            found["rates"].append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler:
            scheduler.step()
        found["losses"].append(value.item())
    out |= {k: torch.tensor(v) for k, v in found.items() if v}
    return out | under("trained", model.state_dict())


def sequences_with_lengths(rows, steps):
    """Lengths from 1 to all steps, both of them there."""
    lengths = torch.randint(1, steps + 1, (rows,))
    lengths[3], lengths[8] = steps, 1
    return lengths


def classes_last(accumulate):
    """Classes of sequences; or the same by Adam, three batches' rows to an optimizer step."""
    torch.manual_seed(6000)
    model = Model(3, 7, 4)
    data = {"x": torch.randn(24, 6, 3), "y": torch.randint(4, (24,)), "order": torch.randperm(24)}
    weights = 0.5 + torch.rand(4)

    def loss(rows):
        return functional.cross_entropy(
            model(data["x"][rows])[:, -1], data["y"][rows], weight=weights, label_smoothing=0.1
        )

    if accumulate:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    batches = data["order"].split(15 if accumulate else 5) * 2
    return under("data", data) | {"class_weights": weights} | fit(model, optimizer, batches, loss)


def classes_every_step():
    """Classes of every step of token sequences with lengths; decay for weights only; a clipped norm."""
    torch.manual_seed(6001)
    model, steps = Model(4, 6, 5, layers=2, tokens=11), 7
    lengths = sequences_with_lengths(24, steps)
    valid = inside(lengths, steps)
    data = {
        "x": torch.randint(11, (24, steps)).where(valid, 0),
        "y": torch.randint(5, (24, steps)).where(valid, -100),
        "lengths": lengths, "order": torch.randperm(24),
    }

    def loss(rows):
        logits = model(data["x"][rows], lengths[rows])
        return functional.cross_entropy(logits.flatten(0, 1), data["y"][rows].flatten())

    named = [*model.named_parameters()]
    optimizer = torch.optim.AdamW([
        {"params": [p for k, p in named if "bias" not in k], "weight_decay": 0.1},
        {"params": [p for k, p in named if "bias" in k], "weight_decay": 0.0},
    ], lr=0.01)
    clip = functools.partial(nn.utils.clip_grad_norm_, max_norm=0.25)
    out = fit(model, optimizer, data["order"].split(5) * 2, loss, clip)
    assert (out["norms"] > 0.25).sum() > 5, "most steps clip"
    return under("data", data) | out


def values_every_step():
    """Values of every step; a frozen matrix, clipped gradients, a rate that changes every step."""
    torch.manual_seed(6002)
    model = Model(3, 6, 2)
    model.lstm.weight_hh_l0.requires_grad_(False)
    x = 2.0 * torch.randn(24, 8, 3)
    y = x[:, :, :2] + x[:, :, 1:].cumsum(1)  # something to learn, so that gradients are clipped
    data = {"x": x, "y": y, "order": torch.randperm(24)}

    def loss(rows):
        return functional.huber_loss(model(data["x"][rows]), data["y"][rows], delta=0.7)

    optimizer = torch.optim.RMSprop(model.trainable(), lr=0.005, momentum=0.5)
    clip = functools.partial(nn.utils.clip_grad_value_, clip_value=0.02)
    batches, scheduler = data["order"].split(5) * 2, warm_cosine(optimizer, 3, 10)
    return under("data", data) | fit(model, optimizer, batches, loss, clip, scheduler)


def binary_last_lengths():
    """Two classes of sequences with lengths, from both directions' outputs at the last valid step."""
    torch.manual_seed(6003)
    model, steps = Model(2, 6, 1, bidirectional=True), 7
    lengths = sequences_with_lengths(24, steps)
    x = torch.randn(24, steps, 2) * inside(lengths, steps)[:, :, None]
    y = torch.randint(2, (24, 1)).float()
    data = {"x": x, "y": y, "lengths": lengths, "order": torch.randperm(24)}

    def loss(rows):
        every = model(x[rows], lengths[rows])
        last = every[torch.arange(len(rows)), lengths[rows] - 1]
        return functional.binary_cross_entropy_with_logits(last, y[rows])

    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return under("data", data) | fit(model, optimizer, data["order"].split(5) * 2, loss)


def tbptt(lengths=None):
    """Long sequences by chunks of five steps, the state carried on but no gradient through it."""
    torch.manual_seed(6004)
    model, steps = Model(3, 7, 2), 24
    data = {"x": torch.randn(4, steps, 3), "y": torch.randn(4, steps, 2)}
    valid = inside(torch.tensor(lengths or [steps] * 4), steps)
    state = None

    def loss(chunk):
        nonlocal state
        state = tuple(v.detach() for v in state) if chunk[0] > 0 else None
        y, state = model.lstm(data["x"][:, chunk], state)
        kept = valid[:, chunk]
        return functional.mse_loss(model.fc(y)[kept], data["y"][:, chunk][kept])

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    out = under("data", data | ({"lengths": torch.tensor(lengths)} if lengths else {}))
    return out | fit(model, optimizer, torch.arange(steps).split(5) * 2, loss)


def training_runs():
    """Whole training runs of two epochs over batches of at most five rows, in one order."""
    runs = {
        "classes_last": classes_last(accumulate=False),
        "classes_every_step": classes_every_step(),
        "values_every_step": values_every_step(),
        "binary_last_lengths": binary_last_lengths(),
        "tbptt": tbptt(),
        "tbptt_lengths": tbptt([24, 7, 15, 11]),
        "accumulate": classes_last(accumulate=True),
    }
    save("training_runs", {k: v for name, run in runs.items() for k, v in under(name, run).items()})


def training():
    """All of the above."""
    losses()
    optimizers()
    schedules()
    clipping()
    embedding()
    training_runs()
