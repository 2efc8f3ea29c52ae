//! The weights of ONNX's operator LSTM.

use super::StateDict;
use super::layer::{Layer, Lookup, named, names, quarters};
use crate::error::{Error, Result};
use crate::tensor::{Array, expect_shape};

/// PyTorch's i, f, g, o, each as its place in ONNX's i, o, f, c.
const FROM_ONNX: [usize; 4] = [0, 2, 3, 1];
/// ONNX's i, o, f, c, each as its place in PyTorch's i, f, g, o.
const TO_ONNX: [usize; 4] = [0, 3, 1, 2];

/// The weights of one [ONNX LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html); gates in the
/// order i, o, f, c. `D`, its directions, is 2 for `bidirectional` and else 1.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxLstm {
    /// `W [D, 4H, I]`.
    pub w: Array,
    /// `R [D, 4H, H]`.
    pub r: Array,
    /// `B [D, 8H]`, the input's bias and then the hidden state's.
    pub b: Option<Array>,
    /// `P [D, 3H]`, peepholes in the order i, o, f.
    pub p: Option<Array>,
}

/// A layer from the inputs W, R and B of an
/// [ONNX LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html), under the names that end in
/// `suffix`, such as `l0`; a second direction stands under `l0_reverse`.
///
/// It computes the same in a model whose [`Cell`](crate::Cell) has what the operator's attributes say:
/// `activations`, `clip`, `input_forget`. The input P is [`peepholes_from_onnx`]'s. `direction="reverse"` is
/// [`LstmConfig::reverse`](crate::LstmConfig::reverse).
///
/// # Shapes
/// `w [D, 4H, I]`, `r [D, 4H, H]`, `b [D, 8H]` with `D` = 1 or 2; gives, for each direction,
/// `weight_ih [4H, I]`, `weight_hh [4H, H]`, and with `b` both `bias_ih` and `bias_hh`, `[4H]`.
///
/// # Errors
/// [`Error::Shape`].
///
/// ```
/// use gatefold::{Array, checkpoint};
/// let w = Array::new(vec![1.0, 2.0, 3.0, 4.0], &[1, 4, 1])?; // i, o, f, c
/// let r = Array::new(vec![0.1, 0.2, 0.3, 0.4], &[1, 4, 1])?;
/// let layer = checkpoint::from_onnx(&w, &r, None, "l0")?;
/// assert_eq!(layer[0].0, "weight_ih_l0");
/// assert_eq!(layer[0].1.data(), [1.0, 3.0, 4.0, 2.0]); // i, f, g, o
/// # Ok::<(), gatefold::Error>(())
/// ```
pub fn from_onnx(w: &Array, r: &Array, b: Option<&Array>, suffix: &str) -> Result<StateDict> {
    let operation = "checkpoint::from_onnx";
    expect_shape(operation, "R", r.shape(), &[("D", None), ("4H", None), ("H", None)])?;
    let (directions, hidden) = (r.shape()[0], r.shape()[2]);
    if directions > 2 {
        return Err(Error::Shape {
            operation,
            tensor: "R".to_owned(),
            expected: "[D = 1 or 2, 4H, H]".to_owned(),
            got: format!("{:?}", r.shape()),
        });
    }
    let (d, rows) = (("D", Some(directions)), ("4H", Some(4 * hidden)));
    expect_shape(operation, "R", r.shape(), &[d, rows, ("H", Some(hidden))])?;
    expect_shape(operation, "W", w.shape(), &[d, rows, ("I", None)])?;
    if let Some(b) = b {
        expect_shape(operation, "B", b.shape(), &[d, ("8H", Some(8 * hidden))])?;
    }

    let input = w.shape()[2];
    let rows = 4 * hidden;
    let mut tensors = Vec::new();
    for direction in 0..directions {
        let part = |array: &Array, len: usize| {
            quarters(&array.data()[direction * len..][..len], FROM_ONNX)
        };
        let biases = b.map_or(Vec::new(), |b| {
            let both = b.data()[direction * 2 * rows..][..2 * rows].chunks_exact(rows);
            both.map(|bias| quarters(bias, FROM_ONNX)).collect()
        });
        tensors.extend(named(
            &of_direction(suffix, direction),
            (hidden, input),
            part(w, rows * input),
            part(r, rows * hidden),
            biases,
        )?);
    }
    Ok(tensors)
}

