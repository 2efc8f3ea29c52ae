//! What each library calls the tensors of an LSTM's cell, how they stand, and how they become PyTorch's.

use std::collections::BTreeMap;

use super::library::Library;
use super::transposed;
use crate::checkpoint::{self, StateDict, quarters};
use crate::tensor::Array;

/// Tensors by name, a module's behind a dot.
pub(super) type Named = BTreeMap<String, Array>;

/// A name in a module.
pub(super) fn joined(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}.{name}") }
}

/// What is said of something, or why not.
pub(super) type Said<T> = std::result::Result<T, String>;

/// Where PyTorch's gates i, f, g, o stand in a library's order.
type Order = [usize; 4];

const IFGO: Order = [0, 1, 2, 3];
const IGFO: Order = [0, 2, 1, 3];
const IFOG: Order = [0, 1, 3, 2];

/// How a library keeps a cell.
pub(super) struct Convention {
    pub(super) library: Library,
    /// The names without which it is no cell.
    pub(super) needs: &'static [&'static str],
    /// Those that it may have besides.
    pub(super) may: &'static [&'static str],
    /// How sure it is that these are an LSTM's.
    pub(super) sure: Sure,
    form: Form,
}

/// How sure tensors of such names and shapes are an LSTM's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sure {
    /// Nothing else has them.
    Names,
    /// Cells of other libraries may have them, if not with this one.
    With(&'static str),
    /// Other layers have them, too: the module's name has to say what it is, or the caller.
    Module,
}

/// How the tensors stand.
enum Form {
    /// A matrix for the input and one for the state, `[4H, n]`, or `[n, 4H]` where they are turned; a bias `[4H]`.
    Two { order: Order, turned: bool },
    /// The same with a matrix and a bias for each gate, `[n, H]`: i, f, g, o of the input, then of the state.
    Gates,
    /// One matrix `[I + H, 4H]`; 1 is added to the forget gate's bias.
    Joined { order: Order },
}

/// Flax's cell of matrices for each gate, of these names.
const fn of_flax(needs: &'static [&'static str]) -> Convention {
    let may = &["hi.bias", "hf.bias", "hg.bias", "ho.bias"];
    Convention { library: Library::Flax, needs, may, sure: Sure::Names, form: Form::Gates }
}

/// Two conventions may take the same names: then a file doesn't say which is meant.
pub(super) const CONVENTIONS: [Convention; 10] = [
    of_flax(&[
        "ii.kernel",
        "if.kernel",
        "ig.kernel",
        "io.kernel",
        "hi.kernel",
        "hf.kernel",
        "hg.kernel",
        "ho.kernel",
    ]),
    // Of nnx: `if` is a word of Python's.
    of_flax(&[
        "ii.kernel",
        "if_.kernel",
        "ig.kernel",
        "io.kernel",
        "hi.kernel",
        "hf.kernel",
        "hg.kernel",
        "ho.kernel",
    ]),
    // OptimizedLSTMCell of nnx.
    Convention {
        library: Library::Flax,
        needs: &["dense_i.kernel", "dense_h.kernel"],
        may: &["dense_h.bias"],
        sure: Sure::Names,
        form: Form::Two { order: IFGO, turned: true },
    },
    Convention {
        library: Library::Mlx,
        needs: &["Wx", "Wh"],
        may: &["bias"],
        sure: Sure::Names,
        form: Form::Two { order: IFGO, turned: false },
    },
    Convention {
        library: Library::Equinox,
        needs: &["weight_ih", "weight_hh"],
        may: &["bias"],
        sure: Sure::With("bias"),
        form: Form::Two { order: IFGO, turned: false },
    },
    Convention {
        library: Library::Coreml,
        needs: &["weight_ih", "weight_hh"],
        may: &["bias"],
        sure: Sure::With("bias"),
        form: Form::Two { order: IFOG, turned: false },
    },
    Convention {
        library: Library::Keras,
        needs: &["kernel", "recurrent_kernel"],
        may: &["bias"],
        sure: Sure::Names,
        form: Form::Two { order: IFGO, turned: true },
    },
    Convention {
        library: Library::Haiku,
        needs: &["linear.w", "linear.b"],
        may: &[],
        sure: Sure::Module,
        form: Form::Joined { order: IGFO },
    },
    // Peepholes of i, f and o.
    Convention {
        library: Library::Tensorflow1,
        needs: &["kernel", "bias", "w_i_diag", "w_f_diag", "w_o_diag"],
        may: &["projection.kernel"],
        sure: Sure::Names,
        form: Form::Joined { order: IGFO },
    },
    Convention {
        library: Library::Tensorflow1,
        needs: &["kernel", "bias"],
        may: &["projection.kernel"],
        sure: Sure::Module,
        form: Form::Joined { order: IGFO },
    },
];

