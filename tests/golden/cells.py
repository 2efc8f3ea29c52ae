"""Writes the goldens of other libraries' LSTM variants beside this file.

    python3 -m venv env && env/bin/pip install onnx==1.23.2 onnxruntime==1.32.0 keras==3.15.1 \\
        tensorflow-cpu==2.21.0 tf_keras==2.21.0 numpy==2.4.6 safetensors==0.8.0
    env/bin/python tests/golden/cells.py

cells_onnx: ONNX Runtime's LSTM operator with peepholes, clip, input_forget and every activation.
cells_keras: Keras's LSTM with hard_sigmoid and its two dropouts, with gradients.
cells_tf: TensorFlow 1's LSTMCell with peepholes, clipped cells and clipped projections.

Each case is computed again in f64 NumPy, and must agree with the library; so the equations here are
what the libraries do. The metadata name the versions that wrote a file.
"""

import json
import os
import pathlib

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "1"}  # tf.keras is tf_keras, keras is not
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": ""}

import keras
import numpy
import onnx
import onnxruntime
import safetensors
import safetensors.numpy
import tensorflow
import tf_keras
from onnx import TensorProto, helper

FOLDER = pathlib.Path(__file__).parent
VERSIONS = {m.__name__: m.__version__ for m in (keras, numpy, onnx, onnxruntime, safetensors, tensorflow, tf_keras)}


def save(name, tensors, libraries):
    """The same bytes for the same tensors: safetensors writes metadata in a random order."""
    tensors = {k: numpy.ascontiguousarray(v, numpy.float32) for k, v in tensors.items()}
    versions = {k: VERSIONS[k] for k in sorted([*libraries, "numpy", "safetensors"])}
    data = safetensors.numpy.save(tensors, metadata=versions)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = versions
    data = data[:8] + json.dumps(header, separators=(",", ":")).encode().ljust(end - 8) + data[end:]
    (FOLDER / f"{name}.safetensors").write_bytes(data)
    print(name, len(data), "bytes")


def under(prefix, tensors):
    """The tensors with a prefix before their names."""
    return {f"{prefix}.{k}": v for k, v in tensors.items()}


def doubles(tensors):
    return {k: numpy.asarray(v, numpy.float64) for k, v in tensors.items()}


def agree(case, ours, theirs, tolerance=1e-5):
    for name in ours:
        assert ours[name].shape == theirs[name].shape, (case, name)
        error = numpy.abs(ours[name] - theirs[name]).max()
        assert error < tolerance, (case, name, error)


def sigmoid(x):
    return 1.0 / (1.0 + numpy.exp(-x))


# ONNX Runtime ---------------------------------------------------------------------------------------

FUNCTIONS = {  # in the order of their codes
    "Sigmoid": lambda x, a, b: sigmoid(x),
    "Tanh": lambda x, a, b: numpy.tanh(x),
    "Relu": lambda x, a, b: numpy.maximum(x, 0.0),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: numpy.where(x >= 0.0, x, a * x),
    "ThresholdedRelu": lambda x, a, b: numpy.where(x > a, x, 0.0),
    "ScaledTanh": lambda x, a, b: a * numpy.tanh(b * x),
    "HardSigmoid": lambda x, a, b: numpy.clip(a * x + b, 0.0, 1.0),
    "Elu": lambda x, a, b: numpy.where(x >= 0.0, x, a * numpy.expm1(numpy.minimum(x, 0.0))),
    "Softsign": lambda x, a, b: x / (1.0 + numpy.abs(x)),
    "Softplus": lambda x, a, b: numpy.log1p(numpy.exp(x)),
}
# What ONNX Runtime takes where the attributes give none; None where the function has no such number.
DEFAULTS = {
    "Affine": (0.0, 0.0),
    "LeakyRelu": (0.01, None),
    "ThresholdedRelu": (0.0, None),
    "ScaledTanh": (0.0, 0.0),
    "HardSigmoid": (0.2, 0.5),
    "Elu": (1.0, None),
}
GIVEN = {
    "Affine": (0.6, 0.3),
    "LeakyRelu": (0.15, None),
    "ThresholdedRelu": (0.2, None),
    "ScaledTanh": (1.3, 0.7),
    "HardSigmoid": (0.35, 0.4),
    "Elu": (0.6, None),
}
PLAIN = ("Sigmoid", "Tanh", "Tanh")
NONE = (None, None)


