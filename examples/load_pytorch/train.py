"""Trains a small classifier of waves with PyTorch and saves it that the example loads.

    python3 -m venv env && env/bin/pip install torch==2.15.0 safetensors==0.8.0 numpy==2.4.6
    env/bin/python examples/load_pytorch/train.py

Beside the weights the file holds six waves and what the model makes of them, to compare with.
"""

import math
import pathlib

import torch
from safetensors.torch import save_file
from torch import nn

STEPS, CHANNELS, CLASSES = 20, 4, 3


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(CHANNELS, 16, num_layers=2, bidirectional=True, batch_first=True, dropout=0.1)
        self.fc = nn.Linear(32, CLASSES)

    def forward(self, x):  # [B, T, channels]
        out, _ = self.lstm(x)
        return self.fc(out[:, -1])


def waves(count):
    """Noisy waves [count, T, channels], each channel a quarter period on, and which kind each is."""
    kind = torch.randint(CLASSES, (count,))
    time = torch.arange(STEPS).reshape(STEPS, 1) / 10.0 + torch.arange(CHANNELS) / 4.0  # in periods
    time = time + torch.rand(count, 1, 1)
    sine = torch.sin(2.0 * math.pi * time)
    sawtooth = 2.0 * (time % 1.0) - 1.0
    clean = torch.stack([sine, sine.sign(), sawtooth])[kind, torch.arange(count)]
    return clean + 0.3 * torch.randn(clean.shape), kind


torch.manual_seed(0)
model = Classifier()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(150):
    x, kind = waves(64)
    loss = nn.functional.cross_entropy(model(x), kind)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

model.eval()
with torch.no_grad():
    x, kind = waves(1000)
    accuracy = (model(x).argmax(1) == kind).float().mean().item()
    print(f"{accuracy:.1%} of 1000 new waves are classified correctly")

    x, _ = waves(6)
    example = {"example.input": x, "example.lstm_output": model.lstm(x)[0], "example.output": model(x)}
tensors = {k: v.contiguous() for k, v in (model.state_dict() | example).items()}
save_file(tensors, pathlib.Path(__file__).parent / "model.safetensors")
