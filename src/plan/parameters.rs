//! Where each parameter lies in the flat buffers.

use std::fmt;
use std::ops::Range;

use super::{Bias, Encoding, HeadLinear, StackShape};

/// Elements to whose multiples tensors are aligned in flat buffers: 256 bytes, which every device can
/// bind.
pub const ALIGNMENT: usize = 64;

/// What a parameter is. Those of a layer have its number and their direction, 0 for forward and 1
/// for reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `weight_ih_l{layer}`, with `_reverse` in the second direction.
    WeightIh(usize, usize),
    /// `weight_hh_l{layer}`.
    WeightHh(usize, usize),
    /// `bias_ih_l{layer}`.
    BiasIh(usize, usize),
    /// `bias_hh_l{layer}`.
    BiasHh(usize, usize),
    /// `weight_hr_l{layer}`, the projection.
    WeightHr(usize, usize),
    /// `weight_peephole_l{layer}`, of (i, f, o).
    WeightPeephole(usize, usize),
    /// `weight` of the embedding.
    Embedding,
    /// The learned initial hidden states of all layers.
    InitialH,
    /// The learned initial cell states of all layers.
    InitialC,
    /// The `weight` of a linear layer of the head, by its number.
    HeadWeight(usize),
    /// Its `bias`.
    HeadBias(usize),
}

/// Its name in PyTorch, behind that of its module.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, l, d) = match *self {
            Role::WeightIh(l, d) => ("weight_ih", l, d),
            Role::WeightHh(l, d) => ("weight_hh", l, d),
            Role::BiasIh(l, d) => ("bias_ih", l, d),
            Role::BiasHh(l, d) => ("bias_hh", l, d),
            Role::WeightHr(l, d) => ("weight_hr", l, d),
            Role::WeightPeephole(l, d) => ("weight_peephole", l, d),
            Role::Embedding | Role::HeadWeight(_) => return f.write_str("weight"),
            Role::InitialH => return f.write_str("h_0"),
            Role::InitialC => return f.write_str("c_0"),
            Role::HeadBias(_) => return f.write_str("bias"),
        };
        write!(f, "{kind}_l{l}{}", if d == 0 { "" } else { "_reverse" })
    }
}

impl Role {
    /// The same of another layer, for what is a layer's.
    pub(crate) fn of_layer(self, l: usize) -> Role {
        match self {
            Role::WeightIh(_, d) => Role::WeightIh(l, d),
            Role::WeightHh(_, d) => Role::WeightHh(l, d),
            Role::BiasIh(_, d) => Role::BiasIh(l, d),
            Role::BiasHh(_, d) => Role::BiasHh(l, d),
            Role::WeightHr(_, d) => Role::WeightHr(l, d),
            Role::WeightPeephole(_, d) => Role::WeightPeephole(l, d),
            other => other,
        }
    }

    /// The sizes of the parameter's tensor in PyTorch, each with what it is called.
    pub(crate) fn sizes(&self, shape: &StackShape) -> Vec<(&'static str, usize)> {
        let letter = if shape.projection.is_some() { "P" } else { "H" };
        let state = |l: usize| (letter, shape.state(l));
        let units = |l: usize| ("H", shape.units(l));
        let rows = |l: usize| ("4H", shape.units(l).saturating_mul(4));
        let states = ("L D", shape.layers.saturating_mul(shape.directions()));
        let features = |size: usize, first: bool| match (first, shape.layers, letter) {
            (true, 0, _) => ("I", size),
            (true, _, "P") => ("D P", size),
            (true, ..) => ("D H", size),
            (false, ..) => ("features", size),
        };
        let vocabulary = match shape.encoding {
            Encoding::Embedding(vocabulary) => vocabulary,
            _ => 0,
        };
        let linear = |number: usize| {
            let linears = shape.head.linears(shape.features());
            let found = linears.get(number).copied();
            let (outputs, width) = found.map_or((0, 0), |it| (it.outputs, it.features));
            // What isn't the last one's size has no letter.
            let outputs = (if number + 1 < linears.len() { "outputs" } else { "O" }, outputs);
            (outputs, features(width, number == 0))
        };
        match *self {
            Role::WeightIh(0, _) => vec![rows(0), ("I", shape.input)],
            Role::WeightIh(l, _) => vec![rows(l), features(shape.layer_input(l), true)],
            Role::WeightHh(l, _) => vec![rows(l), state(l)],
            Role::BiasIh(l, _) | Role::BiasHh(l, _) => vec![rows(l)],
            Role::WeightHr(l, _) => vec![state(l), units(l)],
            Role::WeightPeephole(l, _) => vec![("3H", shape.units(l).saturating_mul(3))],
            Role::Embedding => vec![("V", vocabulary), ("I", shape.input)],
            Role::InitialH => vec![states, ("1", 1), state(0)],
            Role::InitialC => vec![states, ("1", 1), units(0)],
            Role::HeadWeight(number) => {
                let (outputs, features) = linear(number);
                vec![outputs, features]
            }
            Role::HeadBias(number) => vec![linear(number).0],
        }
    }