def onnx_by_hand(t, functions, numbers):
    """The operator in NumPy. Gates i o f c, peepholes i o f."""
    t = doubles(t)
    steps, batch, _ = t["x"].shape
    directions, hidden = t["r"].shape[0], t["r"].shape[2]
    f, g, h = (lambda x, n=n, k=k: FUNCTIONS[n](x, *k) for n, k in zip(functions, numbers, strict=True))
    bound = t["clip"][0] or numpy.inf
    lengths = t.get("lengths", numpy.full(batch, steps)).astype(int)
    y = numpy.zeros((steps, directions, batch, hidden))
    h_n, c_n = (t.get(k, numpy.zeros((directions, batch, hidden))).copy() for k in ("h_0", "c_0"))
    sums = []
    for d in range(directions):
        backward = t["direction"][0] == 1 or d == 1
        peep = numpy.split(t["p"][d], 3) if "p" in t else [numpy.zeros(hidden)] * 3
        for row in range(batch):
            order = range(lengths[row])
            for step in reversed(order) if backward else order:
                z = t["w"][d] @ t["x"][step, row] + t["r"][d] @ h_n[d, row]
                z_i, z_o, z_f, z_c = numpy.split(z + t["b"][d].reshape(2, -1).sum(0), 4)
                c = c_n[d, row]
                z_i, z_f = z_i + peep[0] * c, z_f + peep[2] * c
                i, c_in = f(z_i.clip(-bound, bound)), g(z_c.clip(-bound, bound))
                forget = 1.0 - i if t["coupled"][0] else f(z_f.clip(-bound, bound))
                c = forget * c + i * c_in
                z_o = z_o + peep[1] * c
                c_n[d, row], h_n[d, row] = c, f(z_o.clip(-bound, bound)) * h(c)
                y[step, d, row] = h_n[d, row]
                sums += [z_i, z_o, z_f, z_c]
    return {"y": y, "h_n": h_n, "c_n": c_n}, numpy.abs(sums) > bound


def onnx_run(t, functions, given):
    """One LSTM node, run on the CPU."""
    directions, hidden = t["r"].shape[0], t["r"].shape[2]
    inputs = {"X": t["x"], "W": t["w"], "R": t["r"], "B": t["b"]}
    if "lengths" in t:
        inputs["sequence_lens"] = t["lengths"].astype(numpy.int32)
    inputs |= {name: t[k] for name, k in (("initial_h", "h_0"), ("initial_c", "c_0"), ("P", "p")) if k in t}
    slots = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
    attributes = {
        "hidden_size": hidden,
        "direction": ("forward", "reverse", "bidirectional")[int(t["direction"][0])],
        "activations": list(functions) * directions,
        # Two queues: a function takes from one only if it has that number.
        "activation_alpha": [a for a, _ in given if a is not None] * directions,
        "activation_beta": [b for _, b in given if b is not None] * directions,
        "clip": float(t["clip"][0]),
        "input_forget": int(t["coupled"][0]),
    }
    node = helper.make_node(
        "LSTM",
        [s if s in inputs else "" for s in slots],
        ["Y", "Y_h", "Y_c"],
        **{k: v for k, v in attributes.items() if v},
    )
    kinds = {k: TensorProto.INT32 if k == "sequence_lens" else TensorProto.FLOAT for k in inputs}
    graph = helper.make_graph(
        [node],
        "cell",
        [helper.make_tensor_value_info(k, kinds[k], v.shape) for k, v in inputs.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, [None] * (4 if k == "Y" else 3)) for k in node.output],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return dict(zip(("y", "h_n", "c_n"), session.run(None, inputs), strict=True))


