"""The contestants of Python: PyTorch and ONNX Runtime.

    contestant.py THREADS pytorch [cuda f32|tf32|f16]
    contestant.py THREADS onnxruntime

What is asked and answered stands in contestant/src/lib.rs. What is built for a task has two methods:
`check` computes once and returns arrays, `run` computes so many times and waits for the device.
"""

import sys
import time
from pathlib import Path

LOSSES = 5
LEARNING_RATE = 1e-3


def say(word, rest=""):
    print(f"= {word} {rest}".replace("\n", " ").rstrip(), flush=True)


def read(folder, shape):
    """The tensors of a task, under the names of their files."""
    import numpy as np

    T, B, I, H = shape
    shapes = {
        "x": (T, B, I),
        "weight_ih": (4 * H, I),
        "weight_hh": (4 * H, H),
        "bias_ih": (4 * H,),
        "bias_hh": (4 * H,),
        "dy": (T, B, H),
        "target": (B, H),
    }
    return {
        name: np.fromfile(Path(folder) / f"{name}.f32", "<f4").reshape(size)
        for name, size in shapes.items()
    }


class PyTorch:
    """`torch.nn.LSTM`, on the CPU or with CUDA."""

    def __init__(self, threads, device="cpu", precision="f32"):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.device, self.precision = torch, device, precision
        self.about = f"PyTorch {torch.__version__}, CPU, {torch.get_num_threads()} threads"
        if device == "cuda":
            if not torch.cuda.is_available():
                raise RuntimeError("this PyTorch finds no CUDA device")
            # Products and cuDNN have a switch each.
            tf32 = precision == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = tf32
            torch.backends.cudnn.allow_tf32 = tf32
            words = {"f32": "TF32 off", "tf32": "TF32 on", "f16": "f16, training in mixed precision"}
            self.about = (
                f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN "
                f"{torch.backends.cudnn.version()}, {torch.cuda.get_device_name()}, {words[precision]}"
            )

    def build(self, kind, shape, tensors):
        torch = self.torch
        _, _, I, H = shape
        # In f16, training keeps its parameters in f32.
        half = self.precision == "f16" and kind != "step"
        dtype = torch.float16 if half else torch.float32

        def on_device(values):
            return torch.from_numpy(values).to(self.device, dtype)

        lstm = torch.nn.LSTM(I, H)
        with torch.no_grad():
            for name in ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]:
                getattr(lstm, f"{name}_l0").copy_(torch.from_numpy(tensors[name]))
        lstm = lstm.to(self.device, dtype)
        lstm.flatten_parameters()
        x = on_device(tensors["x"])
        if kind == "inference":
            return Inference(self, lstm.eval(), x)
        if kind == "forward_backward":
            return Gradients(self, lstm, x.requires_grad_(), on_device(tensors["dy"]))
        mixed = self.precision == "f16"
        return Training(self, lstm, x, on_device(tensors["target"]), mixed)

    def wait(self):
        if self.device == "cuda":
            self.torch.cuda.synchronize()


class Inference:
    def __init__(self, torch, lstm, x):
        self.torch, self.lstm, self.x = torch, lstm, x

    def check(self):
        with self.torch.torch.inference_mode():
            return [self.lstm(self.x)[0].float().cpu().numpy()]

    def run(self, times):
        with self.torch.torch.inference_mode():
            for _ in range(times):
                self.lstm(self.x)
                self.torch.wait()


class Gradients:
    def __init__(self, torch, lstm, x, dy):
        self.torch, self.lstm, self.x, self.dy = torch, lstm, x, dy

    def once(self):
        self.lstm.zero_grad()
        self.x.grad = None
        self.lstm(self.x)[0].backward(self.dy)
        self.torch.wait()

    def check(self):
        self.once()
        of = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
        gradients = [self.x.grad] + [getattr(self.lstm, name).grad for name in of]
        return [gradient.float().cpu().numpy() for gradient in gradients]

    def run(self, times):
        for _ in range(times):
            self.once()


