"""The goldens of the examples sequence_classification and sine; generate.py runs this.

Shapes, data, optimizers and losses are those of the programs that the examples retell. The models of
50 units are stored once each: nn.LSTM's, and one written by hand with tensors for each gate.
"""

import torch
from torch import nn

from files import save, under

SPACING = 10.0 / 99.0  # of linspace(0, 10, 100)
WINDOW = 20


class LastStep(nn.Module):
    """A linear layer on the outputs of nn.LSTM at the last timestep, batch first."""

    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, outputs)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


class LSTMByHand(nn.Module):
    """The second program, with what keeps it from running put right.

    There states are [T, H] instead of [B, H], and weights stand on the left, where they'd want
    columns; here x_t [B, I] and h [B, H] stand on the left of transposed weights.
    """

    def __init__(self, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        for gate in "ifCo":
            setattr(self, f"W_{gate}", nn.Parameter(torch.randn(hidden_size, 1)))
            setattr(self, f"U_{gate}", nn.Parameter(torch.randn(hidden_size, hidden_size)))
            setattr(self, f"b_{gate}", nn.Parameter(torch.zeros(hidden_size)))
        self.W_out = nn.Parameter(torch.randn(1, hidden_size))
        self.b_out = nn.Parameter(torch.zeros(1))

    def gate(self, name, x_t, h_t):
        w, u, b = (getattr(self, f"{letter}_{name}") for letter in "WUb")
        return x_t @ w.T + h_t @ u.T + b

    def forward(self, x):  # [B, T, 1]
        h_t = C_t = torch.zeros(x.shape[0], self.hidden_size)
        for x_t in x.unbind(1):
            i_t, f_t, o_t = (torch.sigmoid(self.gate(name, x_t, h_t)) for name in "ifo")
            C_t = f_t * C_t + i_t * torch.tanh(self.gate("C", x_t, h_t))
            h_t = o_t * torch.tanh(C_t)
        return h_t @ self.W_out.T + self.b_out


def train(model, loss, batches, rate=0.001, max_norm=None):
    """Adam, a step a batch; the losses before each step."""
    adam = torch.optim.Adam(model.parameters(), lr=rate)
    losses = []
    for batch in batches:
        adam.zero_grad()
        value = loss(model, batch)
        value.backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        adam.step()
        losses.append(value.item())
    return torch.tensor(losses)


def weights(model):
    return under("weights", {k: v.clone() for k, v in model.state_dict().items()})


def classification():
    """Logits of the untrained model; then twenty epochs over sixteen sequences, in a new order each."""
    torch.manual_seed(7000)
    model = LastStep(5, 8, 2)
    forward = torch.randn(3, 7, 5)
    x, y = torch.randn(16, 10, 5), torch.randint(0, 2, (16,))
    order = torch.stack([torch.randperm(16) for _ in range(20)])
    out = weights(model) | {"forward": forward, "logits": model(forward), "x": x, "y": y, "order": order}

    def loss(model, rows):
        return nn.functional.cross_entropy(model(x[rows]), y[rows])

    out["losses"] = train(model, loss, order)
    trained = model(x)
    margin = (trained[:, 0] - trained[:, 1]).abs().min()
    assert margin > 1e-3, "no class hangs on a rounding error"
    return out | {"trained": trained, "final_loss": loss(model, slice(None)).reshape(1)}


def memory():
    """Ten steps of the task whose class is shown at the first of fifty timesteps, eight rows a batch."""
    torch.manual_seed(7003)
    model = LastStep(4, 16, 4)
    with torch.no_grad():
        model.lstm.bias_ih_l0[16:32] = 5.0
        model.lstm.bias_hh_l0[16:32] = 0.0
    y = torch.randint(0, 4, (80,))
    x = 0.5 * torch.randn(80, 50, 4)
    x[torch.arange(80), 0, y] += 3.0
    order = torch.randperm(80)
    out = weights(model) | {"x": x, "y": y, "order": order}

    def loss(model, rows):
        return nn.functional.cross_entropy(model(x[rows]), y[rows])

    out["losses"] = train(model, loss, order.split(8), rate=0.01, max_norm=1.0)
    return out | {"final_loss": loss(model, slice(None)).reshape(1)}


def sine():
    """Windows of a noisy sine, twenty epochs in one order: losses, and the RMSE on later windows."""
    torch.manual_seed(7001)
    series = torch.sin(torch.arange(300) * SPACING) + 0.1 * torch.randn(300)
    model = LastStep(1, 50, 1)
    every = series.unfold(0, WINDOW + 1, 1)  # [280, 21]
    x, y = every[:, :WINDOW, None], every[:, WINDOW:]
    seen, unseen = slice(0, 180), slice(200, 280)
    order = torch.randperm(180)
    out = weights(model) | {"series": series, "order": order}

    def loss(model, rows):
        return nn.functional.mse_loss(model(x[seen][rows]), y[seen][rows])

    out["losses"] = train(model, loss, order.split(16) * 20)
    prediction = model(x[unseen])
    rmse = (prediction - y[unseen]).square().mean().sqrt().reshape(1)
    return out | {"prediction": prediction, "rmse": rmse}, loss, order


def as_written(golden):
    """The first program as it is: (100, 1, 1) as one sequence, and its one output against 100 targets."""
    model = LastStep(1, 50, 1)
    model.load_state_dict({k.removeprefix("weights."): v for k, v in golden.items() if "weights." in k})
    x = (torch.arange(100) * SPACING).reshape(1, 100, 1)
    y = golden["series"][:100].reshape(100, 1)

    def loss(model, _):
        output = model(x)
        assert output.shape == (1, 1)
        # As broadcasting does, without its warning.
        return nn.functional.mse_loss(output.expand(100, 1), y)

    losses = train(model, loss, range(200))
    return {"losses": losses, "prediction": model(x)}


def by_hand(loss, order):
    """The second program on the windows: its first loss, and two epochs with a quarter of its weights.

    With normal weights and 50 units a rounding error grows several times over from step to step: in
    double precision the fifth loss is 1.5e-4 away from this one, and the tenth 4e-2. A quarter of the
    weights of the gates, which is exact, is a model in which ten losses say something; there the two
    precisions are within 2e-6.
    """
    torch.manual_seed(7002)
    model = LSTMByHand(50)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    first = train(model, loss, order.split(16)[:1])
    quarter = {k: 0.25 * v if k[0] in "WU" and k != "W_out" else v for k, v in start.items()}
    model.load_state_dict(quarter)
    losses = train(model, loss, order.split(16) * 2)
    return under("weights", start) | {"first_loss": first, "losses": losses}


def sequences():
    """All of the above, in one file."""
    golden, loss, order = sine()
    parts = {
        "classification": classification(), "memory": memory(), "sine": golden, "as_written": as_written(golden),
        "by_hand": by_hand(loss, order),
    }
    save("sequences", {k: v for name, part in parts.items() for k, v in under(name, part).items()})
