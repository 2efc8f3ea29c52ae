//! Which calls are timed.

use std::fmt;

use gatefold::plan::{Head, StackShape};

/// A layer and a call of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Timesteps `T`.
    pub steps: usize,
    /// Rows `B`.
    pub batch: usize,
    /// Input features `I`.
    pub input: usize,
    /// Units `H`.
    pub hidden: usize,
}

/// `T`, `B`, `I`, `H`: those of the table of peers, then three that show limits: of a recurrence
/// with a single row, twice, and of products with a large batch.
pub const NAMED: [Shape; 12] = [
    Shape::new(4, 2, 1, 1),
    Shape::new(10, 16, 5, 8),
    Shape::new(100, 1, 1, 50),
    Shape::new(30, 64, 4, 32),
    Shape::new(64, 32, 64, 128),
    Shape::new(64, 64, 256, 256),
    Shape::new(25, 64, 512, 512),
    Shape::new(128, 32, 512, 512),
    Shape::new(1, 1, 64, 128),
    Shape::new(256, 1, 64, 512),
    Shape::new(100, 1, 64, 1024),
    Shape::new(32, 256, 64, 256),
];

/// The grid that `GATEFOLD_BENCH=full` adds.
pub fn grid() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for hidden in [1, 8, 50, 64, 128, 256, 512] {
        for batch in [1, 2, 16, 32, 64] {
            for steps in [1, 4, 32, 100, 256, 1024] {
                shapes.push(Shape::new(steps, batch, hidden.min(64), hidden));
            }
        }
    }
    shapes.retain(|shape| !NAMED.contains(shape));
    shapes
}

impl Shape {
    pub const fn new(steps: usize, batch: usize, input: usize, hidden: usize) -> Shape {
        Shape { steps, batch, input, hidden }
    }

    /// Floating-point operations of the products of one row's timestep: `2 * 4H (I + H)`.
    pub fn row_step_flop(&self) -> f64 {
        (2 * 4 * self.hidden * (self.input + self.hidden)) as f64
    }

    /// Floating-point operations of a forward pass.
    pub fn forward_flop(&self) -> f64 {
        (self.steps * self.batch) as f64 * self.row_step_flop()
    }

    /// The model: one layer with PyTorch's two biases.
    pub fn model(&self, head: Head) -> StackShape {
        StackShape { head, ..StackShape::lstm(self.input, self.hidden) }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}x{}", self.steps, self.batch, self.input, self.hidden)
    }
}

/// What is done with a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The outputs of all timesteps.
    Inference,
    /// The part of a training step before its loss: nothing that the backward pass needs is lost.
    Forward,
    /// A whole training step: forward, mean squared error of the last hidden state, backward, Adam.
    Step,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Inference, Kind::Forward, Kind::Step];

    /// Floating-point operations: a training step counts as three forward passes.
    pub fn flop(&self, shape: &Shape) -> f64 {
        match self {
            Kind::Inference | Kind::Forward => shape.forward_flop(),
            Kind::Step => 3.0 * shape.forward_flop(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Inference => "inference",
            Kind::Forward => "training_forward",
            Kind::Step => "training_step",
        })
    }
}
