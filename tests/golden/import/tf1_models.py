"""Writes variables as TensorFlow 1 names them, and what their graphs compute.

    python3 -m venv env && env/bin/pip install tensorflow_cpu==2.21.0 tf_keras==2.21.0 safetensors==0.8.0 numpy==2.4.6
    env/bin/python tests/golden/import/tf1_models.py

tf1/NAME.npz has the arrays of a graph's variables by name, without ':0' as checkpoints have them (tf1_bidirectional:
with it); tf1_checkpoint is the whole of a checkpoint after a step of Adam. tf1.safetensors holds for each NAME an input
`x [B, T, I]`, the LSTM's outputs `y [B, T, D H or P]` and with a head the prediction `out [B, O]` from the last output.
Of several LSTMs each has an input and outputs of its own, `NAME.LSTM.x` and `NAME.LSTM.y`.
"""

import os
import pathlib
import shutil
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow
from safetensors.numpy import save_file

tf = tensorflow.compat.v1
tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)
HERE = pathlib.Path(__file__).parent
OUT = HERE / "tf1"
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()
rng = np.random.default_rng(1)
results = {}
B, T = 3, 5
cells = tf.nn.rnn_cell


def shaken(session):
    """Weights that differ, biases too."""
    for v in tf.trainable_variables():
        v.load(session.run(v) + rng.uniform(-0.3, 0.3, v.shape).astype(np.float32), session)


def saved(name, build, inputs, ends="", adam=False):
    """`build` gives by name what to keep."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        x = tf.placeholder(tf.float32, [None, None, inputs], name="x")
        found = build(x)
        step = tf.train.AdamOptimizer(0.1).minimize(tf.reduce_sum(found["out"])) if adam else None
        session.run(tf.global_variables_initializer())
        shaken(session)
        given = {x: rng.standard_normal((B, T, inputs)).astype(np.float32)}
        if adam:
            session.run(step, given)
            with tempfile.TemporaryDirectory() as folder:
                reader = tf.train.load_checkpoint(tf.train.Saver().save(session, f"{folder}/model.ckpt"))
                arrays = {k: reader.get_tensor(k) for k in reader.get_variable_to_shape_map()}
                arrays = dict(sorted(arrays.items()))
        else:
            arrays = {v.name.removesuffix(":0") + ends: session.run(v) for v in tf.global_variables()}
        np.savez(OUT / f"{name}.npz", **arrays)
        for what, array in session.run(found, given).items():
            results[f"{name}.{what}"] = np.ascontiguousarray(array, dtype=np.float32)
        print(name, {k: v.shape for k, v in arrays.items()})


def basic(x):
    y, _ = tf.nn.dynamic_rnn(cells.BasicLSTMCell(5), x, dtype=tf.float32)
    return {"x": x, "y": y, "out": tf.layers.dense(y[:, -1], 2)}


def peepholes(x):
    """The head's variables are made by hand."""
    y, _ = tf.nn.dynamic_rnn(cells.LSTMCell(6, use_peepholes=True), x, dtype=tf.float32)
    w, b = tf.get_variable("W", [6, 2]), tf.get_variable("b", [2], initializer=tf.zeros_initializer())
    return {"x": x, "y": y, "out": y[:, -1] @ w + b}


def projected(x):
    y, _ = tf.nn.dynamic_rnn(cells.LSTMCell(6, num_proj=4), x, dtype=tf.float32)
    return {"x": x, "y": y}


def stacked(x):
    both = [cells.BasicLSTMCell(6), cells.BasicLSTMCell(5)]
    y, _ = tf.nn.dynamic_rnn(cells.MultiRNNCell(both), x, dtype=tf.float32)
    out = tf.layers.dense(y[:, -1], 2, name="head")
    count = len(tf.global_variables())
    first, _ = tf.nn.dynamic_rnn(both[0], x, dtype=tf.float32, scope="again")
    assert len(tf.global_variables()) == count
    names = [f"rnn/multi_rnn_cell/cell_{n}/basic_lstm_cell" for n in range(2)]
    return {f"{names[0]}.x": x, f"{names[0]}.y": first, f"{names[1]}.x": first, f"{names[1]}.y": y, "out": out}


def bidirectional(x):
    y, _ = tf.nn.bidirectional_dynamic_rnn(cells.LSTMCell(5), cells.LSTMCell(5), x, dtype=tf.float32)
    return {"x": x, "y": tf.concat(y, 2)}


saved("tf1_basic", basic, 3)
saved("tf1_peepholes", peepholes, 4)
saved("tf1_projected", projected, 3)
saved("tf1_stacked", stacked, 4)
saved("tf1_bidirectional", bidirectional, 3, ends=":0")
saved("tf1_checkpoint", basic, 4, adam=True)

save_file(results, HERE / "tf1.safetensors")
print(len(results), "arrays;", sum(f.stat().st_size for f in OUT.iterdir()), "bytes of models")
