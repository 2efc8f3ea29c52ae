"""Writes ONNX models as Keras and tf2onnx do, and what Keras computes with them.

    python3 -m venv env && env/bin/pip install tf2onnx==1.17.0 tensorflow_cpu==2.21.0 keras==3.15.0 \
        tf_keras==2.21.0 onnx==1.23.2 onnxruntime==1.32.0 safetensors==0.8.0 numpy==2.4.6
    PYTHONHASHSEED=0 env/bin/python tests/golden/import/tf2onnx_models.py

tf2onnx/NAME.onnx is a file as people have it: of Keras 3's `export` (through `from_function` where the batch is
fixed, which `export` frees), or where the name ends in `_2` of tf_keras through `from_keras`; names in it differ from
run to run. tf2onnx.safetensors holds for each NAME an input `x [B, T, I]` (or `tokens [B, T]`, all in f32) and the
model's `out`, with which ONNX Runtime agrees; not so for `wrong_NAME`, whose file computes something else.
"""

import logging
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", KERAS_BACKEND="tensorflow")
sys.path.pop(0)  # the folders here, such as jax, are no packages

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
import tf_keras
from safetensors.numpy import save_file

logging.disable(logging.WARNING)
HERE = pathlib.Path(__file__).parent
OUT = HERE / "tf2onnx"
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()
keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)
results = {}
B, T, I, WORDS = 3, 5, 4, 11
FREE = (None, None, I)


def shaken(model):
    """Weights that differ, biases too."""
    for variable in model.trainable_variables:
        values = np.asarray(variable)
        variable.assign(values + rng.uniform(-0.3, 0.3, values.shape).astype(np.float32))


def layer(name, *args, **kwargs):
    return lambda of: getattr(of.layers, name)(*args, **kwargs)


def lstm(units, **kwargs):
    return layer("LSTM", units, **kwargs)


def both(units, merge_mode="concat", **kwargs):
    return lambda of: of.layers.Bidirectional(lstm(units, **kwargs)(of), merge_mode=merge_mode)


def distributed(*args, **kwargs):
    return lambda of: of.layers.TimeDistributed(layer(*args, **kwargs)(of))


def chain(*layers):
    def build(of, x):
        for each in layers:
            x = each(of)(x)
        return x

    return build


dense = layer("Dense", 2)


def written(name, build, *, old=False, shape=FREE, opset=None, how=None):
    """The model of `build` in a file; `shape` has no last axis where it takes tokens."""
    of = tf_keras if old else keras
    how = how or ("from_keras" if old else "export")
    name = f"{name}_2" if old else name
    path = str(OUT / f"{name}.onnx")
    of.backend.clear_session()
    x = of.Input(batch_size=shape[0], shape=shape[1:])
    model = of.Model(x, build(of, x))
    shaken(model)
    if len(shape) == 3:
        x = rng.standard_normal((B, T, I)).astype(np.float32)
    else:
        x = rng.integers(0, WORDS, (B, T)).astype(np.float32)
    out = model(x)
    out = np.asarray(out[0] if isinstance(out, (list, tuple)) else out)
    signature = [tf.TensorSpec(shape, tf.float32, name="x")]
    if how == "from_keras":
        tf2onnx.convert.from_keras(model, signature, opset=opset, output_path=path)
    elif how == "from_function":
        function = tf.function(lambda x: model(x), input_signature=signature)
        tf2onnx.convert.from_function(function, signature, opset=opset, output_path=path)
    elif how == "export":
        model.export(path, format="onnx", verbose=False, opset_version=opset)
    else:
        with tempfile.TemporaryDirectory() as folder:
            model.export(folder, verbose=False)
            command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", folder, "--output", path]
            subprocess.run(command, check=True, capture_output=True)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    of_file = session.run(None, {session.get_inputs()[0].name: x})[0]
    apart = np.abs(of_file - out).max() if of_file.shape == out.shape else f"{of_file.shape}, not {out.shape}"
    assert name.startswith("wrong_") or apart < 1e-6, (name, apart)
    types = [node.op_type for node in onnx.load(path).graph.node]
    print(f"{name}: LSTM {types.count('LSTM')}, Loop {types.count('Loop')}, apart {apart}")
    results[f"{name}.{'x' if len(shape) == 3 else 'tokens'}"] = x
    results[f"{name}.out"] = out


# What both have, of free batch and time.
for old in (False, True):
    written("one_layer", chain(lstm(6), dense), old=old)
    written("stacked", chain(lstm(7, return_sequences=True), lstm(6), dense), old=old)
    written("both", chain(both(6), dense), old=old)
    written("both_mean", chain(both(6, return_sequences=True), layer("GlobalAveragePooling1D"), dense), old=old)
    written("both_max", chain(both(6, return_sequences=True), layer("GlobalMaxPooling1D"), dense), old=old)
    written("both_every", chain(both(6, return_sequences=True), dense), old=old)
    network = layer("Dense", 8, activation="relu"), layer("Dropout", 0.3), layer("Dense", 2, activation="softmax")
    written("both_stacked", chain(both(7, return_sequences=True), both(6), *network), old=old)
    written("every", chain(lstm(6, return_sequences=True), layer("Dense", 2, activation="tanh")), old=old)
    written("backwards", chain(lstm(6, go_backwards=True), dense), old=old)
    written("mean", chain(lstm(6, return_sequences=True), layer("GlobalAveragePooling1D"), dense), old=old)
    words = layer("Embedding", WORDS, 8), lstm(6), layer("Dense", 1, activation="sigmoid")
    written("words", chain(*words), old=old, shape=(None, None))

