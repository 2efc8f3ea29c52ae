//! Gradients for people who want to see them.

use super::Loss;
use super::micro::{self, Micro};
use crate::data::Dataset;
use crate::device::{Session, Wait};
use crate::error::Result;
use crate::model::Forecaster;
use crate::plan::{Plan, StackShape, TrainingOptions};
use crate::tensor::Array;

/// A loss and every gradient of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The loss; NaN for a mean where nothing counts, whose gradients are 0.
    pub loss: f32,
    /// Of each parameter, under its name and in PyTorch's layout.
    pub parameters: Vec<(String, Array)>,
    /// Of the input, `[T, B, I]`, each row where its timesteps stand; `None` where it is tokens.
    pub x: Option<Array>,
    /// Of the initial hidden states, `[L D, B, P]`.
    pub h_0: Option<Array>,
    /// Of the initial cell states, `[L D, B, H]`.
    pub c_0: Option<Array>,
}

/// The gradients of a model's loss over one batch, from its own initial states and without dropout.
/// The model is not changed.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape), [`Error::Value`](crate::Error::Value),
/// [`Error::Limit`](crate::Error::Limit), [`Error::OutOfMemory`](crate::Error::OutOfMemory),
/// [`Error::Gpu`](crate::Error::Gpu).
pub fn gradients(model: &Forecaster, batch: &Dataset, loss: &Loss) -> Result<Gradients> {
    pollster::block_on(gradients_as(model, batch, loss, Wait::Blocking))
}

/// The asynchronous form of [`gradients`]: the future polls a GPU of our own, a caller's GPU is
/// polled by the caller (see [who polls](crate::Device#who-polls)).
///
/// # Errors
/// As [`gradients`].
pub async fn gradients_async(
    model: &Forecaster,
    batch: &Dataset,
    loss: &Loss,
) -> Result<Gradients> {
    gradients_as(model, batch, loss, Wait::Pending).await
}

async fn gradients_as(
    model: &Forecaster,
    batch: &Dataset,
    loss: &Loss,
    wait: Wait,
) -> Result<Gradients> {
    let network = &model.network;
    let device = &network.device;
    let (head, cell) = (network.shape.head.without_dropout(), network.shape.cell.undrawn());
    let shape = &StackShape { head, cell, ..network.shape.clone() };
    loss.check("gradients", shape.outputs())?;
    micro::expect(batch, "gradients", "the batch", shape, loss)?;
    let all: Vec<usize> = (0..batch.len()).collect();
    let whole = Micro { data: batch, rows: &all, steps: 0..batch.steps(), keep: None };
    let options = TrainingOptions {
        objective: loss.objective(),
        input_gradient: true,
        ..TrainingOptions::default()
    };
    let plan = Plan::training(shape, &whole.sequences(), &options, &device.limits())?;
    let grads = device.create_buffer("grads", network.table.len)?;
    let losses = device.create_buffer("losses", crate::plan::LOSS_SLOTS)?;
    let result = device.create_buffer("loss", 1)?;
    let weights = loss.weights().unwrap_or(&[0.0]);
    let class_weights = device.create_buffer("class_weights", weights.len())?;
    device.write(&class_weights, 0, weights)?;
    let caller = [
        ("params", &network.params),
        ("grads", &grads),
        ("losses", &losses),
        ("loss", &result),
        ("class_weights", &class_weights),
    ];
    let session = device.bind(&plan.program, &caller)?;
    let mut feed = Vec::new();
    let weight = whole.weight(shape, loss);
    whole.feed(shape, loss.scale(weight), &mut feed);
    session.write("feed", &feed)?;
    session.run_as(wait).await?;
    let (rows, steps) = (batch.len(), batch.steps());
    let [hidden, cell] = shape.state_sizes(rows);
    let named = device.read_as(&grads, 0, network.table.len, wait).await?;
    Ok(Gradients {
        loss: loss.told(session.read_as("loss", wait).await?[0], weight),
        parameters: network.named(&named)?,
        x: match read(&session, "dx_0", &[steps, rows, shape.input], wait).await? {
            Some(dx) if batch.is_right_aligned() => Some(late(batch, &dx)?),
            dx => dx,
        },
        h_0: read(&session, "dh_0", &hidden, wait).await?,
        c_0: read(&session, "dc_0", &cell, wait).await?,
    })
}

/// The gradient of `x [T, B, I]` where the rows' timesteps stand.
fn late(batch: &Dataset, dx: &Array) -> Result<Array> {
    let &[steps, rows, width] = dx.shape() else { unreachable!("it was read so") };
    let mut out = vec![0.0; dx.data().len()];
    for row in 0..rows {
        for t in 0..batch.length(row) {
            let to = (batch.start(row) + t) * rows + row;
            let from = &dx.data()[(t * rows + row) * width..][..width];
            out[to * width..][..width].copy_from_slice(from);
        }
    }
    Array::new(out, &[steps, rows, width])
}

/// A buffer that only some plans have.
async fn read(session: &Session, name: &str, dims: &[usize], wait: Wait) -> Result<Option<Array>> {
    match session.program().buffer(name) {
        Some(_) => Array::new(session.read_as(name, wait).await?, dims).map(Some),
        None => Ok(None),
    }
}