class Onnx:
    """The cases; each has its own seed, the number of the case."""

    def __init__(self):
        self.tensors, self.count = {}, 0

    def case(
        self, name, sizes=(6, 4, 3, 5), functions=PLAIN, given=(NONE,) * 3, direction=0, scale=1.0, lift=0.0, clip=0.0,
        coupled=False, peepholes=False, lengths=None, state=False,
    ):  # fmt: skip
        self.count += 1
        random = numpy.random.default_rng(8000 + self.count)
        steps, batch, inputs, hidden = sizes
        directions = 2 if direction == 2 else 1

        def weight(*shape):
            return random.uniform(-scale, scale, (directions, *shape)).astype(numpy.float32)

        t = {"w": weight(4 * hidden, inputs), "r": weight(4 * hidden, hidden), "b": weight(8 * hidden)}
        t["b"] += numpy.float32(lift)
        t["x"] = random.standard_normal((steps, batch, inputs), numpy.float32)
        if peepholes:
            t["p"] = weight(3 * hidden)
        if lengths:
            t["lengths"] = numpy.array(lengths, numpy.float32)
        if state:
            shape = (directions, batch, hidden)
            t |= {k: random.standard_normal(shape, numpy.float32) for k in ("h_0", "c_0")}
        codes = list(FUNCTIONS)
        t["functions"] = numpy.array([codes.index(f) for f in functions])
        for k, key in enumerate(("alpha", "beta")):
            t[key] = numpy.array([numpy.nan if n[k] is None else n[k] for n in given])
        t |= {"clip": numpy.array([clip]), "coupled": numpy.array([coupled]), "direction": numpy.array([direction])}

        result = onnx_run(t, functions, given)
        numbers = [
            [d if n is None else n for d, n in zip(DEFAULTS.get(f, NONE), g, strict=True)]
            for f, g in zip(functions, given, strict=True)
        ]
        ours, clipped = onnx_by_hand(t, functions, numbers)
        agree(name, ours, result)
        largest = numpy.abs(result["c_n"]).max()
        assert largest < 10.0, (name, largest)
        if clip:
            assert 0.1 < clipped.mean() < 0.7, (name, clipped.mean())
        self.tensors |= under(name, t | result)


def cells_onnx():
    cases = Onnx()
    case = cases.case
    case("plain")
    case("peepholes", peepholes=True)
    case("peepholes_lengths_state_both", peepholes=True, lengths=(6, 2, 5, 1), state=True, direction=2)
    case("clip", clip=0.7)
    case("clip_peepholes_state", clip=0.7, peepholes=True, state=True)
    case("coupled", coupled=True)
    case(
        "coupled_peepholes_clip_both_lengths",
        coupled=True, peepholes=True, clip=0.7, direction=2, lengths=(3, 6, 1, 4),
    )  # fmt: skip
    case("reverse_peepholes_lengths", direction=1, peepholes=True, lengths=(4, 1, 6, 3))

    # Each function in each place: without its numbers, then with them.
    for given in (False, True):
        for function in GIVEN if given else FUNCTIONS:
            for place, letter in enumerate("fgh"):
                functions, numbers = list(PLAIN), [NONE] * 3
                functions[place] = function
                if given:
                    numbers[place] = GIVEN[function]
                name = f"{letter}_{function}" + "_given" * given
                lift = 0.2 if letter == "f" else 0.0  # or Relu would close most gates
                case(name, sizes=(5, 2, 3, 4), functions=functions, given=numbers, scale=0.6, lift=lift)

    # alpha alone: beta stays 0.5.
    case(
        "f_HardSigmoid_alpha",
        sizes=(5, 2, 3, 4),
        functions=("HardSigmoid", *PLAIN[1:]),
        given=((0.35, None), NONE, NONE),
    )

    everything = {"peepholes": True, "state": True, "direction": 2, "clip": 0.7, "scale": 0.7}
    # LeakyRelu takes the second alpha though HardSigmoid has two numbers: the queues run on their own.
    mixed = ("HardSigmoid", "LeakyRelu", "ScaledTanh")
    case("mixed_1", functions=mixed, given=[GIVEN[f] for f in mixed], lengths=(2, 6, 4, 1), **everything)
    # Softsign takes none.
    mixed = ("Softsign", "Elu", "Affine")
    case("mixed_2", functions=mixed, given=[GIVEN.get(f, NONE) for f in mixed], lengths=(6, 3, 1, 5), **everything)
    save("cells_onnx", cases.tensors, ("onnx", "onnxruntime"))


# Keras ----------------------------------------------------------------------------------------------


GRADIENTS = {"kernel": "d_kernel", "recurrent_kernel": "d_recurrent_kernel", "bias": "d_bias", "x": "dx"}


