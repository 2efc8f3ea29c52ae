"""Writes archives of arrays that claim more than they hold.

    python3 -m venv env && env/bin/pip install numpy==2.4.6
    env/bin/python tests/golden/import/npz_claims.py
"""

import io
import pathlib
import zipfile

import numpy as np

OUT = pathlib.Path(__file__).parent / "npz_claims"
OUT.mkdir(exist_ok=True)


def header(text, version=1):
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


def array(shape, dtype="<f4", data=b""):
    return header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()) + data


def stored(values):
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def lstm():
    """One that is read."""
    shapes = {"weight_ih_l0": (8, 1), "weight_hh_l0": (8, 2)}
    return {f"{name}.npy": stored(np.full(shape, 0.1, np.float32)) for name, shape in shapes.items()}


def write(name, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(OUT / f"{name}.npz", "w", compression) as archive:
        for entry, data in entries.items():
            info = zipfile.ZipInfo(entry, (2026, 1, 1, 0, 0, 0))
            info.compress_type = compression
            archive.writestr(info, data)


# 40 MiB of zeros in 40 KB.
write("bomb", {"weight_ih_l0.npy": array("(10485760,)", data=bytes(40 << 20))}, zipfile.ZIP_DEFLATED)
write(
    "odd",
    {
        **lstm(),
        "too_large.npy": array("(4294967296, 4294967296, 4294967296)"),
        "not_there.npy": array("(1048576, 1024)"),
        "too_short.npy": array("(4,)", data=bytes(8)),
        "too_long.npy": array("(1,)", data=bytes(8)),
        "nested.npy": header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"(" * 3000),
        "long.npy": header(b" " * (1 << 13), 2),
        "no_header.npy": b"\x93NUMPY\x01\x00",
        "no_array.npy": b"something else",
        "fields.npy": stored(np.zeros(2, [("shape", "<f4"), ("b", "<f4")])),
        "objects.npy": array("(1,)", "|O", b"cposix\nsystem\n"),
        "negative.npy": array("(-1, 4)"),
        "order.npy": array("(1,)", data=bytes(4)).replace(b"False", b"Maybe"),
        "__MACOSX/._weight_ih_l0.npy": b"\x00\x05\x16\x07",
        "README.txt": b"notes",
    },
)
