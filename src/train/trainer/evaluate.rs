//! How good a model is.

use super::Trainer;
use crate::data::Dataset;
use crate::device::Wait;
use crate::error::{Error, Result};
use crate::plan::{Plan, Sequences};
use crate::train::Loss;
use crate::train::micro::{self, Micro};

/// What a model makes of a data set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) loss: f32,
    /// Of those targets that count, the share that is predicted.
    accuracy: f64,
}

impl Measured {
    /// The accuracy, where there is such a thing.
    pub(super) fn accuracy_of(&self, loss: &Loss) -> Option<f64> {
        loss.activation().map(|_| self.accuracy)
    }
}

impl Trainer {
    /// The loss over a data set; NaN for a mean where nothing counts. Where gradients are
    /// [truncated](Self::truncate), it is run in the same pieces.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where the data don't fit; [`Error::Limit`],
    /// [`Error::OutOfMemory`], [`Error::Gpu`].
    pub fn evaluate(&self, data: &Dataset) -> Result<f32> {
        pollster::block_on(self.evaluate_as(data, Wait::Blocking)).map(|measured| measured.loss)
    }

    /// The asynchronous form of [`evaluate`](Self::evaluate): the future polls a GPU of our own, a
    /// caller's GPU is polled by the caller (see [who polls](crate::Device#who-polls)).
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub async fn evaluate_async(&self, data: &Dataset) -> Result<f32> {
        Ok(self.evaluate_as(data, Wait::Pending).await?.loss)
    }

    /// The share of a data set's targets that are predicted right, counted on the device: of a
    /// cross-entropy, those that are the class with the largest logit; of a binary one, those above 1/2 whose
    /// logit is above 0, as a probability above 1/2, and those up to 1/2 whose logit isn't. Ignored targets
    /// and those behind a sequence's end don't count, and where they have
    /// [weights](crate::Dataset::with_weights) the share is one of these. NaN where nothing counts.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate), and [`Error::Value`] for a loss whose targets are neither classes nor
    /// yes and no.
    pub fn accuracy(&self, data: &Dataset) -> Result<f64> {
        pollster::block_on(self.accuracy_as(data, Wait::Blocking))
    }

    /// The asynchronous form of [`accuracy`](Self::accuracy), as
    /// [`evaluate_async`](Self::evaluate_async) is of [`evaluate`](Self::evaluate): the same polls.
    ///
    /// # Errors
    /// As [`accuracy`](Self::accuracy).
    pub async fn accuracy_async(&self, data: &Dataset) -> Result<f64> {
        self.accuracy_as(data, Wait::Pending).await
    }

    async fn accuracy_as(&self, data: &Dataset, wait: Wait) -> Result<f64> {
        if self.settings.loss.activation().is_none() {
            return Err(Error::Value {
                operation: "Trainer::accuracy",
                name: "loss".to_owned(),
                expected:
                    "a cross-entropy, binary or over classes: of others nothing is right or wrong"
                        .to_owned(),
                got: self.settings.loss.name().to_owned(),
            });
        }
        Ok(self.evaluate_as(data, wait).await?.accuracy)
    }

    async fn evaluate_as(&self, data: &Dataset, wait: Wait) -> Result<Measured> {
        let operation = "Trainer::evaluate";
        let (shape, loss) = (&self.model.network.shape, &self.settings.loss);
        self.settings.check(operation, &self.model)?;
        micro::expect(data, operation, "the data set", shape, loss)?;
        self.measure(data, wait).await
    }

