"""Writes models as Keras 2 does (tf_keras), and what they compute.

    python3 -m venv env && env/bin/pip install tensorflow_cpu==2.21.0 tf_keras==2.21.0 h5py==3.14.0 \
        safetensors==0.8.0 numpy==2.4.6
    env/bin/python tests/golden/import/tf_keras_models.py

tf_keras/NAME.{keras,h5,weights.h5} are files as people have them; tf_keras.safetensors holds for each NAME an input
`x [B, T, I]` and the model's `out`. Before it keras_models.py is to be run: of its CuDNNLSTM this asks the real
library, which reads such a file into a plain LSTM.
"""

import os
import pathlib
import shutil

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tf_keras as keras
from safetensors.numpy import load_file, save_file
from tf_keras import layers

HERE = pathlib.Path(__file__).parent
OUT = HERE / "tf_keras"
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()
keras.utils.set_random_seed(2)
rng = np.random.default_rng(2)
results = {}
B, T = 3, 5


def saved(name, model, ends):
    x = rng.standard_normal((B, T, 3)).astype(np.float32)
    model(x)
    model.set_weights([w + rng.uniform(-0.3, 0.3, w.shape) for w in model.get_weights()])
    for end in ends:
        path = OUT / f"{name}{end}"
        model.save_weights(path) if end == ".weights.h5" else model.save(path)
    results[f"{name}.x"], results[f"{name}.out"] = x, model(x).numpy()


saved(
    "both",
    keras.Sequential([
        keras.Input((None, 3)),
        layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
        layers.Bidirectional(layers.LSTM(4)),
        layers.Dense(3, activation="softmax"),
    ]),
    [".h5", ".keras"],
)
saved(
    "hard",
    keras.Sequential([
        keras.Input((None, 3)),
        layers.LSTM(5, recurrent_activation="hard_sigmoid", return_sequences=True),
        layers.LSTM(4, recurrent_activation="hard_sigmoid"),
        layers.Dense(2),
    ]),
    [".h5", ".keras"],
)
inputs = keras.Input((None, 3))
inner = keras.Sequential([keras.Input((None, 3)), layers.LSTM(5)], name="encoder")
saved("nested", keras.Model(inputs, layers.Dense(2)(inner(inputs))), [".h5", ".keras"])
saved(
    "weights",
    keras.Sequential([keras.Input((None, 3)), layers.LSTM(5), layers.Dense(2)]),
    [".weights.h5"],
)

plain = keras.Sequential([keras.Input((None, 3)), layers.LSTM(5, name="cu_dnnlstm"), layers.Dense(2, name="dense")])
# A layer of another class under the same name, converted by the library.
import h5py
from tf_keras.src.saving.legacy import hdf5_format

with h5py.File(HERE / "keras" / "cudnn.h5") as file:
    group = file["model_weights"]
    for layer in plain.layers:
        own = group[layer.name]
        values = [np.asarray(own[name]) for name in own.attrs["weight_names"]]
        values = hdf5_format.preprocess_weights_for_loading(layer, values, "2", "tensorflow")
        layer.set_weights(values)
cudnn = load_file(HERE / "keras.safetensors")
apart = np.abs(plain(cudnn["cudnn.x"]).numpy() - cudnn["cudnn.out"]).max()
print(f"the CuDNNLSTM that keras_models.py writes is {apart:.1e} from what tf_keras makes of it")
assert apart < 1e-6

save_file(results, HERE / "tf_keras.safetensors")
print(len(results), "arrays;", sum(f.stat().st_size for f in OUT.iterdir()), "bytes of models")