class Training:
    def __init__(self, torch, lstm, x, target, mixed):
        self.torch, self.lstm, self.x, self.target = torch, lstm, x, target
        self.adam = torch.torch.optim.Adam(lstm.parameters(), lr=LEARNING_RATE)
        self.mse = torch.torch.nn.functional.mse_loss
        self.scaler = torch.torch.amp.GradScaler(torch.device) if mixed else None

    def step(self):
        self.adam.zero_grad()
        if self.scaler is None:
            loss = self.mse(self.lstm(self.x)[1][0][0], self.target)
            loss.backward()
            self.adam.step()
            return loss
        with self.torch.torch.autocast(self.torch.device, self.torch.torch.float16):
            loss = self.mse(self.lstm(self.x)[1][0][0].float(), self.target)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.adam)
        self.scaler.update()
        return loss

    def check(self):
        return [self.step().detach().cpu().numpy() for _ in range(LOSSES)]

    def run(self, times):
        for _ in range(times):
            self.step()
        self.torch.wait()


class OnnxRuntime:
    """A graph of one `LSTM` node, on the CPU."""

    def __init__(self, threads):
        import onnx
        import onnxruntime

        self.onnx, self.runtime, self.threads = onnx, onnxruntime, threads
        self.about = f"ONNX Runtime {onnxruntime.__version__}, CPU, {threads} threads"

    def build(self, kind, shape, tensors):
        import numpy as np

        if kind != "inference":
            raise RuntimeError("it doesn't train")
        helper, numpy_helper = self.onnx.helper, self.onnx.numpy_helper
        T, B, I, H = shape

        def gates(values):
            i, f, g, o = np.split(values, 4)
            return np.concatenate([i, o, f, g])

        parameters = {
            "W": gates(tensors["weight_ih"])[None],
            "R": gates(tensors["weight_hh"])[None],
            "B": np.concatenate([gates(tensors["bias_ih"]), gates(tensors["bias_hh"])])[None],
        }
        number = self.onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            [helper.make_node("LSTM", ["x", "W", "R", "B"], ["y", "h", "c"], hidden_size=H)],
            "lstm",
            [helper.make_tensor_value_info("x", number, [T, B, I])],
            [
                helper.make_tensor_value_info("y", number, [T, 1, B, H]),
                helper.make_tensor_value_info("h", number, [1, B, H]),
                helper.make_tensor_value_info("c", number, [1, B, H]),
            ],
            [numpy_helper.from_array(values, name) for name, values in parameters.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        session = self.runtime.InferenceSession(model.SerializeToString(), options, providers)
        return OnnxSession(session, tensors["x"])


class OnnxSession:
    def __init__(self, session, x):
        self.session, self.inputs = session, {"x": x}

    def check(self):
        return [self.session.run(None, self.inputs)[0]]

    def run(self, times):
        for _ in range(times):
            self.session.run(None, self.inputs)


def answer(library, model, line):
    """What a request is answered with, and the model from then on."""
    import numpy as np

    request, _, rest = line.partition(" ")
    if request == "load":
        kind, sizes, folder = rest.split(" ", 2)
        shape = [int(size) for size in sizes.split(",")]
        return ("ready",), library.build(kind, shape, read(folder, shape))
    if request == "check":
        values = [np.ravel(part).astype("<f4") for part in model.check()]
        np.concatenate(values).tofile(rest)
        return ("ready",), model
    if request == "go":
        times = int(rest)
        start = time.perf_counter()
        model.run(times)
        return ("took", f"{time.perf_counter() - start:e}"), model
    raise ValueError(f"what is {request}?")


def main():
    threads, name, *how = sys.argv[1:]
    try:
        library = {"pytorch": PyTorch, "onnxruntime": OnnxRuntime}[name](int(threads), *how)
    except (ImportError, RuntimeError) as error:
        say("missing", error)
        return
    say("hello", library.about)
    model = None
    for line in sys.stdin:
        line = line.rstrip("\n")
        if line.startswith("load "):
            # The one before goes first: a device may not hold two.
            model = None
        try:
            words, model = answer(library, model, line)
            say(*words)
        except Exception as error:
            say("error", f"{type(error).__name__}: {error}")


main()