def keras_by_hand(t, activation, recurrent_activation):
    """The layer in NumPy. Gates i f c o. A mask is [B, _], or [4, B, _] with one for each gate."""
    batch, steps, _ = t["x"].shape
    hidden = t["recurrent_kernel"].shape[0]
    x_mask, h_mask = (m if m.ndim == 3 else m[None].repeat(4, 0) for m in (t["x_mask"], t["h_mask"]))
    gates = [slice(k * hidden, (k + 1) * hidden) for k in range(4)]
    h = c = numpy.zeros((batch, hidden))
    y = []
    for step in range(steps):
        z_i, z_f, z_c, z_o = (
            (t["x"][:, step] * x_mask[k]) @ t["kernel"][:, gate]
            + (h * h_mask[k]) @ t["recurrent_kernel"][:, gate]
            + t["bias"][gate]
            for k, gate in enumerate(gates)
        )
        c = recurrent_activation(z_f) * c + recurrent_activation(z_i) * activation(z_c)
        h = recurrent_activation(z_o) * activation(c)
        y.append(h)
    return numpy.stack(y, 1)


def keras_gradients_by_hand(t, *activations, step=1e-6):
    """Central differences of sum(y dy), in f64."""
    gradients = {}
    for key, name in GRADIENTS.items():
        gradient = numpy.zeros_like(t[key])
        for at in numpy.ndindex(t[key].shape):
            sides = []
            for sign in (1.0, -1.0):
                moved = t[key].copy()
                moved[at] += sign * step
                sides.append((keras_by_hand(t | {key: moved}, *activations) * t["dy"]).sum())
            gradient[at] = (sides[0] - sides[1]) / (2.0 * step)
        gradients[name] = gradient
    return gradients


def keras_case(name, seed, scale=1.0, shared=False, activation="tanh", recurrent_activation="sigmoid", **dropouts):
    """A training call of the layer, its masks, and the gradients for dy."""
    random = numpy.random.default_rng(seed)
    batch, steps, inputs, hidden = 4, 6, 3, 5
    layer = keras.layers.LSTM(
        hidden, return_sequences=True, activation=activation, recurrent_activation=recurrent_activation, seed=seed,
        **dropouts,
    )  # fmt: skip
    layer.build((batch, steps, inputs))
    cell = layer.cell
    t = {}
    for key in ("kernel", "recurrent_kernel", "bias"):
        variable = getattr(cell, key)
        t[key] = random.uniform(-scale, scale, variable.shape).astype(numpy.float32)
        if key == "bias":
            t[key] += keras.ops.convert_to_numpy(variable)  # the forget gate's 1 is in it
        variable.assign(t[key])
    t["x"] = 2.0 * random.standard_normal((batch, steps, inputs), numpy.float32)
    t["dy"] = random.standard_normal((batch, steps, hidden), numpy.float32)

    if shared:  # the first gate's masks for all four
        for attribute, get, width in (
            ("_dropout_mask", cell.get_dropout_mask, inputs),
            ("_recurrent_dropout_mask", cell.get_recurrent_dropout_mask, hidden),
        ):
            masks = get(tensorflow.zeros((batch, width)))
            setattr(cell, attribute, masks and [masks[0]] * 4)
    # The call would drop its masks at its end.
    cell.reset_dropout_mask = cell.reset_recurrent_dropout_mask = lambda: None
    x = tensorflow.constant(t["x"])
    with tensorflow.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        loss = tensorflow.reduce_sum(y * t["dy"])
    variables = (cell.kernel.value, cell.recurrent_kernel.value, cell.bias.value, x)
    gradients = {k: v.numpy() for k, v in zip(GRADIENTS.values(), tape.gradient(loss, variables), strict=True)}

    for key, attribute, width in (("x_mask", "_dropout_mask", inputs), ("h_mask", "_recurrent_dropout_mask", hidden)):
        masks = getattr(cell, attribute, None)
        if masks is None:
            t[key] = numpy.ones((batch, width), numpy.float32)
        elif isinstance(masks, (list, tuple)):  # with recurrent_dropout, a mask for each gate, i f c o
            t[key] = numpy.array(masks[0] if shared else [m.numpy() for m in masks])
        else:
            t[key] = masks.numpy()

    numpys = {
        "tanh": numpy.tanh,
        "sigmoid": sigmoid,
        "relu": lambda z: numpy.maximum(z, 0.0),
        "hard_sigmoid": lambda z: numpy.clip(z / 6.0 + 0.5, 0.0, 1.0),
    }
    activations = numpys[activation], numpys[recurrent_activation]
    wide = doubles(t)
    agree(name, {"y": keras_by_hand(wide, *activations)}, {"y": y.numpy()})
    agree(name, keras_gradients_by_hand(wide, *activations), gradients, 1e-4)
    assert numpy.abs(y).max() < 20.0, name
    return under(name, t | {"y": y.numpy()} | gradients)


