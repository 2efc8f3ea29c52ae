//! Weights in files, and weights of other frameworks.
//!
//! Everything is a [`StateDict`]: PyTorch's names, PyTorch's layouts. [`read`] (of bytes, [`parse`])
//! and [`write()`] keep one in a safetensors file; [`with_prefix`] takes a part out of a larger model;
//! the converters make one from what others keep, and back. They work layer by layer, on the names
//! that end in `suffix`: `l0` for the first, `l1_reverse` for the backward direction of the second.
//!
//! | from | to | biases | a model of |
//! |---|---|---|---|
//! | [`from_gates`] | [`to_gates`] | one a gate | [`Bias::Single`](crate::Bias::Single) |
//! | [`from_keras`] | [`to_keras`] | one a gate | [`Bias::Single`](crate::Bias::Single) |
//! | [`from_onnx`] | [`to_onnx`] | two a gate | [`Bias::Double`](crate::Bias::Double) |
//!
//! Without biases all three give a layer of [`Bias::None`](crate::Bias::None).
//!
//! ```
//! use std::collections::HashMap;
//! use gatefold::{Device, Lstm, LstmConfig, checkpoint};
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("model.safetensors");
//! let device = Device::cpu();
//! let mut lstm = Lstm::new(&device, LstmConfig::new(3, 8))?;
//! // A model of several parts, of which one is an LSTM.
//! let tensors = checkpoint::prefixed(&lstm.state_dict()?, "encoder.lstm.");
//! checkpoint::write(&path, &tensors, &HashMap::new())?;
//!
//! let model = checkpoint::read(&path)?;
//! lstm.load_state_dict(&checkpoint::with_prefix(&model.tensors, "encoder.lstm."))?;
//! # Ok::<(), gatefold::Error>(())
//! ```

mod file;
mod gates;
mod header;
mod keras;
mod kind;
mod layer;
mod onnx;
mod replace;

use std::borrow::Cow;

use crate::tensor::Array;

#[cfg(any(feature = "import-npz", feature = "import-pytorch"))]
pub(crate) use file::floats;
pub use file::{Checkpoint, LeftOut, Reason, parse, read, read_part, write};
pub use gates::{GateLayout, GateNames, from_gates, to_gates};
pub use keras::{KerasLstm, from_keras, to_keras};
pub(crate) use kind::{Kind, ends};
pub(crate) use layer::{quarters, transposed};
pub use onnx::{OnnxLstm, from_onnx, peepholes_from_onnx, to_onnx};
#[cfg(feature = "import-onnx")]
pub(crate) use replace::replace;

/// Tensors under PyTorch's names, in PyTorch's layouts: `weight_ih_l0 [4H, I]`,
/// `weight_hh_l0 [4H, H]`, `bias_ih_l0 [4H]`, `bias_hh_l0 [4H]` and so on, gates in the order
/// i, f, g, o.
pub type StateDict = Vec<(String, Array)>;

/// The tensors whose names start with `prefix`, without it: how a part is taken out of a model,
/// as `lstm.` or `fc.`. The dot may be left away.
///
/// ```
/// use gatefold::{Array, checkpoint};
/// let array = Array::new(vec![1.0], &[1])?;
/// let model = vec![("lstm.bias_ih_l0".to_owned(), array.clone()), ("fc.bias".to_owned(), array)];
/// let fc = checkpoint::with_prefix(&model, "fc.");
/// assert_eq!(fc.len(), 1);
/// assert_eq!(fc[0].0, "bias");
/// # Ok::<(), gatefold::Error>(())
/// ```
pub fn with_prefix(tensors: &[(String, Array)], prefix: &str) -> StateDict {
    let prefix = &*dotted(prefix, tensors.iter().map(|(name, _)| name.as_str()));
    let strip = |(name, array): &(String, Array)| {
        name.strip_prefix(prefix).map(|rest| (rest.to_owned(), array.clone()))
    };
    tensors.iter().filter_map(strip).collect()
}

/// The same tensors with `prefix` before every name: the reverse of [`with_prefix`]. A prefix that ends in
/// a letter or a digit gets the dot that is missing.
pub fn prefixed(tensors: &[(String, Array)], prefix: &str) -> StateDict {
    let prefix = dotted(prefix, []);
    tensors.iter().map(|(name, array)| (format!("{prefix}{name}"), array.clone())).collect()
}

/// A prefix as it stands before some of the names: as it is given, or with a dot behind it, as modules of
/// PyTorch have one. Where neither is there, a dot is what is missing behind a letter or a digit.
pub(crate) fn dotted<'a, 'n>(
    prefix: &'a str,
    names: impl IntoIterator<Item = &'n str>,
) -> Cow<'a, str> {
    if !prefix.ends_with(char::is_alphanumeric) {
        return prefix.into();
    }
    let mut as_given = false;
    for rest in names.into_iter().filter_map(|name| name.strip_prefix(prefix)) {
        if rest.starts_with('.') {
            return format!("{prefix}.").into();
        }
        as_given = true;
    }
    if as_given { prefix.into() } else { format!("{prefix}.").into() }
}
