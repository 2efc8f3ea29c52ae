"""The goldens of the programs that write an LSTM by hand; generate.py runs this.

A cell of per-gate parameters in PyTorch, trained on two companies, and a cell in NumPy.
"""

import numpy
import torch
from torch import nn

from files import save, under

COMPANIES = torch.tensor([[0.0, 0.5, 0.25, 1.0], [1.0, 0.5, 0.25, 1.0]])
FIFTH_DAY = torch.tensor([[0.0], [1.0]])


class LSTMbyHand(nn.Module):
    """Normal weights, zero biases, one bias a gate; the last hidden state is the prediction."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        for gate in ("f", "i", "C", "o"):
            setattr(self, f"W_{gate}", nn.Parameter(torch.randn(hidden_size, input_size)))
            setattr(self, f"U_{gate}", nn.Parameter(torch.randn(hidden_size, hidden_size)))
            setattr(self, f"b_{gate}", nn.Parameter(torch.zeros(hidden_size)))

    def forward(self, x):  # [T, I]
        h, c = torch.zeros(self.hidden_size), torch.zeros(self.hidden_size)
        for x_t in x:
            f = torch.sigmoid(self.W_f @ x_t + self.U_f @ h + self.b_f)
            i = torch.sigmoid(self.W_i @ x_t + self.U_i @ h + self.b_i)
            candidate = torch.tanh(self.W_C @ x_t + self.U_C @ h + self.b_C)
            c = f * c + i * candidate
            o = torch.sigmoid(self.W_o @ x_t + self.U_o @ h + self.b_o)
            h = o * torch.tanh(c)
        return h


def trained(seed, steps, input_size, order):
    """500 epochs over the four days as so many timesteps; the companies in the order given."""
    torch.manual_seed(seed)
    lstm = LSTMbyHand(input_size, 1)
    x = COMPANIES.reshape(2, steps, input_size)
    out = {"x": x, "y": FIFTH_DAY, "order": torch.tensor(order)}
    out |= under("weights", {k: p.clone() for k, p in lstm.named_parameters()})
    out["untrained"] = torch.stack([lstm(row) for row in x])
    optimizer, losses = torch.optim.Adam(lstm.parameters(), lr=0.01), []
    for _ in range(500):
        for row in order:
            loss = nn.functional.mse_loss(lstm(x[row]), FIFTH_DAY[row])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    predictions = torch.stack([lstm(row) for row in x])
    return out | {"losses": torch.tensor(losses[:10]), "predictions": predictions}


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


class LSTM:
    """The cell in NumPy, which keeps its states."""

    def __init__(self, arrays):
        self.__dict__.update(arrays)
        self.h_prev = self.c_prev = numpy.zeros_like(self.bf)

    def forward(self, x):
        f = sigmoid(numpy.dot(x, self.Wf) + numpy.dot(self.h_prev, self.Uf) + self.bf)
        i = sigmoid(numpy.dot(x, self.Wi) + numpy.dot(self.h_prev, self.Ui) + self.bi)
        c_hat = numpy.tanh(numpy.dot(x, self.Wc) + numpy.dot(self.h_prev, self.Uc) + self.bc)
        c = f * self.c_prev + i * c_hat
        o = sigmoid(numpy.dot(x, self.Wo) + numpy.dot(self.h_prev, self.Uo) + self.bo)
        h = o * numpy.tanh(c)
        self.c_prev, self.h_prev = c, h
        return h, c


def stateful(scale):
    """Five timesteps of a cell, in double precision from arrays that f32 can hold."""
    random, (inputs, hidden) = numpy.random.RandomState(7), (3, 4)
    arrays = {}
    for gate in "fico":
        arrays[f"W{gate}"] = random.randn(inputs, hidden) * scale
        arrays[f"U{gate}"] = random.randn(hidden, hidden) * scale
        arrays[f"b{gate}"] = numpy.zeros((1, hidden))
    arrays["x"] = random.randn(5, inputs)
    arrays = {k: v.astype(numpy.float32).astype(numpy.float64) for k, v in arrays.items()}
    lstm = LSTM(arrays)
    states = [lstm.forward(x_t.reshape(1, inputs)) for x_t in arrays["x"]]
    arrays |= {"h": numpy.concatenate([h for h, _ in states]), "c": numpy.concatenate([c for _, c in states])}
    return {k: torch.from_numpy(v) for k, v in arrays.items()}


def by_hand():
    """All of the above. Weights of 0.01 leave the gates at 0.5, so there are larger ones as well."""
    cases = {
        "features": trained(0, 1, 4, [0, 1]), "steps": trained(1, 4, 1, [1, 0]),
        "small": stateful(0.01), "large": stateful(1.0),
    }
    save("by_hand", {k: v for name, case in cases.items() for k, v in under(name, case).items()})