    fn layout(&self) -> Layout {
        match self {
            Role::WeightIh(..) | Role::WeightHh(..) | Role::BiasIh(..) | Role::BiasHh(..) => {
                Layout::Gates
            }
            Role::WeightHr(..) => Layout::Projection,
            Role::WeightPeephole(..) => Layout::Peepholes,
            _ => Layout::Plain,
        }
    }

    /// Its place among the tensors of the flat buffers: the two directions of a kind are
    /// neighbours, so that one binding shows both.
    fn place(&self) -> (usize, usize, usize) {
        match *self {
            Role::WeightIh(layer, direction) => (layer, 0, direction),
            Role::WeightHh(layer, direction) => (layer, 1, direction),
            Role::BiasIh(layer, direction) => (layer, 2, direction),
            Role::BiasHh(layer, direction) => (layer, 3, direction),
            // Neighbours as well: walks bind both together.
            Role::WeightHr(layer, direction) => (layer, 4, direction),
            Role::WeightPeephole(layer, direction) => (layer, 5, direction),
            Role::InitialH => (usize::MAX, 0, 0),
            Role::InitialC => (usize::MAX, 1, 0),
            Role::HeadWeight(number) => (usize::MAX, 2, 2 * number),
            Role::HeadBias(number) => (usize::MAX, 2, 2 * number + 1),
            Role::Embedding => (usize::MAX, 4, 0),
        }
    }
}

/// How a parameter lies on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// As PyTorch has it.
    Plain,
    /// PyTorch's `[4H, K]` as `[K, H, 4]`: for each term the gates (i, f, g, o) of each unit.
    Gates,
    /// PyTorch's `[P, H]` as `[H, P]`, a row filled up with zeros to a multiple of four.
    Projection,
    /// `[3H]` of i, f and o as `[H, 4]`: (i, f, 0, o) of each unit.
    Peepholes,
}

/// Elements of a row of a projection's weights and of its results' gradients on the device.
pub(super) fn quads(projection: usize) -> usize {
    projection.next_multiple_of(4)
}

/// One parameter in the flat buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// What it is.
    pub role: Role,
    /// Its shape in PyTorch.
    pub shape: Vec<usize>,
    /// How it lies on the device.
    pub layout: Layout,
    /// Its first element.
    pub start: usize,
    /// Elements on the device.
    pub len: usize,
}

impl Parameter {
    /// Elements in PyTorch.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// PyTorch's order of elements from the device's.
    ///
    /// # Panics
    /// Where `device` has fewer elements than [`len`](Self::len).
    pub fn to_pytorch<T: Copy + Default>(&self, device: &[T]) -> Vec<T> {
        let mut out = vec![T::default(); self.numel()];
        self.reorder(|torch, on_device| out[torch] = device[on_device]);
        out
    }

    /// The device's order of elements from PyTorch's.
    ///
    /// # Panics
    /// Where `torch` has fewer elements than [`numel`](Self::numel).
    pub fn from_pytorch<T: Copy + Default>(&self, torch: &[T]) -> Vec<T> {
        let mut out = vec![T::default(); self.len];
        self.reorder(|from, to| out[to] = torch[from]);
        out
    }

