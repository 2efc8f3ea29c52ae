"""Writes models as Keras 3 does, and what they compute.

    python3 -m venv env && env/bin/pip install torch==2.15.0 keras==3.15.0 h5py==3.16.0 safetensors==0.8.0 \
        numpy==2.4.6
    KERAS_BACKEND=torch env/bin/python tests/golden/import/keras_models.py

keras/NAME.{keras,weights.h5,h5} is a file as people have it; keras.safetensors holds for each NAME an input
`x [B, T, I]` (or `tokens [B, T]`) and the model's `out`, and of files without a head the layers' outputs `y`.
"""

import os
import pathlib
import shutil

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import keras
import numpy as np
from keras import layers
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
OUT = HERE / "keras"
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()
keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)
results = {}
B, T = 3, 5


def shaken(model):
    """Weights that differ, biases too."""
    for variable in model.trainable_variables:
        values = np.asarray(keras.ops.convert_to_numpy(variable.value))
        variable.assign(values + rng.uniform(-0.3, 0.3, values.shape).astype(np.float32))


def numpy(tensor):
    return np.ascontiguousarray(keras.ops.convert_to_numpy(tensor), dtype=np.float32)


def saved(name, model, ends=(".keras",), inputs=3, tokens=None):
    if tokens is None:
        x = rng.standard_normal((B, T, inputs)).astype(np.float32)
    else:
        x = rng.integers(0, tokens, (B, T))
    model(x)
    shaken(model)
    for end in ends:
        path = OUT / f"{name}{end}"
        model.save_weights(path) if end == ".weights.h5" else model.save(path)
    results[f"{name}.{'x' if tokens is None else 'tokens'}"] = x.astype(np.float32)
    results[f"{name}.out"] = numpy(model(x))
    return model, x


def sequential(*all, inputs=3):
    return keras.Sequential([keras.Input((None, inputs)), *all])


saved("one_layer", sequential(layers.LSTM(5), layers.Dense(2)), (".keras", ".weights.h5", ".h5"))
saved(
    "stacked",
    sequential(
        layers.Bidirectional(layers.LSTM(6, return_sequences=True, dropout=0.1)),
        layers.Bidirectional(layers.LSTM(4)),
        layers.Dense(7, activation="relu"),
        layers.Dropout(0.3),
        layers.Dense(3, use_bias=False, activation="softmax"),
    ),
    (".keras", ".h5"),
)
saved(
    "words",
    keras.Sequential([keras.Input((None,)), layers.Embedding(11, 4), layers.LSTM(5), layers.Dense(1, activation="sigmoid")]),
    tokens=11,
)
saved("hard", sequential(layers.LSTM(5, recurrent_activation="hard_sigmoid"), layers.Dense(2)), (".keras", ".h5"))
saved("every", sequential(layers.LSTM(5, return_sequences=True), layers.TimeDistributed(layers.Dense(2, activation="tanh"))))
saved("dense", sequential(layers.LSTM(5, return_sequences=True), layers.Dense(4), layers.ReLU(), layers.Dense(2)))
saved("backwards", sequential(layers.LSTM(5, go_backwards=True), layers.Dense(2)))
saved("relu", sequential(layers.LSTM(5, use_bias=False, activation="relu"), layers.Dense(2)))
saved("mean", sequential(layers.LSTM(5, return_sequences=True), layers.GlobalAveragePooling1D(), layers.Dense(2)))
saved("max", sequential(layers.LSTM(5, return_sequences=True), layers.GlobalMaxPooling1D(), layers.Dense(2)))
saved("bare", sequential(layers.LSTM(5, return_sequences=True), layers.LSTM(4)))

# The names of a session that has made others: groups are numbered by file, layers by session.
saved("renamed", sequential(layers.LSTM(4, return_sequences=True), layers.LSTM(6), layers.Dense(2)))

inputs = keras.Input((None, 3))
encoder = keras.Sequential([keras.Input((None, 3)), layers.LSTM(5, return_sequences=True), layers.LSTM(4)], name="encoder")
saved("nested", keras.Model(inputs, layers.Dense(2)(encoder(inputs))), (".keras", ".weights.h5", ".h5"))
inputs = keras.Input((None, 3))
both = layers.Concatenate()([layers.LSTM(5)(inputs), layers.LSTM(4)(inputs)])
saved("branched", keras.Model(inputs, layers.Dense(2)(both)))


class Own(keras.Model):
    """Attributes, and a list of them."""

    def __init__(self):
        super().__init__()
        self.encoder = layers.LSTM(5, return_sequences=True)
        self.memory = [layers.LSTM(4, return_sequences=True), layers.LSTM(6)]
        self.out = layers.Dense(2)

    def call(self, x):
        x = self.encoder(x)
        for layer in self.memory:
            x = layer(x)
        return self.out(x)


