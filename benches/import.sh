#!/usr/bin/env bash
# How long it takes to open a model of 100 MB, beside the library that has written it, on the same file in one run:
# seconds, and of ours the memory at most, in times of the weights. It takes python3 and two GB of packages.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${GATEFOLD_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/env"
    python=$folder/env/bin/python
    "$python" -m pip install --quiet torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 keras==3.15.0 h5py==3.16.0 numpy==2.4.6
fi
cargo build --locked --quiet --example convert
KERAS_BACKEND=torch "$python" - "$folder" target/debug/examples/convert <<'PYTHON' 2>/dev/null
import pathlib
import re
import statistics
import subprocess
import sys
import time

import keras
import onnx
import torch
from torch import nn

folder, convert = pathlib.Path(sys.argv[1]), sys.argv[2]
INPUTS, HIDDEN, TIMES = 1024, 2048, 5


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(INPUTS, HIDDEN, batch_first=True)
        self.fc = nn.Linear(HIDDEN, 1)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


net, x = Net().eval(), torch.randn(2, 3, INPUTS)
weights = sum(p.numel() * 4 for p in net.parameters())
torch.save(net.state_dict(), folder / "model.pth")
program = torch.onnx.export(net, (x,), dynamo=True, verbose=False)
program.save(str(folder / "model.onnx"))
program.save(str(folder / "whole.onnx"), external_data=False)
keras.Sequential([keras.Input((None, INPUTS)), keras.layers.LSTM(HIDDEN), keras.layers.Dense(1)]).save(folder / "model.keras")


def median(call):
    times = []
    for _ in range(TIMES):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


peers = {
    "model.pth": ("torch.load", lambda path: torch.load(path)),
    "model.onnx": ("onnx.load, data beside", lambda path: onnx.load(path)),
    "whole.onnx": ("onnx.load, data within", lambda path: onnx.load(path)),
    "model.keras": ("keras load_model", lambda path: keras.models.load_model(path)),
}
print(f"{weights / 1e6:.1f} MB of weights, {TIMES} times each, seconds in the median")
print("| file | peer | its time | ours | ratio | ours at most, times the weights |")
print("|---|---|--:|--:|--:|--:|")
for name, (peer, call) in peers.items():
    path = folder / name
    theirs = median(lambda: call(path))
    ours = float(subprocess.check_output([convert, str(path), "--times", str(TIMES)]))
    again = subprocess.run(["/usr/bin/env", "python3", "-c", """
import resource, subprocess, sys
subprocess.check_call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
""", convert, str(path), "--times", "1"], capture_output=True, text=True, check=True)
    print(f"| {name} | {peer} | {theirs:.4f} | {ours:.4f} | {ours / theirs:.2f} | {int(again.stdout) / weights:.2f} |")
PYTHON
