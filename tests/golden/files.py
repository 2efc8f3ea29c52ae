"""Writing the goldens: the same bytes for the same tensors."""

import json
import pathlib

import numpy
import safetensors
import safetensors.torch
import torch

FOLDER = pathlib.Path(__file__).parent
VERSIONS = {"torch": torch.__version__, "safetensors": safetensors.__version__, "numpy": numpy.__version__}


def ordered(data):
    """A file's bytes with its metadata in alphabetical order: safetensors writes them in a random one."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    return data[:8] + json.dumps(header, separators=(",", ":")).encode().ljust(end - 8) + data[end:]


def save(name, tensors):
    """Writes a file, unless the one there says the same."""
    tensors = {k: v.detach().clone().contiguous().float() for k, v in tensors.items()}
    path, data = FOLDER / f"{name}.safetensors", ordered(safetensors.torch.save(tensors, metadata=VERSIONS))
    if not path.exists() or ordered(path.read_bytes()) != data:
        path.write_bytes(data)
    print(name, len(data), "bytes")


def under(prefix, tensors):
    """The tensors with a prefix before their names."""
    return {f"{prefix}.{k}": v for k, v in tensors.items()}