/// A cell whose forget gate nothing is added to, and whose names are those of another one.
const CUDNN: &str = "cudnn_compatible_lstm_cell";

/// The last part of a module's name, without the number of a second one.
pub(super) fn plain(module: &str) -> &str {
    let last = module.rsplit('.').next().unwrap_or(module);
    match last.rsplit_once('_') {
        Some((plain, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => plain,
        _ => last,
    }
}

impl Convention {
    /// Whether a module of that name is an LSTM, where the names of its tensors don't tell.
    pub(super) fn says_lstm(&self, module: &str) -> bool {
        match self.library {
            Library::Haiku => plain(module) == "lstm",
            _ => {
                ["lstm_cell", "basic_lstm_cell", "lstm_fused_cell", CUDNN].contains(&plain(module))
            }
        }
    }

    /// Whether a module may be one, where the caller says that the library is this one.
    pub(super) fn may_be_lstm(&self, module: &str) -> bool {
        let others = ["dense", "fully_connected", "logits", "output", "softmax", "linear"];
        self.says_lstm(module) || !others.contains(&plain(module))
    }

    /// The cell of a module whose tensors `get` gives, under PyTorch's names without an end such as `_l0`; nothing
    /// where their shapes are no LSTM's.
    pub(super) fn cell<'a>(
        &self,
        module: &str,
        forget: bool,
        get: impl Fn(&str) -> Option<&'a Array>,
    ) -> Said<Option<StateDict>> {
        match &self.form {
            Form::Two { order, turned } => {
                let (ih, hh) = (self.needs[0], self.needs[1]);
                let bias = self.may.first().and_then(|name| get(name));
                two(get(ih), get(hh), bias, *order, *turned)
            }
            Form::Gates => gates(self.needs.map_get(&get), self.may.map_get(&get)),
            Form::Joined { order } => {
                let forget = if self.adds(module, forget) { 1.0 } else { 0.0 };
                let peepholes = self.needs.get(2..).unwrap_or_default().map_get(&get);
                let projection = self.may.first().and_then(|name| get(name));
                let (joined, bias) = (get(self.needs[0]), get(self.needs[1]));
                one(joined, bias, projection, &peepholes, (*order, forget))
            }
        }
    }

    /// Whether something is added to the forget gate's bias of a module, where that is so of the library's.
    fn adds(&self, module: &str, forget: bool) -> bool {
        forget && plain(module) != CUDNN
    }

    /// What is done to its tensors, in words.
    pub(super) fn said(&self, module: &str, forget: bool) -> String {
        let library = self.library;
        match &self.form {
            Form::Two { order, turned } => {
                let turned = if *turned { ", kernels transposed" } else { "" };
                let order = if *order == IFGO { "" } else { ", gates put in order" };
                format!("{library}'s{turned}{order}")
            }
            Form::Gates => format!("{library}'s, its gates put together, kernels transposed"),
            Form::Joined { .. } => {
                let forget = match self.adds(module, forget) {
                    false => "",
                    true => ", 1 added to the forget gate's bias, as the library does when it runs",
                };
                format!("{library}'s, its kernel taken apart, gates put in order{forget}")
            }
        }
    }
}

/// All tensors of some names.
trait MapGet {
    fn map_get<'a>(&self, get: &impl Fn(&str) -> Option<&'a Array>) -> Vec<Option<&'a Array>>;
}

impl MapGet for [&str] {
    fn map_get<'a>(&self, get: &impl Fn(&str) -> Option<&'a Array>) -> Vec<Option<&'a Array>> {
        self.iter().map(|name| get(name)).collect()
    }
}

/// `[rows, columns]` and its elements, of a matrix that may be turned.
struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    fn of(array: &Array, turned: bool) -> Option<Matrix> {
        let array = if turned { &transposed(array).ok()? } else { array };
        let &[rows, columns] = array.shape() else { return None };
        Some(Matrix { rows, columns, values: array.data().to_vec() })
    }

    /// Blocks of rows in PyTorch's order.
    fn ordered(mut self, order: Order) -> Matrix {
        self.values = quarters(&self.values, order);
        self
    }
}

/// A cell of parts, if they fit each other: `[4H, I]`, `[4H, R]`, `[4H]`.
fn fitting(
    ih: Matrix,
    hh: Matrix,
    bias: Option<Vec<f32>>,
    state: Option<usize>,
) -> Option<StateDict> {
    let hidden = hh.rows / 4;
    let fits = ih.rows == hh.rows
        && hh.rows == 4 * hidden
        && hh.columns == state.unwrap_or(hidden)
        && bias.as_ref().is_none_or(|bias| bias.len() == hh.rows);
    if !fits {
        return None;
    }
    let matrix = |m: Matrix| Array::new(m.values, &[m.rows, m.columns]).ok();
    let rows = hh.rows;
    let mut cell =
        vec![("weight_ih".to_owned(), matrix(ih)?), ("weight_hh".to_owned(), matrix(hh)?)];
    if let Some(bias) = bias {
        cell.push(("bias_ih".to_owned(), Array::new(bias, &[rows]).ok()?));
    }
    Some(cell)
}