/// The inputs W, R, B and P of an ONNX LSTM, of the layer whose names end in `suffix`, and in
/// `suffix` and `_reverse` where there are such: the reverse of [`from_onnx`] and [`peepholes_from_onnx`]. A bias
/// that only one of the two, or one direction, has is zero in the other, and so are peepholes. What else a
/// [`Cell`](crate::Cell) has are attributes of the operator.
///
/// # Shapes
/// `weight_ih [4H, I]`, `weight_hh [4H, H]`, up to two biases `[4H]`, and `weight_peephole [3H]` or none for each
/// direction; gives those of [`OnnxLstm`].
///
/// # Errors
/// [`Error::StateDict`] with every missing, repeated and misshapen tensor.
pub fn to_onnx(tensors: &[(String, Array)], suffix: &str) -> Result<OnnxLstm> {
    let mut lookup = Lookup::new(tensors);
    let mut layers = vec![Layer::find(&mut lookup, suffix, None)];
    let reverse = of_direction(suffix, 1);
    if names(&reverse).iter().any(|name| lookup.get(name).is_some()) {
        let sizes = layers[0].as_ref().map(|layer| (layer.hidden, layer.input));
        layers.push(Layer::find(&mut lookup, &reverse, sizes));
    }
    let layers = lookup.finish(layers.into_iter().collect::<Option<Vec<Layer<'_>>>>())?;

    let (directions, hidden, input) = (layers.len(), layers[0].hidden, layers[0].input);
    let rows = 4 * hidden;
    let all = |part: fn(&Layer<'_>) -> Vec<f32>| layers.iter().flat_map(part).collect::<Vec<_>>();
    let w = all(|layer| quarters(layer.weight_ih, TO_ONNX));
    let r = all(|layer| quarters(layer.weight_hh, TO_ONNX));
    let biased = layers.iter().any(|layer| layer.bias_ih.or(layer.bias_hh).is_some());
    let b = all(|layer| {
        let part = |bias: Option<&[f32]>| match bias {
            Some(bias) => quarters(bias, TO_ONNX),
            None => vec![0.0; 4 * layer.hidden],
        };
        [part(layer.bias_ih), part(layer.bias_hh)].concat()
    });
    let seen = layers.iter().any(|layer| layer.peepholes.is_some());
    let p = all(|layer| {
        let zeros = vec![0.0; 3 * layer.hidden];
        let own = layer.peepholes.unwrap_or(&zeros);
        let third = |n: usize| &own[n * layer.hidden..][..layer.hidden];
        [third(0), third(2), third(1)].concat()
    });
    Ok(OnnxLstm {
        p: seen.then(|| Array::new(p, &[directions, 3 * hidden])).transpose()?,
        w: Array::new(w, &[directions, rows, input])?,
        r: Array::new(r, &[directions, rows, hidden])?,
        b: biased.then(|| Array::new(b, &[directions, 2 * rows])).transpose()?,
    })
}

/// Peepholes from the input P of an [ONNX LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html), under the names
/// that end in `suffix`, beside what [`from_onnx`] gives.
///
/// # Shapes
/// `p [D, 3H]` in the order i, o, f, with `D` = 1 or 2; gives `weight_peephole [3H]` in the order i, f, o for each
/// direction.
///
/// # Errors
/// [`Error::Shape`].
///
/// ```
/// use gatefold::{Array, checkpoint};
/// let p = Array::new(vec![0.1, 0.2, 0.3], &[1, 3])?; // i, o, f
/// let layer = checkpoint::peepholes_from_onnx(&p, "l0")?;
/// assert_eq!(layer[0].0, "weight_peephole_l0");
/// assert_eq!(layer[0].1.data(), [0.1, 0.3, 0.2]); // i, f, o
/// # Ok::<(), gatefold::Error>(())
/// ```
pub fn peepholes_from_onnx(p: &Array, suffix: &str) -> Result<StateDict> {
    let operation = "checkpoint::peepholes_from_onnx";
    expect_shape(operation, "P", p.shape(), &[("D", None), ("3H", None)])?;
    let &[directions, rows] = p.shape() else { unreachable!("two sizes were checked") };
    if !(1..=2).contains(&directions) || rows % 3 != 0 {
        return Err(Error::Shape {
            operation,
            tensor: "P".to_owned(),
            expected: "[D = 1 or 2, 3H]".to_owned(),
            got: format!("{:?}", p.shape()),
        });
    }
    let of = |(direction, all): (usize, &[f32])| {
        let third = |n: usize| &all[n * rows / 3..][..rows / 3];
        let own = Array::new([third(0), third(2), third(1)].concat(), &[rows])?;
        Ok((format!("weight_peephole_{}", of_direction(suffix, direction)), own))
    };
    p.data().chunks_exact(rows.max(1)).enumerate().map(of).collect()
}

/// PyTorch's suffix of a direction.
fn of_direction(suffix: &str, direction: usize) -> String {
    format!("{suffix}{}", if direction == 0 { "" } else { "_reverse" })
}
