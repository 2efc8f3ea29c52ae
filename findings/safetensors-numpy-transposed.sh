#!/usr/bin/env bash
# safetensors 0.8.0 (PyPI), numpy 2.4.6: safetensors.numpy.save_file and save take an array that isn't contiguous, such
# as a transposed one, without a word, and write its memory as it lies under the shape of the view. What is loaded has
# the right shape and the numbers in other places. An LSTM's kernel turned from [I, 4H] to [4H, I] with `.T` is such an
# array, and a square one, as of I = H, shows it by no shape either. safetensors.torch.save_file raises an error for
# the same. numpy.ascontiguousarray before saving mends it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import pathlib
import sys

import numpy as np
from safetensors.numpy import load, load_file, save, save_file

path = pathlib.Path(sys.argv[1]) / "turned.safetensors"
kernel = np.arange(8, dtype=np.float32).reshape(2, 4)
turned = kernel.T
save_file({"weight": turned}, path)
came_back = load_file(path)["weight"]
from_bytes = load(save({"weight": turned}))["weight"]
mended = load(save({"weight": np.ascontiguousarray(turned)}))["weight"]
print("saved ", turned.tolist())
print("loaded", came_back.tolist())
print("loaded from a contiguous copy", mended.tolist())
as_seen = (
    came_back.shape == turned.shape
    and np.array_equal(came_back.ravel(), kernel.ravel())
    and np.array_equal(from_bytes, came_back)
    and np.array_equal(mended, turned)
)
sys.exit(0 if as_seen else "it isn't so any more")
PYTHON