model, x = saved("own", Own(), (".weights.h5",))
y = model.encoder(x)
results["own.encoder"] = numpy(y)
saved("refused_gru", sequential(layers.GRU(5), layers.Dense(2)))
saved("summed", sequential(layers.Bidirectional(layers.LSTM(5), merge_mode="sum"), layers.Dense(2)))


# Models that aren't what a chain of their layers would be.
def functional(build, inputs=3):
    x = keras.Input((None, inputs))
    return keras.Model(x, build(x))


def initial(x):
    s, h, c = layers.LSTM(6, return_sequences=True, return_state=True)(x)
    return layers.Dense(2)(layers.LSTM(6)(s, initial_state=[h, c]))


saved("cell_state", functional(lambda x: layers.Dense(2)(layers.LSTM(6, return_state=True)(x)[2])), (".keras", ".h5"))
saved("initial", functional(initial))
saved("softmax_axis", sequential(layers.LSTM(5, return_sequences=True), layers.Softmax(axis=1)))
saved("channels", keras.Sequential([keras.Input((5, 3)), layers.LSTM(5, return_sequences=True), layers.GlobalAveragePooling1D(data_format="channels_first"), layers.Dense(2)]))
saved(
    "backward",
    sequential(
        layers.Bidirectional(layers.LSTM(6), backward_layer=layers.LSTM(6, activation="relu", go_backwards=True)),
        layers.Dense(2),
    ),
)
saved("cells", sequential(layers.RNN([layers.LSTMCell(4), layers.LSTMCell(4)]), layers.Dense(2)), (".h5",))


# CuDNNLSTM of Keras 2, which no processor runs: the layout that it has, of a layer whose outputs are known.
model = sequential(layers.LSTM(5, name="cu_dnnlstm"), layers.Dense(2, name="dense"))
shaken(model)
x = rng.standard_normal((B, T, 3)).astype(np.float32)
results["cudnn.x"], results["cudnn.out"] = x, numpy(model(x))
kernel, recurrent, bias, dense, dense_bias = (numpy(v.value) for v in model.trainable_variables)
gates = lambda all: np.split(all, 4, axis=1)
# W_g [H, I] of each gate, row by row, in the place of K_g [I, H]; R_g as it is.
kernel = np.concatenate([np.ascontiguousarray(k.T).reshape(k.shape) for k in gates(kernel)], axis=1)
recurrent = np.concatenate([r.T for r in gates(recurrent)], axis=1)
half = rng.uniform(-1, 1, bias.shape).astype(np.float32)
bias = np.concatenate([bias - half, half])
config = (
    '{"class_name": "Sequential", "config": {"name": "sequential", "layers": ['
    '{"class_name": "CuDNNLSTM", "config": {"name": "cu_dnnlstm", "units": 5, "return_sequences": false,'
    ' "go_backwards": false, "stateful": false, "batch_input_shape": [null, null, 3]}},'
    ' {"class_name": "Dense", "config": {"name": "dense", "units": 2, "activation": "linear", "use_bias": true}}]}}'
)
with h5py.File(OUT / "cudnn.h5", "w") as file:
    file.attrs["keras_version"], file.attrs["backend"] = b"2.2.4-tf", b"tensorflow"
    file.attrs["model_config"] = config.encode()
    group = file.create_group("model_weights")
    group.attrs["layer_names"] = [b"cu_dnnlstm", b"dense"]
    for layer, values in {
        "cu_dnnlstm": {"kernel:0": kernel, "recurrent_kernel:0": recurrent, "bias:0": bias},
        "dense": {"kernel:0": dense, "bias:0": dense_bias},
    }.items():
        own = group.create_group(layer)
        own.attrs["weight_names"] = [f"{layer}/{name}".encode() for name in values]
        for name, value in values.items():
            own.create_dataset(f"{layer}/{name}", data=value)

# Small files that claim much: an archive and a chunk that unpack to a thousand times as many bytes, and a tensor of
# which nothing is stored.
import zipfile

with zipfile.ZipFile(OUT / "much_archive.keras", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("model.weights.h5", bytes(32 << 20))
for name, options in {"much_chunks": {"chunks": (2048, 4096), "compression": "gzip"}, "much_nothing": {}}.items():
    with h5py.File(OUT / f"{name}.weights.h5", "w") as file:
        vars = file.create_group("layers/lstm/cell/vars")
        kernel = vars.create_dataset("0", shape=(2048, 4096), dtype=np.float32, **options)
        if options:
            kernel[...] = 0
        vars.create_dataset("1", data=np.zeros((1024, 4096), np.float32)[:1, :4])

save_file(results, HERE / "keras.safetensors")
print(len(results), "arrays;", sum(f.stat().st_size for f in OUT.iterdir()), "bytes of models")
