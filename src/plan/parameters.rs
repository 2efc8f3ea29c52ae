//! Where each parameter lies in the flat buffers.

use super::{Bias, Head, StackShape};

/// Tensors start on multiples of 256 bytes, which every device can bind.
const ALIGNMENT: usize = 64;

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `weight_ih_l{0}`.
    WeightIh(usize),
    /// `weight_hh_l{0}`.
    WeightHh(usize),
    /// `bias_ih_l{0}`.
    BiasIh(usize),
    /// `bias_hh_l{0}`.
    BiasHh(usize),
    /// The head's `weight`.
    HeadWeight,
    /// The head's `bias`.
    HeadBias,
}

/// How a parameter lies on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// As PyTorch has it.
    Plain,
    /// PyTorch's `[4H, K]` as `[K, H, 4]`: for each term the gates (i, f, g, o) of each unit.
    Gates,
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
    /// Elements.
    pub len: usize,
}

impl Parameter {
    /// PyTorch's order of elements from the device's.
    ///
    /// # Panics
    /// Where `device` has another length than the parameter.
    pub fn to_pytorch<T: Copy + Default>(&self, device: &[T]) -> Vec<T> {
        let mut out = vec![T::default(); self.len];
        self.reorder(|torch, on_device| out[torch] = device[on_device]);
        out
    }

    /// The device's order of elements from PyTorch's.
    ///
    /// # Panics
    /// Where `torch` has another length than the parameter.
    pub fn from_pytorch<T: Copy + Default>(&self, torch: &[T]) -> Vec<T> {
        let mut out = vec![T::default(); self.len];
        self.reorder(|from, to| out[to] = torch[from]);
        out
    }

    /// Calls with each element's position in PyTorch and on the device.
    fn reorder(&self, mut each: impl FnMut(usize, usize)) {
        match self.layout {
            Layout::Plain => (0..self.len).for_each(|i| each(i, i)),
            Layout::Gates => {
                let rows = self.shape[0];
                let (hidden, terms) = (rows / 4, self.len / rows);
                for row in 0..rows {
                    let (gate, unit) = (row / hidden, row % hidden);
                    for k in 0..terms {
                        each(row * terms + k, (k * hidden + unit) * 4 + gate);
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
        let mut table = ParameterTable { entries: Vec::new(), len: 0 };
        let rows = 4 * shape.hidden;
        for l in 0..shape.layers {
            table.push(Role::WeightIh(l), vec![rows, shape.layer_input(l)], Layout::Gates);
            table.push(Role::WeightHh(l), vec![rows, shape.hidden], Layout::Gates);
            if shape.bias != Bias::None {
                table.push(Role::BiasIh(l), vec![rows], Layout::Gates);
            }
            if shape.bias == Bias::Double {
                table.push(Role::BiasHh(l), vec![rows], Layout::Gates);
            }
        }
        if let Head::Linear(outputs) = shape.head {
            table.push(Role::HeadWeight, vec![outputs, shape.features()], Layout::Plain);
            table.push(Role::HeadBias, vec![outputs], Layout::Plain);
        }
        table
    }

    fn push(&mut self, role: Role, shape: Vec<usize>, layout: Layout) {
        let (start, len) = (self.len, shape.iter().product());
        self.entries.push(Parameter { role, shape, layout, start, len });
        self.len = (start + len).next_multiple_of(ALIGNMENT);
    }

    /// The parameter of that role, where the model has it.
    pub fn get(&self, role: Role) -> Option<&Parameter> {
        self.entries.iter().find(|entry| entry.role == role)
    }
}
