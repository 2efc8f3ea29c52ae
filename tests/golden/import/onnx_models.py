"""Writes ONNX models as exporters do, and what ONNX Runtime computes with them.

    python3 -m venv env && env/bin/pip install torch==2.15.0 onnx==1.23.2 onnxruntime==1.32.0 \
        onnxscript==0.7.2 safetensors==0.8.0 numpy==2.4.6
    env/bin/python tests/golden/import/onnx_models.py

onnx/NAME.onnx is a file as people have it; onnx.safetensors holds for each NAME an input `x [B, T, I]` (or
`tokens [B, T]`) and ONNX Runtime's `out`; of those without a head `y [B, T, D H]`.
"""

import pathlib
import shutil
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import save_file
from torch import nn

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).parent
OUT = HERE / "onnx"
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()
torch.set_num_threads(1)
results = {}
B, T = 3, 5


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Last(nn.Module):
    """out[:, -1] and a linear layer."""

    def __init__(self, inputs=3, hidden=5, outputs=2, **kwargs):
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True, **kwargs)
        self.fc = nn.Linear(hidden * (2 if kwargs.get("bidirectional") else 1), outputs)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.fc(out[:, -1])


class Final(nn.Module):
    """cat(h_n[-2], h_n[-1]) of a stack in both directions, and a small network."""

    def __init__(self, inputs=4, hidden=6, outputs=3, layers=2):
        super().__init__()
        self.encoder = nn.LSTM(inputs, hidden, layers, batch_first=True, bidirectional=True, dropout=0.2)
        self.head = nn.Sequential(
            nn.Linear(2 * hidden, 7), nn.ReLU(), nn.Dropout(0.3), nn.Linear(7, outputs, bias=False), nn.Tanh()
        )

    def forward(self, x):
        _, (h, _) = self.encoder(x)
        return self.head(torch.cat([h[-2], h[-1]], 1))


class EveryStep(nn.Module):
    """A linear layer at each timestep, timesteps first."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 4, 2)
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.rnn(x)[0])


class Words(nn.Module):
    """Tokens to probabilities of the next one."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(11, 4)
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.fc = nn.Linear(5, 11)

    def forward(self, x):
        _, (h, _) = self.lstm(self.words(x))
        return torch.softmax(self.fc(h[-1]), dim=-1)


class Two(nn.Module):
    """Two modules of different sizes, and a probability."""

    def __init__(self):
        super().__init__()
        self.lstm1 = nn.LSTM(3, 6, batch_first=True)
        self.lstm2 = nn.LSTM(6, 4, batch_first=True)
        self.fc = nn.Linear(4, 1)

    def forward(self, x):
        x, _ = self.lstm1(x)
        x, _ = self.lstm2(x)
        return torch.sigmoid(self.fc(x[:, -1, :]))


