//! Models written by hand, with a tensor for each gate.

use super::StateDict;
use super::layer::{Layer, Lookup, Size, has_sizes, named, transposed};
use crate::error::Result;
use crate::tensor::Array;

/// How the tensors of a gate stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GateLayout {
    /// `W [H, I]`, `U [H, H]`, `b [H]`, for `W @ x + U @ h + b`.
    Matrices,
    /// `W [I, H]`, `U [H, H]`, `b [H]` or `[1, H]`, for `x @ W + h @ U + b`, as in NumPy. What
    /// [`to_gates`] writes is `[H]`.
    InputFirst,
    /// Each `[]`, of a cell with one unit and one input: `torch.tensor(0.0)`. Any shape with one
    /// element is read.
    Scalars,
    /// Each `[1]`, of a cell with one unit and one input: `torch.tensor([0.0])`. Any shape with
    /// one element is read.
    OneElement,
}

/// What the tensors of a layer are called, each in the order i, f, g, o: input gate, forget gate,
/// candidate, output gate.
///
/// The constants are the families in use; other names are a value of this type:
///
/// ```
/// use gatefold::checkpoint::{GateLayout, GateNames};
/// let names = GateNames {
///     weight_ih: ["Wi", "Wf", "Wc", "Wo"],
///     weight_hh: ["Ui", "Uf", "Uc", "Uo"],
///     bias: ["bi", "bf", "bc", "bo"],
///     layout: GateLayout::InputFirst,
/// };
/// assert_ne!(names, GateNames::MATRICES_SMALL_C);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateNames<'a> {
    /// Of the weights that the input is multiplied with.
    pub weight_ih: [&'a str; 4],
    /// Of the weights that the hidden state is multiplied with.
    pub weight_hh: [&'a str; 4],
    /// Of the biases.
    pub bias: [&'a str; 4],
    /// Their shapes.
    pub layout: GateLayout,
}

/// `W_i`, `U_i`, `b_i` and so on, where only the candidate's letter varies.
macro_rules! matrices {
    ($g:literal) => {
        GateNames {
            weight_ih: ["W_i", "W_f", concat!("W_", $g), "W_o"],
            weight_hh: ["U_i", "U_f", concat!("U_", $g), "U_o"],
            bias: ["b_i", "b_f", concat!("b_", $g), "b_o"],
            layout: GateLayout::Matrices,
        }
    };
}

/// `w<gate>2`, `w<gate>1`, `b<gate>1` for the four gates: 1 is what the short memory, our hidden
/// state, is multiplied with, and 2 what the input is.
macro_rules! scalars {
    ($layout:expr, $i:literal, $f:literal, $g:literal, $o:literal) => {
        GateNames {
            weight_ih: [
                concat!("w", $i, "2"),
                concat!("w", $f, "2"),
                concat!("w", $g, "2"),
                concat!("w", $o, "2"),
            ],
            weight_hh: [
                concat!("w", $i, "1"),
                concat!("w", $f, "1"),
                concat!("w", $g, "1"),
                concat!("w", $o, "1"),
            ],
            bias: [
                concat!("b", $i, "1"),
                concat!("b", $f, "1"),
                concat!("b", $g, "1"),
                concat!("b", $o, "1"),
            ],
            layout: $layout,
        }
    };
}

impl GateNames<'static> {
    /// `W_i`, `W_f`, `W_C`, `W_o` `[H, I]`; `U_i`, `U_f`, `U_C`, `U_o` `[H, H]`; `b_i`, `b_f`,
    /// `b_C`, `b_o` `[H]`. The candidate is C as in
    /// [Olah's equations](https://colah.github.io/posts/2015-08-Understanding-LSTMs/).
    pub const MATRICES_BIG_C: GateNames<'static> = matrices!("C");

    /// As [`MATRICES_BIG_C`](Self::MATRICES_BIG_C), with the candidate as `W_c`, `U_c`, `b_c`.
    pub const MATRICES_SMALL_C: GateNames<'static> = matrices!("c");

    /// As [`MATRICES_BIG_C`](Self::MATRICES_BIG_C), with the candidate as `W_g`, `U_g`, `b_g`.
    pub const MATRICES_G: GateNames<'static> = matrices!("g");

    /// A cell with one unit, its gates named in the order of its stages: a is the forget gate, b
    /// the input gate, c the candidate, d the output gate. `wa1` is what the hidden state is
    /// multiplied with, `wa2` what the input is, `ba1` the bias; each `[]`.
    pub const SCALARS_ABCD: GateNames<'static> = scalars!(GateLayout::Scalars, "b", "a", "c", "d");

    /// A cell with one unit, its gates named after what they say of the memory: lr, how much of
    /// the long one remains, is the forget gate; pr, how much of the potential one does, the input
    /// gate; p, the potential memory, the candidate; o the output gate. `wlr1` is what the hidden
    /// state is multiplied with, `wlr2` what the input is, `blr1` the bias; each `[1]`.
    ///
    /// The words are those of [StatQuest](https://www.youtube.com/watch?v=YCzL96nL7j0).
    pub const SCALARS_LR_PR_P_O: GateNames<'static> =
        scalars!(GateLayout::OneElement, "pr", "lr", "p", "o");
}

impl GateLayout {
    fn one_unit(self) -> bool {
        matches!(self, GateLayout::Scalars | GateLayout::OneElement)
    }

    /// The shape of an input weight, for the sizes `H` and `I`.
    fn shape<T>(self, hidden: T, input: T) -> Vec<T> {
        match self {
            GateLayout::Matrices => vec![hidden, input],
            GateLayout::InputFirst => vec![input, hidden],
            GateLayout::Scalars => vec![],
            GateLayout::OneElement => vec![hidden],
        }
    }

    /// The shape of a bias.
    fn bias_shape<T>(self, hidden: T) -> Vec<T> {
        if self == GateLayout::Scalars { vec![] } else { vec![hidden] }
    }

    /// Whether an array has the shape, or one that is as good.
    fn fits(self, array: &Array, sizes: &[Size]) -> bool {
        match (self, sizes) {
            (GateLayout::Scalars | GateLayout::OneElement, _) => array.data().len() == 1,
            (GateLayout::InputFirst, &[hidden]) if array.shape().len() == 2 => {
                has_sizes(array, &[("1", Some(1)), hidden])
            }
            _ => has_sizes(array, sizes),
        }
    }

    /// The elements in the order of `[H, I]`.
    fn values(self, array: &Array) -> Vec<f32> {
        match (self, array.shape()) {
            (GateLayout::InputFirst, &[rows, columns]) => transposed(array.data(), rows, columns),
            _ => array.data().to_vec(),
        }
    }
}

/// A layer from a tensor for each gate, under the names that end in `suffix`, such as `l0`.
/// Other tensors are passed over. Where no gate has a bias, the layer has none.
///
/// # Shapes
/// As [`GateLayout`] says; `H` and `I` are those that most input weights have. Gives
/// `weight_ih [4H, I]`, `weight_hh [4H, H]`, and one bias, `bias_ih [4H]`.
///
/// # Errors
/// [`Error::StateDict`](crate::Error::StateDict) with every missing, repeated and misshapen tensor.
///
/// ```
/// use gatefold::checkpoint::{self, GateNames};
/// use gatefold::{Array, Bias, Device, Lstm, LstmConfig};
/// let cell = [
///     ("wlr1", 2.7), ("wlr2", 1.63), ("blr1", 1.62), // forget gate
///     ("wpr1", 2.0), ("wpr2", 1.65), ("bpr1", 0.62), // input gate
///     ("wp1", 1.41), ("wp2", 0.94), ("bp1", -0.32),  // candidate
///     ("wo1", 4.38), ("wo2", -0.19), ("bo1", 0.59),  // output gate
/// ];
/// let array = |(name, value): (&str, f32)| Ok((name.to_owned(), Array::new(vec![value], &[1])?));
/// let cell = cell.into_iter().map(array).collect::<gatefold::Result<Vec<_>>>()?;
///
/// let layer = checkpoint::from_gates(&cell, &GateNames::SCALARS_LR_PR_P_O, "l0")?;
/// let mut lstm = Lstm::new(&Device::cpu(), LstmConfig::new(1, 1).bias(Bias::Single))?;
/// lstm.load_state_dict(&layer)?;
/// # Ok::<(), gatefold::Error>(())
/// ```
pub fn from_gates(
    tensors: &[(String, Array)],
    names: &GateNames<'_>,
    suffix: &str,
) -> Result<StateDict> {
    let layout = names.layout;
    let mut lookup = Lookup::new(tensors);
    let (hidden, input) = usual_sizes(&lookup, names);
    let (h, i) = (("H", hidden), ("I", input));
    let mut gather = |names: [&str; 4], wanted: &[Size]| {
        let found = names.map(|name| lookup.expect(name, wanted, |a| layout.fits(a, wanted)));
        let all = found.into_iter().collect::<Option<Vec<&Array>>>()?;
        Some(all.into_iter().flat_map(|array| layout.values(array)).collect::<Vec<f32>>())
    };
    let weight_ih = gather(names.weight_ih, &layout.shape(h, i));
    let weight_hh = gather(names.weight_hh, &layout.shape(h, h));
    let biased = tensors.iter().any(|(name, _)| names.bias.contains(&name.as_str()));
    let bias = if biased { gather(names.bias, &layout.bias_shape(h)) } else { None };

    let parts = hidden.zip(input).zip(weight_ih.zip(weight_hh));
    let (sizes, (weight_ih, weight_hh)) = lookup.finish(parts)?;
    named(suffix, sizes, weight_ih, weight_hh, bias)
}

/// A tensor for each gate of the layer whose names end in `suffix`: the reverse of
/// [`from_gates`]. A layer with two biases gives their sums.
///
/// # Errors
/// [`Error::StateDict`](crate::Error::StateDict) with every missing, repeated and misshapen tensor,
/// or where the names are those of a cell with one unit and the layer is larger.
pub fn to_gates(
    tensors: &[(String, Array)],
    names: &GateNames<'_>,
    suffix: &str,
) -> Result<StateDict> {
    let layout = names.layout;
    let mut lookup = Lookup::new(tensors);
    let layer = Layer::find(&mut lookup, suffix, layout.one_unit().then_some((1, 1)));
    let layer = layer.and_then(|layer| layer.without_peepholes(&mut lookup));
    let layer = lookup.finish(layer)?;
    let hidden = layer.hidden;
    let mut gates = Vec::new();
    let mut split = |names: [&str; 4], values: &[f32], columns: usize, shape: Vec<usize>| {
        for (name, gate) in names.iter().zip(values.chunks_exact(hidden * columns)) {
            let gate = match layout == GateLayout::InputFirst {
                true => transposed(gate, hidden, columns),
                false => gate.to_vec(),
            };
            gates.push(((*name).to_owned(), Array::new(gate, &shape)?));
        }
        Ok(())
    };
    split(names.weight_ih, layer.weight_ih, layer.input, layout.shape(hidden, layer.input))?;
    split(names.weight_hh, layer.weight_hh, hidden, layout.shape(hidden, hidden))?;
    if let Some(bias) = layer.bias() {
        split(names.bias, &bias, 1, layout.bias_shape(hidden))?;
    }
    Ok(gates)
}

/// `H` and `I` as most input weights have them, so that one that is wrong is the one that is
/// named; `H` of the recurrent weights where no input weight tells it.
fn usual_sizes(lookup: &Lookup<'_>, names: &GateNames<'_>) -> (Option<usize>, Option<usize>) {
    let usual = |names: &[&str; 4]| {
        let shape = |name: &&str| match *lookup.get(name)?.shape() {
            [rows, columns] => Some((rows, columns)),
            _ => None,
        };
        let found: Vec<(usize, usize)> = names.iter().filter_map(shape).collect();
        let votes = |shape: &&(usize, usize)| found.iter().filter(|s| s == shape).count();
        found.iter().max_by_key(votes).copied()
    };
    match (names.layout, usual(&names.weight_ih)) {
        (GateLayout::Scalars | GateLayout::OneElement, _) => (Some(1), Some(1)),
        (GateLayout::InputFirst, Some((input, hidden))) => (Some(hidden), Some(input)),
        (_, Some((hidden, input))) => (Some(hidden), Some(input)),
        (_, None) => (usual(&names.weight_hh).map(|(hidden, _)| hidden), None),
    }
}