    /// Measures a data set that is known to fit.
    pub(super) async fn measure(&self, data: &Dataset, wait: Wait) -> Result<Measured> {
        let steps = self.settings.truncate.unwrap_or(usize::MAX).min(data.steps());
        let all: Vec<usize> = (0..data.len()).collect();
        let mut sums = Sums::default();
        for rows in all.chunks(self.model.rows_at_a_time(steps)) {
            let mut carried = None;
            for start in (0..data.steps()).step_by(steps) {
                let steps = start..data.steps().min(start + steps);
                let last = steps.end == data.steps();
                let piece = Micro { data, rows, steps, keep: None };
                if piece.is_over(&self.model.network.shape) {
                    break;
                }
                carried = self.measure_piece(&piece, carried, !last, &mut sums, wait).await?;
            }
        }
        let loss = self.settings.loss.reduced(sums.loss, sums.weight);
        Ok(Measured { loss: loss as f32, accuracy: sums.correct / sums.counted })
    }

    /// Runs a piece from the states that the one before it has left; returns those that it leaves.
    async fn measure_piece(
        &self,
        piece: &Micro<'_>,
        carried: Option<[crate::device::Buffer; 2]>,
        carry: bool,
        sums: &mut Sums,
        wait: Wait,
    ) -> Result<Option<[crate::device::Buffer; 2]>> {
        let network = &self.model.network;
        let (device, shape, loss) = (&network.device, &network.shape, &self.settings.loss);
        let sequences = Sequences { state: carried.is_some(), resets: false, ..piece.sequences() };
        let objective = loss.objective();
        let plan = || Plan::evaluation(shape, &sequences, &objective, carry, &device.limits());
        let name = if carry { "evaluation, carrying" } else { "evaluation" };
        let caller = [("params", &network.params)];
        let ready = self.evaluation.take((sequences, name), device, plan, &caller)?;
        let session = &ready.session;
        let mut host = Vec::new();
        piece.input(shape, &mut host);
        device.write(&session.known("x"), 0, &host)?;
        host.clear();
        piece.target(shape, &mut host);
        device.write(&session.known("target"), 0, &host)?;
        if let Some(weights) = session.known_if("weights") {
            host.clear();
            piece.weights(shape, &mut host);
            device.write(&weights, 0, &host)?;
        }
        device.write(&session.known("loss_scale"), 0, &[1.0])?;
        if let Some(lengths) = session.known_if("lengths") {
            device.write(&lengths, 0, &piece.lengths())?;
        }
        if let (Some(buffer), Some(weights)) = (session.known_if("class_weights"), loss.weights()) {
            device.write(&buffer, 0, weights)?;
        }
        let rows = piece.rows.len();
        let widths = shape.state_widths();
        let mut recorder = device.recorder();
        if let Some(carried) = &carried {
            for ((buffer, name), width) in carried.iter().zip(["h_0", "c_0"]).zip(widths) {
                recorder.copy((buffer, 0), (&session.known(name), 0), rows * width);
            }
        }
        recorder.run(session, 0);
        let left = match (carry, carried) {
            (false, _) => None,
            (true, Some(carried)) => Some(carried),
            (true, None) => Some([
                device.create_buffer("h", rows * widths[0])?,
                device.create_buffer("c", rows * widths[1])?,
            ]),
        };
        if let Some(left) = &left {
            for ((buffer, name), width) in left.iter().zip(["h_n", "c_n"]).zip(widths) {
                recorder.copy((&session.known(name), 0), (buffer, 0), rows * width);
            }
        }
        recorder.submit_as(wait).await?;
        let read = |name| {
            let buffer = session.known_if(name);
            async move {
                match buffer {
                    Some(buffer) => device.read_as(&buffer, 0, 1, wait).await.map(|v| v[0]),
                    None => Ok(0.0),
                }
            }
        };
        sums.loss += f64::from(read("loss").await?);
        sums.correct += f64::from(read("correct").await?);
        sums.weight += piece.weight(shape, loss);
        sums.counted += piece.weight_of_targets(shape, loss);
        Ok(left)
    }
}

/// What the pieces of a data set add up to.
#[derive(Default)]
struct Sums {
    loss: f64,
    weight: f64,
    correct: f64,
    counted: f64,
}
