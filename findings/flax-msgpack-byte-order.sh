#!/usr/bin/env bash
# PyPI flax 0.12.8 (flax.serialization), jax 0.10.2, numpy 2.4.6, on a little-endian machine.
#
# flax.serialization.to_bytes and msgpack_serialize take a numpy array of the other byte order, such as ">f4", which
# old weights in .npy and HDF5 files may be in, without a word. They write its bytes as they lie and its type by the
# name "float32", which says nothing of the order, so what from_bytes and msgpack_restore give back has the right shape
# and type and other numbers, mostly tiny ones. numpy.save keeps the order, jax.numpy.asarray refuses such an array,
# and safetensors.numpy 0.8.0 turns it. array.astype(numpy.float32) before saving mends it.
#
# Needs Python 3.11 or newer with venv and pip.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet flax==0.12.8 jax==0.10.2 numpy==2.4.6 safetensors==0.8.0
cat >order.py <<'PYTHON'
import io

import jax.numpy
import numpy
from flax import serialization
from safetensors.numpy import load, save

kernel = numpy.array([[0.5, -1.0, 0.25], [1.5, 2.0, -0.75]], ">f4")
weights = {"lstm": {"kernel": kernel}}
template = {"lstm": {"kernel": numpy.zeros((2, 3), numpy.float32)}}
came_back = serialization.from_bytes(template, serialization.to_bytes(weights))["lstm"]["kernel"]
restored = serialization.msgpack_restore(serialization.msgpack_serialize(weights))["lstm"]["kernel"]
native = {"lstm": {"kernel": kernel.astype(numpy.float32)}}
mended = serialization.from_bytes(template, serialization.to_bytes(native))["lstm"]["kernel"]
file = io.BytesIO()
numpy.save(file, kernel)
by_numpy = numpy.load(io.BytesIO(file.getvalue()))
by_safetensors = load(save({"kernel": kernel}))["kernel"]
try:
    jax.numpy.asarray(kernel)
    refused = False
except TypeError:
    refused = True
print("saved ", kernel.tolist())
print("loaded", came_back.tolist(), came_back.dtype)
print("loaded from a native copy", mended.tolist())
print("loaded by numpy", by_numpy.tolist(), "and by safetensors", by_safetensors.tolist())
print("refused by jax.numpy.asarray:", refused)
assert came_back.shape == kernel.shape and came_back.dtype == numpy.float32
assert numpy.array_equal(came_back, kernel.view("<f4")) and numpy.array_equal(restored, came_back)
assert not numpy.isclose(came_back, kernel).any()
assert numpy.array_equal(mended, kernel)
assert numpy.array_equal(by_numpy, kernel) and numpy.array_equal(by_safetensors, kernel)
assert refused
PYTHON
env/bin/python order.py
