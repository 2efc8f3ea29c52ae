#!/usr/bin/env bash
# Runs the ONNX models that `export::onnx` writes in ONNX Runtime, beside what the models compute here. It takes
# python3 and 100 MB of packages; the suite reads the same files again without.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
GATEFOLD_WRITTEN=$folder cargo test --locked --quiet --test cpu -- --ignored export::write_for_onnx_runtime
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 safetensors==0.8.0 numpy==2.4.6
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

folder = pathlib.Path(sys.argv[1])
results = load_file(folder / "results.safetensors")
worst, wrong = 0.0, []
models = sorted(folder.glob("*.onnx"))
for path in models:
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x, y = results[f"{path.stem}.x"], results[f"{path.stem}.y"]
    given, *states = session.get_inputs()
    assert {"batch", "time"} <= set(given.shape), given.shape
    x = x.astype(np.int64) if given.name == "tokens" else x
    zeros = {state.name: np.zeros((state.shape[0], len(x), state.shape[2]), np.float32) for state in states}
    out, *rest = session.run(None, {given.name: x, **zeros})
    assert len(rest) == len(states)
    apart = float(np.abs(out - y).max()) if out.shape == y.shape else float("inf")
    worst = max(worst, apart)
    print(f"{path.stem:10} {list(out.shape)!s:12} {apart:.1e} apart")
    if apart > 1e-6:
        wrong.append(path.stem)
print(f"{len(models)} models, {worst:.1e} apart at most")
if wrong or not models:
    sys.exit(f"more than 1e-6 apart: {wrong}")
PYTHON
