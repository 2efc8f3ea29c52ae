"""Writes one LSTM as NumPy does in every type and order that an archive may have, and what PyTorch computes of it.

    python3 -m venv env && env/bin/pip install torch==2.15.0 safetensors==0.8.0 numpy==2.4.6
    env/bin/python tests/golden/import/npz_types.py

npz/NAME.npz has PyTorch's names; npz.safetensors holds for each NAME `x [B, T, I]` and the outputs `y`.
"""

import io
import pathlib
import shutil
import zipfile

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
OUT = HERE / "npz"
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()
torch.manual_seed(1)
lstm = torch.nn.LSTM(3, 5, batch_first=True)
x = torch.randn(3, 4, 3)
results = {}


def saved(name, stored, back, save=np.savez):
    """As `stored` makes it of an f32 array; `back` gives the f32 that it is then."""
    weights = {key: value.detach().numpy() for key, value in lstm.state_dict().items()}
    arrays = {f"rnn.{key}": stored(value) for key, value in weights.items()}
    save(OUT / f"{name}.npz", steps=np.arange(3), **arrays)
    copy = torch.nn.LSTM(3, 5, batch_first=True)
    read = {key: torch.from_numpy(np.ascontiguousarray(back(arrays[f"rnn.{key}"]))) for key in weights}
    copy.load_state_dict(read)
    results[f"{name}.x"] = x.numpy()
    results[f"{name}.y"] = np.ascontiguousarray(copy(x)[0].detach().numpy())


def named_as_now(path, **arrays):
    """With the type that ml_dtypes has for it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            described = np.lib.format.header_data_from_array_1_0(array)
            if described["descr"] == "|V2":
                described["descr"] = "<V2"
            np.lib.format.write_array_header_1_0(buffer, described)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (2026, 1, 1, 0, 0, 0)), buffer.getvalue() + array.tobytes())


def single(array):
    return array.astype(np.float32)


def upper_half(array):
    return np.ascontiguousarray((array.view(np.uint32) >> 16).astype(np.uint16)).view("V2")


def from_upper_half(array):
    return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


saved("f4", single, single)
saved("f8", lambda array: array.astype(np.float64) * (1 + 1e-9), single)
saved("f2", lambda array: array.astype(np.float16), single)
saved("big", lambda array: array.astype(">f4"), single)
saved("big_f8", lambda array: array.astype(">f8"), single)
# ml_dtypes' bfloat16 is of no type in a file.
saved("bf16", upper_half, from_upper_half)
saved("bf16_named", upper_half, from_upper_half, named_as_now)
saved("fortran", np.asfortranarray, single)
saved("compressed", single, single, np.savez_compressed)
save_file(results, HERE / "npz.safetensors")