    /// Parts of it, of about so many elements on the device each, one behind the other: as columns of PyTorch's matrix,
    /// of which those of gates may be put elsewhere one by one, and how long each part is.
    pub(crate) fn parts(&self, elements: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        let columns = self.numel() / self.shape[0];
        let (step, width) = match self.layout {
            Layout::Gates => ((elements / self.shape[0].max(1)).max(1), self.shape[0]),
            _ => (columns.max(1), 0),
        };
        let whole = self.len;
        (0..columns.max(1)).step_by(step).map(move |start| {
            let part = start..columns.min(start + step);
            let len = if width == 0 { whole } else { part.len() * width };
            (part, len)
        })
    }

    /// Puts the elements of some columns of PyTorch's matrix where the device has them: `to` is that part of it.
    pub(crate) fn put(&self, part: Range<usize>, torch: &[f32], to: &mut [f32]) {
        self.each_of(part, torch, to, |to, from| *to = from);
    }

    /// The same, added to what is there.
    pub(crate) fn add(&self, part: Range<usize>, torch: &[f32], to: &mut [f32]) {
        self.each_of(part, torch, to, |to, from| *to += from);
    }

    fn each_of(
        &self,
        part: Range<usize>,
        torch: &[f32],
        to: &mut [f32],
        each: impl Fn(&mut f32, f32),
    ) {
        let rows = self.shape[0];
        let (columns, hidden) = (self.numel() / rows, rows / 4);
        if self.layout != Layout::Gates {
            return self.reorder(|from, at| each(&mut to[at], torch[from]));
        }
        // In tiles, a line of the cache of each row on one side and whole lines on the other: sizes are powers of two
        // mostly, and lines as far apart as these push each other out of the cache.
        const UNITS: usize = 4;
        const WIDTH: usize = 16;
        let mut tile = [0.0; WIDTH * UNITS * 4];
        for first in (0..hidden).step_by(UNITS) {
            let units = UNITS.min(hidden - first);
            for start in part.clone().step_by(WIDTH) {
                let width = WIDTH.min(part.end - start);
                for unit in 0..units {
                    for gate in 0..4 {
                        let row = (gate * hidden + first + unit) * columns + start;
                        let row = &torch[row..row + width];
                        for (k, &value) in row.iter().enumerate() {
                            tile[k * UNITS * 4 + unit * 4 + gate] = value;
                        }
                    }
                }
                for k in 0..width {
                    let at = ((start - part.start + k) * hidden + first) * 4;
                    let to = to[at..at + units * 4].iter_mut();
                    to.zip(&tile[k * UNITS * 4..]).for_each(|(to, from)| each(to, *from));
                }
            }
        }
    }

    /// Calls with each element's position in PyTorch and on the device.
    fn reorder(&self, mut each: impl FnMut(usize, usize)) {
        let rows = self.shape[0];
        let columns = self.numel() / rows;
        match self.layout {
            Layout::Plain => (0..self.len).for_each(|i| each(i, i)),
            Layout::Gates => {
                let hidden = rows / 4;
                for k in 0..columns {
                    for unit in 0..hidden {
                        for gate in 0..4 {
                            each(
                                (gate * hidden + unit) * columns + k,
                                (k * hidden + unit) * 4 + gate,
                            );
                        }
                    }
                }
            }
            Layout::Peepholes => {
                let hidden = rows / 3;
                for (gate, on_device) in [0, 1, 3].into_iter().enumerate() {
                    (0..hidden).for_each(|u| each(gate * hidden + u, 4 * u + on_device));
                }
            }
            Layout::Projection => {
                for p in 0..rows {
                    for unit in 0..columns {
                        each(p * columns + unit, unit * quads(rows) + p);
                    }
                }
            }
        }
    }
}

/// All parameters of a model, in PyTorch's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterTable {
    /// The parameters.
    pub entries: Vec<Parameter>,
    /// Elements of a flat buffer, with the padding between tensors.
    pub len: usize,
}

