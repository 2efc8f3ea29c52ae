//! Libraries whose weights may stand in a file of named arrays.

use std::fmt;
use std::str::FromStr;

/// Whose names and layouts the tensors of a safetensors or `.npz` file have, where the file itself doesn't tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Library {
    /// coremltools: gates i, f, o, g under Equinox's names.
    Coreml,
    /// Equinox's `LSTMCell`.
    Equinox,
    /// Flax's `LSTMCell` and `OptimizedLSTMCell`, of linen and of nnx.
    Flax,
    /// Haiku's `LSTM`: gates i, g, f, o; 1 is added to the forget gate.
    Haiku,
    /// Keras' `LSTM`, as named arrays.
    Keras,
    /// MLX's `nn.LSTM`.
    Mlx,
    /// Paddle's `nn.LSTM` and `nn.LSTMCell`; a linear layer's weight is `[in, out]`.
    Paddle,
    /// PyTorch's `nn.LSTM` and `nn.LSTMCell`, and who has taken its names over: tinygrad, candle.
    Pytorch,
    /// `BasicLSTMCell`, `LSTMCell` of TensorFlow 1: gates i, g, f, o; `forget_bias`, which is 1 unless it is said, is
    /// added to the forget gate when a cell runs, and in no file.
    Tensorflow1,
    /// The same, of cells that were made with `forget_bias=0`: nothing is added.
    Tensorflow1Zero,
}

impl Library {
    /// All of them.
    pub const ALL: [Library; 10] = [
        Library::Coreml,
        Library::Equinox,
        Library::Flax,
        Library::Haiku,
        Library::Keras,
        Library::Mlx,
        Library::Paddle,
        Library::Pytorch,
        Library::Tensorflow1,
        Library::Tensorflow1Zero,
    ];

    /// What it is called on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Library::Coreml => "coreml",
            Library::Equinox => "equinox",
            Library::Flax => "flax",
            Library::Haiku => "haiku",
            Library::Keras => "keras",
            Library::Mlx => "mlx",
            Library::Paddle => "paddle",
            Library::Pytorch => "pytorch",
            Library::Tensorflow1 => "tensorflow1",
            Library::Tensorflow1Zero => "tensorflow1-zero",
        }
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Library::Coreml => "coremltools",
            Library::Equinox => "Equinox",
            Library::Flax => "Flax",
            Library::Haiku => "Haiku",
            Library::Keras => "Keras",
            Library::Mlx => "MLX",
            Library::Paddle => "Paddle",
            Library::Pytorch => "PyTorch",
            Library::Tensorflow1 | Library::Tensorflow1Zero => "TensorFlow 1",
        })
    }
}

impl FromStr for Library {
    type Err = String;

    /// By its [`name`](Library::name).
    fn from_str(name: &str) -> Result<Library, String> {
        let found = Library::ALL.into_iter().find(|library| library.name() == name);
        found.ok_or_else(|| {
            let all = Library::ALL.map(Library::name).join(", ");
            format!("{name:?} is no library that is known here; those are {all}")
        })
    }
}
