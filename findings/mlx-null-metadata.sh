#!/usr/bin/env bash
# PyPI mlx[cpu] 0.32.4, beside safetensors 0.8.0.
#
# The safetensors files that MLX's save_weights and save_safetensors write hold "__metadata__": null, where the format
# has an object of strings or no such key, so a reader that takes it for an object stumbles. And the header isn't
# padded: the f32 begin at whatever byte it ends, which is a multiple of 4 by luck alone and changes with the length of
# a layer's name. A file that is mapped can't be read in place as f32 then, where alignment counts (a Float32Array over
# the buffer in JavaScript, a slice of f32 in Rust). The safetensors library writes the same arrays without the key and
# pads its header to 8 bytes. Either library reads the other's file.
#
# Needs Python 3.11 or newer with venv and pip, on Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet "mlx[cpu]==0.32.4" safetensors==0.8.0 numpy==2.4.6
cat >metadata.py <<'PYTHON'
import json
import pathlib
import struct

import mlx.core as mx
import mlx.nn as nn
import numpy
from safetensors.numpy import load_file, save_file


class Model(nn.Module):
    def __init__(self, name):
        super().__init__()
        setattr(self, name, nn.LSTM(2, 3))


def header(path):
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), 8 + length


begins = []
for name in ("a", "ab", "abc", "abcd"):
    model = Model(name)
    model.save_weights("mlx.safetensors")
    entries, start = header("mlx.safetensors")
    begins.append(start % 4)
    arrays = load_file("mlx.safetensors")
    save_file(arrays, "other.safetensors")
    other_entries, other_start = header("other.safetensors")
    print(
        f"{name}: MLX's __metadata__ is {json.dumps(entries.get('__metadata__', 'not there'))},",
        f"its numbers begin at byte {start}; safetensors' is",
        f"{json.dumps(other_entries.get('__metadata__', 'not there'))}, its numbers begin at byte {other_start}",
    )
    assert "__metadata__" in entries and entries["__metadata__"] is None
    assert "__metadata__" not in other_entries and other_start % 8 == 0
    back = mx.load("other.safetensors")
    assert all(numpy.array_equal(numpy.array(back[key]), values) for key, values in arrays.items())
print("remainders by 4 of where MLX's numbers begin:", begins)
assert len(set(begins)) > 1
PYTHON
env/bin/python metadata.py