impl ParameterTable {
    /// The table of a model.
    pub fn new(shape: &StackShape) -> ParameterTable {
        let parameter = |role: Role| {
            let sizes = role.sizes(shape);
            let (shape, layout) = (sizes.iter().map(|&(_, size)| size).collect(), role.layout());
            let (first, elements) = (sizes[0].1, sizes.iter().map(|&(_, size)| size).product());
            let len = match layout {
                Layout::Projection => sizes[1].1 * quads(first),
                Layout::Peepholes => elements / 3 * 4,
                _ => elements,
            };
            Parameter { role, shape, layout, start: 0, len }
        };
        let mut entries = Vec::with_capacity(ParameterTable::count(shape));
        entries.extend(ParameterTable::roles(shape).map(parameter));
        let mut placed: Vec<&mut Parameter> = entries.iter_mut().collect();
        placed.sort_by_key(|entry| entry.role.place());
        let mut len = 0;
        for entry in placed {
            entry.start = len;
            len = (len + entry.len).next_multiple_of(ALIGNMENT);
        }
        ParameterTable { entries, len }
    }

    /// How many tensors the table of a model has, without making it.
    pub fn count(shape: &StackShape) -> usize {
        let biases = match shape.bias {
            Bias::None => 0,
            Bias::Single => 1,
            Bias::Double => 2,
        };
        let others = usize::from(shape.projection.is_some()) + usize::from(shape.cell.peepholes);
        let of_layer = shape.directions() * (2 + biases + others);
        let head = ParameterTable::of_head(shape).len();
        let embedding = matches!(shape.encoding, Encoding::Embedding(_));
        let others = 2 * usize::from(shape.learned_state) + head;
        shape.layers.saturating_mul(of_layer).saturating_add(others + usize::from(embedding))
    }

    /// The parameters of the head's linear layers; a weight that is the embedding's is none.
    fn of_head(shape: &StackShape) -> Vec<Role> {
        let linears = shape.head.linears(shape.features());
        let tied = linears.len().checked_sub(1).filter(|_| shape.tied);
        let of = |(number, linear): (usize, &HeadLinear)| {
            let weight = (tied != Some(number)).then_some(Role::HeadWeight(number));
            weight.into_iter().chain(linear.bias.then_some(Role::HeadBias(number)))
        };
        linears.iter().enumerate().flat_map(of).collect()
    }

    /// The parameter that is the weight of a linear layer of the head.
    pub(crate) fn head_weight(shape: &StackShape, number: usize) -> Role {
        let last = shape.head.linears(shape.features()).len() == number + 1;
        if shape.tied && last { Role::Embedding } else { Role::HeadWeight(number) }
    }

    /// What its entries are, in their order, without making them.
    pub(crate) fn roles(shape: &StackShape) -> impl Iterator<Item = Role> + use<> {
        let (directions, layers) = (shape.directions(), shape.layers);
        let has = [
            (true, Role::WeightIh as fn(usize, usize) -> Role),
            (true, Role::WeightHh),
            (shape.bias != Bias::None, Role::BiasIh),
            (shape.bias == Bias::Double, Role::BiasHh),
            (shape.projection.is_some(), Role::WeightHr),
            (shape.cell.peepholes, Role::WeightPeephole),
        ];
        let embedding = matches!(shape.encoding, Encoding::Embedding(_)).then_some(Role::Embedding);
        let of_layer = move |l: usize| {
            let kinds = move |d: usize| {
                has.into_iter().filter(|(has, _)| *has).map(move |(_, role)| role(l, d))
            };
            (0..directions).flat_map(kinds)
        };
        let learned = [Role::InitialH, Role::InitialC].into_iter().filter({
            let learned = shape.learned_state;
            move |_| learned
        });
        let head = ParameterTable::of_head(shape);
        embedding.into_iter().chain((0..layers).flat_map(of_layer)).chain(learned).chain(head)
    }

    /// The parameter of that role, where the model has it.
    pub fn get(&self, role: Role) -> Option<&Parameter> {
        self.entries.iter().find(|entry| entry.role == role)
    }
}