def cells_keras():
    hard = {"recurrent_activation": "hard_sigmoid"}
    recurrent, both = {"recurrent_dropout": 0.4}, {"dropout": 0.4, "recurrent_dropout": 0.4}
    tensors = keras_case("hard_sigmoid", 8101, scale=1.5, **hard)
    tensors |= keras_case("hard_sigmoid_relu", 8102, scale=0.7, activation="relu", **hard)
    tensors |= keras_case("dropout", 8103, dropout=0.4)
    tensors |= keras_case("recurrent_dropout", 8104, **recurrent)
    tensors |= keras_case("both", 8105, **both)
    tensors |= keras_case("recurrent_dropout_shared", 8106, shared=True, **recurrent)
    tensors |= keras_case("both_shared", 8107, shared=True, **both)
    save("cells_keras", tensors, ("keras", "tensorflow"))


# TensorFlow 1 ---------------------------------------------------------------------------------------


def tf_by_hand(t):
    """The cell in NumPy. Gates i g f o; the forget gate gets 1 more."""
    cell_clip, proj_clip = (limit or numpy.inf for limit in t["clip"])
    batch, inputs = t["x"].shape[1:]
    c, h = numpy.zeros((batch, t["bias"].size // 4)), numpy.zeros((batch, t["kernel"].shape[0] - inputs))
    w_i, w_f, w_o = (t.get(f"w_{gate}_diag", 0.0) for gate in "ifo")
    y, over = [], [[], []]
    for x in t["x"]:
        z_i, z_g, z_f, z_o = numpy.split(numpy.concatenate([x, h], 1) @ t["kernel"] + t["bias"], 4, 1)
        c = sigmoid(z_f + 1.0 + w_f * c) * c + sigmoid(z_i + w_i * c) * numpy.tanh(z_g)
        over[0].append(numpy.abs(c) > cell_clip)
        c = c.clip(-cell_clip, cell_clip)
        h = sigmoid(z_o + w_o * c) * numpy.tanh(c)
        if "projection" in t:
            h = h @ t["projection"]
            over[1].append(numpy.abs(h) > proj_clip)
            h = h.clip(-proj_clip, proj_clip)
        y.append(h)
    return {"y": numpy.stack(y), "c_n": c, "h_n": h}, over


def tf_case(name, seed, use_peepholes=False, cell_clip=None, num_proj=None, proj_clip=None):
    random = numpy.random.default_rng(seed)
    steps, batch, inputs, hidden = 6, 4, 2, 5
    v1 = tensorflow.compat.v1
    t = {"x": random.standard_normal((steps, batch, inputs), numpy.float32)}
    with tensorflow.Graph().as_default(), v1.Session() as session:
        cell = v1.nn.rnn_cell.LSTMCell(
            hidden, use_peepholes=use_peepholes, cell_clip=cell_clip, num_proj=num_proj, proj_clip=proj_clip
        )
        y, state = v1.nn.dynamic_rnn(cell, tensorflow.constant(t["x"]), dtype=tensorflow.float32, time_major=True)
        for variable in v1.global_variables():
            key = variable.op.name.removeprefix("rnn/lstm_cell/").replace("projection/kernel", "projection")
            t[key] = random.uniform(-1.0, 1.0, variable.shape).astype(numpy.float32)
            session.run(v1.assign(variable, t[key]))
        y, (c_n, h_n) = session.run([y, state])
    result = {"y": y, "c_n": c_n, "h_n": h_n}
    t["clip"] = numpy.array([cell_clip or 0.0, proj_clip or 0.0], numpy.float32)
    ours, over = tf_by_hand(doubles(t))
    agree(name, ours, result)
    for limit, share in zip(t["clip"], over, strict=True):
        assert not limit or 0.1 < numpy.mean(share) < 0.7, (name, limit, numpy.mean(share))
    return under(name, t | result)


def cells_tf():
    projection = {"num_proj": 3, "proj_clip": 0.3}
    tensors = tf_case("peepholes", 8201, use_peepholes=True)
    tensors |= tf_case("peepholes_cell_clip", 8202, use_peepholes=True, cell_clip=0.5)
    tensors |= tf_case("projection_clip", 8203, **projection)
    tensors |= tf_case("all", 8204, use_peepholes=True, cell_clip=0.5, **projection)
    save("cells_tf", tensors, ("tensorflow", "tf_keras"))


if __name__ == "__main__":
    cells_onnx()
    cells_keras()
    cells_tf()