class Pooled(nn.Module):
    """The mean, or the maximum, over time."""

    def __init__(self, mean):
        super().__init__()
        self.mean = mean
        self.lstm = nn.LSTM(3, 5, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(10, 2)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.fc(out.mean(1) if self.mean else out.amax(1))


class Ends(nn.Module):
    """The last output forward and the first backward."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(10, 2)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.fc(torch.cat([out[:, -1, :5], out[:, 0, 5:]], 1))


class States(nn.Module):
    """Initial states that come from outside."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.fc = nn.Linear(5, 2)

    def forward(self, x, h, c):
        out, (h, c) = self.lstm(x, (h, c))
        return self.fc(nn.functional.silu(out[:, -1])), h, c


class Learned(nn.Module):
    """Initial states that are learned."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 5, 2, batch_first=True)
        self.h = nn.Parameter(torch.randn(2, 1, 5))
        self.c = nn.Parameter(torch.randn(2, 1, 5))
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        b = x.shape[0]
        out, _ = self.lstm(x, (self.h.expand(-1, b, -1).contiguous(), self.c.expand(-1, b, -1).contiguous()))
        return self.fc(out[:, -1])


class Packed(nn.Module):
    """Sequences of different lengths."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(10, 2)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        out, (h, _) = self.lstm(packed)
        out, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
        return self.fc(torch.cat([h[-2], h[-1]], 1)), out


class Unrolled(nn.Module):
    """A cell in a loop."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(3, 5)

    def forward(self, x):
        h = c = torch.zeros(x.shape[0], 5)
        for t in range(3):
            h, c = self.cell(x[:, t], (h, c))
        return h


def export(name, model, arguments, new, axes=None, external=False, names=None, **kwargs):
    model.eval()
    path = OUT / f"{name}.onnx"
    names = names or ["x", "h", "c"][: len(arguments)]
    if new:
        shapes = None
        if axes:
            dims = [torch.export.Dim.AUTO if axis in axes[0] else None for axis in range(arguments[0].dim())]
            shapes = (dict(enumerate(dims)),) + tuple({} for _ in arguments[1:])
            shapes = tuple({k: v for k, v in shape.items() if v} for shape in shapes)
        program = torch.onnx.export(
            model, arguments, dynamo=True, input_names=names, dynamic_shapes=shapes, verbose=False, **kwargs
        )
        program.save(str(path), external_data=external)
    else:
        dynamic = {"x": {axis: f"d{axis}" for axis in axes[0]}} if axes else None
        torch.onnx.export(
            model, arguments, str(path), dynamo=False, input_names=names, dynamic_axes=dynamic, **kwargs
        )
    # Stack traces of the exporter have paths of the machine in them.
    if not external:
        graph = onnx.load(path)
        for node in graph.graph.node:
            del node.metadata_props[:]
        del graph.metadata_props[:]
        graph.graph.doc_string = ""
        for value in [*graph.graph.value_info, *graph.graph.input, *graph.graph.output]:
            del value.metadata_props[:]
        onnx.save(graph, path)
    return path


def computed(name, path, feeds, x=None, time_first=False, key="x"):
    outputs = session(path).run(None, feeds)
    x = feeds["x"] if x is None else x
    out = outputs[0].astype(np.float32)
    if time_first:
        x, out = np.swapaxes(x, 0, 1), np.swapaxes(out, 0, 1)
    results[f"{name}.{key}"] = np.ascontiguousarray(x).astype(np.float32)
    results[f"{name}.out"] = np.ascontiguousarray(out)


def both(name, model, x, axes=(0, 1), time_first=False, **kwargs):
    for new in [False, True]:
        own = f"{name}_new" if new else name
        path = export(own, model, (x,), new, axes=[axes], **kwargs)
        computed(own, path, {"x": x.numpy()}, time_first=time_first)


torch.manual_seed(1)
x3, x4 = torch.randn(B, T, 3), torch.randn(B, T, 4)
both("one_layer", Last(), x3)
both("final", Final(), x4)
both("every_step", EveryStep(), torch.randn(T, B, 3), time_first=True)
both("two", Two(), x3)
both("mean", Pooled(True), x3)
both("max", Pooled(False), x3)
both("ends", Ends(), x3)
both("no_bias", Last(bias=False, num_layers=2), x3)
# Above 8,192 elements a matrix the gates are put in order in the graph.
both("unfolded", Last(32, 46, bidirectional=True), torch.randn(B, T, 32))
both("fixed", Final(layers=1), x4, axes=())
both("learned", Learned(), x3, axes=(0,))
tokens = torch.randint(0, 11, (B, T))
for new in [False, True]:
    own = "words_new" if new else "words"
    path = export(own, Words(), (tokens,), new, axes=[(0, 1)])
    computed(own, path, {"x": tokens.numpy()}, key="tokens")

path = export("beside", Last(16, 20), (torch.randn(B, T, 16),), True, external=True)
graph = onnx.load(path, load_external_data=False)
for node in graph.graph.node:
    del node.metadata_props[:]
onnx.save(graph, path)
computed("beside", path, {"x": torch.randn(B, T, 16).numpy()})

zeros = torch.zeros(1, B, 5)
path = export("states", States(), (x3, zeros, zeros), False)
computed("states", path, {"x": x3.numpy(), "h": zeros.numpy(), "c": zeros.numpy()})
path = export("packed", Packed(), (x3, torch.tensor([T] * B)), False, names=["x", "lengths"])
computed("packed", path, {"x": x3.numpy(), "lengths": np.array([T] * B)})

path = export("half", Last().half(), (x3.half(),), False)
computed("half", path, {"x": x3.half().numpy()}, x=x3.half().numpy())

export("refused_unrolled", Unrolled(), (x3,), True)
export("refused_projection", nn.LSTM(3, 5, proj_size=2, batch_first=True), (x3,), True)
export("refused_gru", nn.GRU(3, 5, batch_first=True), (x3,), False)

# The operator itself, with all that it may have.
rng = np.random.default_rng(2)


def weight(*shape):
    return rng.uniform(-0.6, 0.6, shape).astype(np.float32)


def operator(name, directions=1, hidden=4, inputs=3, opset=17, p=False, bias=True, states=None, **attributes):
    """A graph of one LSTM, with Y [T, D, B, H] for its output."""
    w, r = weight(directions, 4 * hidden, inputs), weight(directions, 4 * hidden, hidden)
    constants = {"W": w, "R": r}
    if bias:
        constants["B"] = weight(directions, 8 * hidden)
    if states is not None:
        constants["h"], constants["c"] = states
    if p:
        constants["P"] = weight(directions, 3 * hidden)
    slots = ["x", "W", "R", "B", "", "h", "c", "P"]
    slots = [slot if slot in ["x", *constants] else "" for slot in slots]
    while not slots[-1]:
        slots.pop()
    nodes = [helper.make_node("LSTM", slots, ["Y"], name="memory", hidden_size=hidden, **attributes)]
    nodes += [
        helper.make_node("Transpose", ["Y"], ["Yt"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["Yt", "shape"], ["y"]),
    ]
    constants["shape"] = np.array([0, 0, -1], dtype=np.int64)
    model(name, nodes, constants, {"x": [None, None, inputs]}, {"y": [None, None, directions * hidden]}, opset)
    return constants


def model(name, nodes, constants, inputs, outputs, opset=17, domains=()):
    initializers = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    info = lambda all: [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in all.items()]
    graph = helper.make_graph(nodes, name, info(inputs), info(outputs), initializers)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    made = helper.make_model(graph, opset_imports=imports, producer_name="hand", ir_version=8)
    onnx.save(made, OUT / f"{name}.onnx")
    return OUT / f"{name}.onnx"


def y_of(name, feeds=None, reorder=(1, 0, 2)):
    x = np.random.default_rng(3).standard_normal((T, B, 3)).astype(np.float32)
    run = session(OUT / f"{name}.onnx")
    [y] = run.run(None, {"x": x})
    # [B, T, D, H] was asked for as [T, D, B, H] transposed: rows, timesteps, features.
    results[f"{name}.x"] = np.ascontiguousarray(np.swapaxes(x, 0, 1))
    results[f"{name}.y"] = y


# Transposed to [B, T, D, H].
operator("peepholes", p=True)
operator("peepholes_both", directions=2, p=True, direction="bidirectional")
operator("clip", clip=0.4)
operator("coupled", input_forget=1)
operator("reverse", direction="reverse")
operator("opset_7", opset=7)
operator("opset_22", opset=22)
operator("without_bias", bias=False)
operator("hard", activations=["HardSigmoid", "Softsign", "ScaledTanh"], activation_alpha=[0.3, 1.2], activation_beta=[0.4, 0.7])
operator("silent", activations=["hardsigmoid", "Elu", "LeakyRelu"])
operator("affine", directions=2, direction="bidirectional", activations=["Sigmoid", "Relu", "Affine"] * 2, activation_alpha=[0.5, 0.5], activation_beta=[0.1, 0.1])
operator("silent_thresholded", activations=["Sigmoid", "ThresholdedRelu", "Tanh"])
operator("initial", states=(np.repeat(weight(1, 1, 4), B, 1), np.repeat(weight(1, 1, 4), B, 1)))
for name in [
    "peepholes", "peepholes_both", "clip", "coupled", "reverse", "opset_7", "opset_22", "without_bias", "hard",
    "silent", "affine", "silent_thresholded", "initial",
]:
    y_of(name)

# Branches: what PyTorch's first exporter makes of squeeze where it doesn't know the size.
constants = {
    "W": weight(1, 16, 3), "R": weight(1, 16, 4), "B": weight(1, 32), "k": weight(4, 2), "b": weight(2),
    "one": np.array([1], dtype=np.int64), "last": np.array(-1, dtype=np.int64), "ax": np.array([1], dtype=np.int64),
}
squeezed = helper.make_graph([helper.make_node("Squeeze", ["Y", "ax"], ["s"])], "then", [], [helper.make_tensor_value_info("s", TensorProto.FLOAT, None)])
kept = helper.make_graph([helper.make_node("Identity", ["Y"], ["s2"])], "else", [], [helper.make_tensor_value_info("s2", TensorProto.FLOAT, None)])
nodes = [
    helper.make_node("LSTM", ["x", "W", "R", "B"], ["Y"], hidden_size=4),
    helper.make_node("Shape", ["Y"], ["size"], start=1, end=2),
    helper.make_node("Equal", ["size", "one"], ["is"]),
    helper.make_node("If", ["is"], ["outputs"], then_branch=squeezed, else_branch=kept),
    helper.make_node("Gather", ["outputs", "last"], ["final"], axis=0),
    helper.make_node("MatMul", ["final", "k"], ["m"]),
    helper.make_node("Add", ["b", "m"], ["out"]),
]
path = model("branches", nodes, constants, {"x": [None, None, 3]}, {"out": None})
x = rng.standard_normal((T, B, 3)).astype(np.float32)
[out] = session(path).run(None, {"x": x})
results["branches.x"], results["branches.out"] = np.ascontiguousarray(np.swapaxes(x, 0, 1)), out

# A layer forward and one in reverse, joined: a bidirectional layer of other exporters.
constants = {f"{k}{d}": v for d in "fb" for k, v in {"W": weight(1, 16, 3), "R": weight(1, 16, 4), "B": weight(1, 32)}.items()}
constants |= {"k": weight(8, 2), "ax": np.array([1], dtype=np.int64)}
nodes = []
for d, direction in zip("fb", ["forward", "reverse"]):
    nodes.append(helper.make_node("LSTM", ["x", f"W{d}", f"R{d}", f"B{d}"], [f"Y{d}", f"h{d}"], name=f"model/bi/{direction}_lstm/LSTM", hidden_size=4, direction=direction))
    nodes.append(helper.make_node("Squeeze", [f"Y{d}", "ax"], [f"y{d}"]))
nodes += [
    helper.make_node("Concat", ["yf", "yb"], ["y"], axis=-1),
    helper.make_node("MatMul", ["y", "k"], ["out"]),
]
path = model("joined", nodes, constants, {"x": [None, None, 3]}, {"out": None})
[out] = session(path).run(None, {"x": x})
results["joined.x"], results["joined.out"] = np.ascontiguousarray(np.swapaxes(x, 0, 1)), np.ascontiguousarray(np.swapaxes(out, 0, 1))

# Eight bits: what the weights are when made numbers again, in floating point.
with tempfile.TemporaryDirectory() as folder:
    plain = pathlib.Path(folder) / "plain.onnx"
    torch.onnx.export(Last(8, 12).eval(), (torch.randn(B, T, 8),), str(plain), dynamo=False, input_names=["x"])
    quantize_dynamic(plain, OUT / "quantized.onnx", weight_type=QuantType.QInt8)
    quantized = onnx.load(OUT / "quantized.onnx")
    held = {t.name: numpy_helper.to_array(t) for t in quantized.graph.initializer}
    node = next(n for n in quantized.graph.node if n.op_type == "DynamicQuantizeLSTM")
    w, r = (
        ((held[node.input[at]].astype(np.float32) - held[node.input[zero]].astype(np.float32))
         * held[node.input[scale]]).transpose(0, 2, 1)
        for at, scale, zero in [(1, 8, 9), (2, 10, 11)]
    )
    matmul = next(n for n in quantized.graph.node if n.op_type == "MatMulInteger")
    k = held[matmul.input[1]].astype(np.float32) - held[matmul.input[3]].astype(np.float32)
    scale = next(v for name, v in held.items() if name.startswith(matmul.input[1].removesuffix("_quantized")) and name.endswith("_scale"))
    bias = next(v for name, v in held.items() if v.shape == (2,) and v.dtype == np.float32)
    graph = onnx.load(plain).graph
    for tensor in graph.initializer:
        of = {1: w, 2: r}
        lstm = next(n for n in graph.node if n.op_type == "LSTM")
        for at, value in of.items():
            if tensor.name == lstm.input[at]:
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
        if list(tensor.dims) == [2, 12]:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray((k * scale).T), tensor.name))
    changed = pathlib.Path(folder) / "changed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=onnx.load(plain).opset_import), changed)
    x = torch.randn(B, T, 8).numpy()
    computed("quantized", changed, {"x": x})



# Graphs that look like what they aren't.
class Foreign(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 8, batch_first=True)
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(self.lstm(x)[0].reshape(-1, 2, 8)[:, -1])


class OfTimesteps(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 8, batch_first=True)
        self.fc = nn.Linear(8, T, bias=False)
        self.b = nn.Parameter(torch.randn(T))

    def forward(self, x):
        return self.fc(self.lstm(x)[0]).transpose(1, 2) + self.b


class LastOfAll(nn.Module):
    """A head on every timestep, of which the last one is taken; and no axis of features left."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.fc = nn.Linear(5, 1)

    def forward(self, x):
        return torch.sigmoid(self.fc(self.lstm(x)[0])[:, -1].squeeze(-1))


both("last_of_all", LastOfAll(), x3, axes=(0, 1))
for new in [False, True]:
    end = "_new" if new else ""
    export(f"no_foreign{end}", Foreign(), (torch.randn(3, 6, 4),), new, axes=[(0, 1)])
    export(f"no_timesteps{end}", OfTimesteps(), (x3,), new, axes=[(0,)])
weights = {"W": weight(1, 16, 3), "R": weight(1, 16, 4), "ax": np.array([1], dtype=np.int64)}
turned = [
    helper.make_node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=4, direction="reverse"),
    helper.make_node("Squeeze", ["Y", "ax"], ["y"]),
    helper.make_node("Slice", ["y", "from", "to", "units"], ["part"]),
    helper.make_node("Gather", ["part", "last"], ["final"], axis=0),
    helper.make_node("MatMul", ["final", "k"], ["out"]),
]
path = model(
    "reverse_slice", turned,
    weights | {"from": np.array([0]), "to": np.array([4]), "units": np.array([2]), "last": np.array(-1), "k": weight(4, 2)},
    {"x": [None, None, 3]}, {"out": None},
)
x = np.random.default_rng(5).standard_normal((T, B, 3)).astype(np.float32)
[out] = session(path).run(None, {"x": x})
results["reverse_slice.x"], results["reverse_slice.out"] = np.ascontiguousarray(np.swapaxes(x, 0, 1)), out
model(
    "no_cast",
    [*turned[:2], helper.make_node("Cast", ["y"], ["w"], to=TensorProto.INT64), helper.make_node("Cast", ["w"], ["out"], to=TensorProto.FLOAT)],
    weights, {"x": [None, None, 3]}, {"out": None},
)
model(
    "refused_lengths",
    [helper.make_node("LSTM", ["x", "W", "R", "", "lengths"], ["Y"], hidden_size=4)],
    {**weights, "lengths": np.array([2, 3, 4], dtype=np.int32)}, {"x": [None, 3, 3]}, {"Y": None},
)

save_file(results, HERE / "onnx.safetensors")
print(len(results), "arrays;", sum(f.stat().st_size for f in OUT.iterdir()), "bytes of models")
