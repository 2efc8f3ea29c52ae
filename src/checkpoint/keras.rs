//! The weights of `keras.layers.LSTM`.

use super::StateDict;
use super::layer::{Layer, Lookup, named, transposed};
use crate::error::Result;
use crate::tensor::{Array, expect_shape};

/// What `get_weights()` of a Keras layer gives; gates in the order i, f, c, o, which is PyTorch's.
#[derive(Clone, Debug, PartialEq)]
pub struct KerasLstm {
    /// `[I, 4H]`.
    pub kernel: Array,
    /// `[H, 4H]`.
    pub recurrent_kernel: Array,
    /// `[4H]`; `None` as `use_bias=False`.
    pub bias: Option<Array>,
}

/// A layer from the weights of a
/// [Keras LSTM](https://keras.io/api/layers/recurrent_layers/lstm/), under the names that end in
/// `suffix`, such as `l0`.
///
/// It computes the same where `activation` is tanh and `recurrent_activation` is sigmoid, the
/// defaults of Keras 3 and TensorFlow 2, and in a model whose [`Cell`](crate::Cell) has others: `activation` is the
/// candidate's and the output's, and the `hard_sigmoid` of Keras before 3 isn't that of Keras 3. A
/// `Bidirectional` layer is two: convert the second with `l0_reverse`.
///
/// # Shapes
/// `kernel [I, 4H]`, `recurrent_kernel [H, 4H]`, `bias [4H]`; gives `weight_ih [4H, I]`,
/// `weight_hh [4H, H]`, and one bias, `bias_ih [4H]`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape).
///
/// ```
/// use gatefold::{Array, checkpoint};
/// let kernel = Array::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &[2, 4])?; // I = 2
/// let recurrent = Array::new(vec![0.1, 0.2, 0.3, 0.4], &[1, 4])?; // H = 1
/// let layer = checkpoint::from_keras(&kernel, &recurrent, None, "l0")?;
/// assert_eq!(layer[0].0, "weight_ih_l0");
/// assert_eq!(layer[0].1.data(), [1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0]); // [4, 2]
/// # Ok::<(), gatefold::Error>(())
/// ```
pub fn from_keras(
    kernel: &Array,
    recurrent_kernel: &Array,
    bias: Option<&Array>,
    suffix: &str,
) -> Result<StateDict> {
    let operation = "checkpoint::from_keras";
    let recurrent_shape = recurrent_kernel.shape();
    expect_shape(operation, "recurrent_kernel", recurrent_shape, &[("H", None), ("4H", None)])?;
    let hidden = recurrent_shape[0];
    let columns = ("4H", Some(4 * hidden));
    expect_shape(operation, "recurrent_kernel", recurrent_shape, &[("H", Some(hidden)), columns])?;
    expect_shape(operation, "kernel", kernel.shape(), &[("I", None), columns])?;
    if let Some(bias) = bias {
        expect_shape(operation, "bias", bias.shape(), &[columns])?;
    }
    let input = kernel.shape()[0];
    named(
        suffix,
        (hidden, input),
        transposed(kernel.data(), input, 4 * hidden),
        transposed(recurrent_kernel.data(), hidden, 4 * hidden),
        bias.map(|bias| bias.data().to_vec()),
    )
}

/// What `set_weights()` of a Keras layer takes, of the layer whose names end in `suffix`: the
/// reverse of [`from_keras`]. A layer with two biases gives their sum.
///
/// # Shapes
/// `weight_ih [4H, I]`, `weight_hh [4H, H]` and up to two biases `[4H]`; gives those of
/// [`KerasLstm`].
///
/// # Errors
/// [`Error::StateDict`](crate::Error::StateDict) with every missing, repeated and misshapen tensor.
pub fn to_keras(tensors: &[(String, Array)], suffix: &str) -> Result<KerasLstm> {
    let mut lookup = Lookup::new(tensors);
    let layer = Layer::find(&mut lookup, suffix, None);
    let layer = layer.and_then(|layer| layer.without_peepholes(&mut lookup));
    let layer = lookup.finish(layer)?;
    let (hidden, input, rows) = (layer.hidden, layer.input, 4 * layer.hidden);
    let bias = layer.bias().map(|bias| Array::new(bias, &[rows])).transpose()?;
    Ok(KerasLstm {
        kernel: Array::new(transposed(layer.weight_ih, rows, input), &[input, rows])?,
        recurrent_kernel: Array::new(transposed(layer.weight_hh, rows, hidden), &[hidden, rows])?,
        bias,
    })
}
