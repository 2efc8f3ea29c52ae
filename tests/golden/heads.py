"""Models with heads of several modules, stacks of two sizes, tied weights and a padding token."""

import safetensors.torch
import torch
from torch import nn

from files import FOLDER, save, under


class Classifier(nn.Module):
    """Two LSTMs of different sizes and a head in a Sequential."""

    def __init__(self):
        super().__init__()
        self.lower = nn.LSTM(3, 6, batch_first=True)
        self.upper = nn.LSTM(6, 4, num_layers=2, batch_first=True)
        self.out = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 7, bias=False), nn.SiLU(), nn.Linear(7, 5))

    def forward(self, x):
        y, _ = self.upper(self.lower(x)[0])
        return self.out(y[:, -1])


class Language(nn.Module):
    """A decoder that is its embedding, over tokens of which one fills rows up."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 4, padding_idx=2)
        self.rnn = nn.LSTM(4, 4, batch_first=True)
        self.decoder = nn.Linear(4, 9)
        self.decoder.weight = self.words.weight

    def forward(self, tokens):
        return self.decoder(self.rnn(self.words(tokens))[0])


def step(model, x, target):
    """What a model gives, and its parameters after a step of gradient descent with a rate of 1."""
    y = model(x)
    loss = nn.functional.cross_entropy(y.reshape(-1, y.shape[-1]), target.reshape(-1))
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    out = {"x": x, "target": target, "y": y, "loss": loss.reshape(1)}
    return out | under("after", model.state_dict())


def heads():
    """Files as safetensors' own tools write them, and what the models give."""
    torch.manual_seed(4000)
    classifier = Classifier().eval()  # without dropout
    safetensors.torch.save_model(classifier, FOLDER / "classifier.safetensors")
    x, target = torch.randn(6, 5, 3), torch.randint(5, (6,))
    save("classifier_results", step(classifier, x, target))

    language = Language()
    # Of two names of one tensor it keeps one, and says so in the metadata.
    safetensors.torch.save_model(language, FOLDER / "language.safetensors")
    tokens, target = torch.randint(9, (4, 7)), torch.randint(9, (4, 7))
    tokens[1, 3:] = 2
    save("language_results", step(language, tokens, target))