fn two(
    ih: Option<&Array>,
    hh: Option<&Array>,
    bias: Option<&Array>,
    order: Order,
    turned: bool,
) -> Said<Option<StateDict>> {
    let cell = || {
        let [ih, hh] = [ih?, hh?].map(|array| Matrix::of(array, turned));
        let rows = hh.as_ref()?.rows;
        let bias = match bias {
            Some(bias) if *bias.shape() == [rows] => Some(quarters(bias.data(), order)),
            Some(_) => return None,
            None => None,
        };
        // Their quarters are four gates' only where there are four.
        (rows % 4 == 0 && ih.as_ref()?.rows == rows)
            .then(|| fitting(ih?.ordered(order), hh?.ordered(order), bias, None))?
    };
    Ok(cell())
}

/// Matrices of the input's gates and of the state's, `[n, H]`, and biases `[H]` of all gates or of none.
fn gates(matrices: Vec<Option<&Array>>, biases: Vec<Option<&Array>>) -> Said<Option<StateDict>> {
    let there = biases.iter().flatten().count();
    if there != 0 && there != biases.len() {
        return Err("some of its gates have a bias, and some have none".to_owned());
    }
    let together = |arrays: &[Option<&Array>]| {
        let all = arrays.iter().map(|array| Matrix::of((*array)?, true));
        let all = all.collect::<Option<Vec<Matrix>>>()?;
        let (rows, columns) = (all[0].rows, all[0].columns);
        let same = all.iter().all(|m| (m.rows, m.columns) == (rows, columns));
        let values = all.into_iter().flat_map(|m| m.values).collect();
        same.then_some(Matrix { rows: 4 * rows, columns, values })
    };
    let cell = || {
        let (ih, hh) = (together(&matrices[..4])?, together(&matrices[4..])?);
        let biases: Vec<&Array> = biases.iter().flatten().copied().collect();
        if biases.iter().any(|bias| *bias.shape() != [hh.rows / 4]) {
            return None;
        }
        let bias = biases.iter().flat_map(|bias| bias.data()).copied().collect();
        fitting(ih, hh, (!biases.is_empty()).then_some(bias), None)
    };
    Ok(cell())
}

/// A kernel `[I + R, 4H]`, of which the first rows are the input's; `R` is `H`, or `P` with a projection `[H, P]`.
fn one(
    joined: Option<&Array>,
    bias: Option<&Array>,
    projection: Option<&Array>,
    peepholes: &[Option<&Array>],
    (order, forget): (Order, f32),
) -> Said<Option<StateDict>> {
    let cell = || {
        let (&[rows, columns], bias) = (joined?.shape(), bias?) else { return None };
        let hidden = columns / 4;
        let projection = match projection {
            Some(projection) => Some(Matrix::of(projection, true)?),
            None => None,
        };
        let state = projection.as_ref().map_or(hidden, |projection| projection.rows);
        let fits = columns == 4 * hidden
            && *bias.shape() == [columns]
            && projection.as_ref().is_none_or(|projection| projection.columns == hidden)
            && rows > state;
        if !fits {
            return None;
        }
        let (ih, hh) = joined?.data().split_at((rows - state) * columns);
        let part = |values: &[f32], rows: usize| {
            let values = checkpoint::transposed(values, rows, columns);
            Matrix { rows: columns, columns: rows, values }.ordered(order)
        };
        let mut bias = quarters(bias.data(), order);
        bias[hidden..2 * hidden].iter_mut().for_each(|bias| *bias += forget);
        let (ih, hh) = (part(ih, rows - state), part(hh, state));
        let mut cell = fitting(ih, hh, Some(bias), Some(state))?;
        if let Some(Matrix { rows, columns, values }) = projection {
            cell.push(("weight_hr".to_owned(), Array::new(values, &[rows, columns]).ok()?));
        }
        if !peepholes.is_empty() {
            let all = peepholes.iter().copied().collect::<Option<Vec<&Array>>>()?;
            if all.iter().any(|peephole| *peephole.shape() != [hidden]) {
                return None;
            }
            let values = all.iter().flat_map(|peephole| peephole.data()).copied().collect();
            cell.push(("weight_peephole".to_owned(), Array::new(values, &[3 * hidden]).ok()?));
        }
        Some(cell)
    };
    Ok(cell())
}