# What one of them has.
written("distributed", chain(lstm(6, return_sequences=True), distributed("Dense", 2)), old=True)
written("hard", chain(lstm(6, recurrent_activation="hard_sigmoid"), dense), old=True)
written("both_hard", chain(both(6, recurrent_activation="hard_sigmoid"), dense), old=True)
written("relu", chain(lstm(6, activation="relu", use_bias=False), layer("Dense", 2, use_bias=False)))
written("softmax", chain(lstm(6), layer("Dense", 8, activation="relu"), layer("Dense", 2, activation="softmax")))
written("last", lambda of, x: of.layers.Dense(2)(of.layers.LSTM(6, return_sequences=True)(x)[:, -1]))
written("bare", chain(lstm(6, return_sequences=True)))
written("cell", lambda of, x: of.layers.Dense(2)(of.layers.RNN(of.layers.LSTMCell(6))(x)))
written("words_whole", chain(*words), old=True, shape=(None, None), how="from_function")
written("saved", chain(lstm(6), dense), how="saved_model")

# Axes of known length.
sequences = lstm(6, return_sequences=True)
mean = layer("GlobalAveragePooling1D")
FIXED = {"shape": (B, T, I), "how": "from_function"}
written("fixed", chain(lstm(6), dense), old=True, shape=(B, T, I))
written("fixed", chain(lstm(6), dense), **FIXED)
written("fixed_stacked", chain(lstm(7, return_sequences=True), lstm(6), dense), **FIXED)
written("fixed_both", chain(both(7, return_sequences=True), both(6), *network), **FIXED, opset=17)
written("fixed_both_mean", chain(both(6, return_sequences=True), mean, dense), **FIXED, opset=18)
written("fixed_every", chain(sequences, dense), **FIXED)
written("fixed_both_every", chain(both(6, return_sequences=True), dense), **FIXED)
written("fixed_distributed", chain(sequences, distributed("Dense", 2)), **FIXED)
written("fixed_distributed", chain(sequences, distributed("Dense", 2)), old=True, shape=(B, T, I))
written("fixed_backwards", chain(lstm(6, go_backwards=True), dense), **FIXED)
written("fixed_words", chain(*words), shape=(B, T), how="from_function")
written("time", chain(lstm(6), dense), shape=(None, T, I))
written("time_both_every", chain(both(6, return_sequences=True), dense), shape=(None, T, I))
written("time_distributed", chain(sequences, distributed("Dense", 2)), shape=(None, T, I))
written("time_backwards", chain(lstm(6, go_backwards=True), dense), shape=(None, T, I))

# Other versions of the operators: Squeeze's axes are an attribute before 13, ReduceMean's before 18.
written("opset_9", chain(both(6), dense), opset=9)
written("opset_12", chain(both(6, return_sequences=True), mean, dense), opset=12)
written("opset_17", chain(lstm(7, return_sequences=True), both(6), dense), opset=17)
written("opset_18", chain(sequences, mean, dense), opset=18)

# Models that aren't what a chain of their layers would be.


def last(of):
    return lambda x: x[:, -1]


written("backwards_every", chain(lstm(6, go_backwards=True, return_sequences=True), dense))
written("summed", chain(both(6, "sum"), dense))
written("ends", chain(both(6, return_sequences=True), last, dense))
written("states", lambda of, x: of.layers.Dense(2)(of.layers.LSTM(6, return_state=True)(x)[2]))
written("normed", chain(lstm(6), layer("BatchNormalization"), dense))
written("flat", chain(lstm(6, return_sequences=True), layer("Flatten"), dense), shape=(None, T, I))
written("repeated", chain(lstm(7), layer("RepeatVector", T), lstm(6, return_sequences=True), dense))
written("softmax_time", chain(lstm(6, return_sequences=True), layer("Softmax", axis=1)))
channels = layer("GlobalAveragePooling1D", "channels_first")
written("channels", chain(sequences, channels, dense), shape=(None, T, I))
written("first", lambda of, x: of.layers.Dense(2)(of.layers.LSTM(6, return_sequences=True)(x)[:, 0]))


def decoder(of, x):
    _, h, c = of.layers.LSTM(6, return_state=True)(x)
    return of.layers.Dense(2)(of.layers.LSTM(6)(x, initial_state=[h, c]))


def other_backward(of, x):
    backward = of.layers.LSTM(6, activation="relu", go_backwards=True)
    return of.layers.Dense(2)(of.layers.Bidirectional(of.layers.LSTM(6), backward_layer=backward)(x))


written("decoder", decoder)
written("other_backward", other_backward)

# Without an LSTM node.
written("refused_hard", chain(lstm(6, recurrent_activation="hard_sigmoid"), dense))
written("refused_masked", chain(layer("Masking"), lstm(6), dense))
written("refused_masked", chain(layer("Masking"), lstm(6), dense), old=True)
written("refused_dropout", chain(lstm(6, recurrent_dropout=0.2), dense), old=True)
written("refused_unrolled", chain(lstm(6, unroll=True), dense), shape=(None, T, I))

# As many steps as the batch has rows.
written("wrong_distributed", chain(lstm(6, return_sequences=True), distributed("Dense", 2)))

save_file(results, HERE / "tf2onnx.safetensors")
print(len(results), "arrays;", sum(f.stat().st_size for f in OUT.iterdir()), "bytes of models")
