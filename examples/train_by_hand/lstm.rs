//! The LSTM by hand: normal weights, zero biases, one bias a gate, and how it is trained.

use gatefold::train::{Adam, Loss, Progress, Report, Trainer};
use gatefold::{Array, Bias, Dataset, Device, Forecaster, Init, LstmConfig, Result};

/// Adam's learning rate.
const RATE: f64 = 0.01;

/// How often training reports; between reports the losses stay on the device.
const REPORTS: usize = 50;

/// An LSTM whose last hidden state is its prediction.
///
/// By hand, one timestep is four gates, each with weights `W` for the input, weights `U` for the
/// hidden state and one bias `b`:
///
/// ```text
/// forget gate    f = sigmoid(W_f x + U_f h + b_f)    how much of the cell state is kept
/// input gate     i = sigmoid(W_i x + U_i h + b_i)    how much of the candidate is added
/// candidate      g = tanh(W_g x + U_g h + b_g)       what could be remembered
/// output gate    o = sigmoid(W_o x + U_o h + b_o)    how much of the memory is shown
/// cell state     c = f c + i g                       the long-term memory
/// hidden state   h = o tanh(c)                       the short-term memory
/// ```
///
/// Here that is one kernel, and its gradients another one; nobody writes them twice.
pub struct LstmByHand {
    pub model: Forecaster,
    input_size: usize,
}

impl LstmByHand {
    /// With weights from a normal distribution (mean 0, standard deviation 1) and biases of zero.
    pub fn new(
        input_size: usize,
        hidden_size: usize,
        device: &Device,
        seed: u64,
    ) -> Result<LstmByHand> {
        let config = LstmConfig::new(input_size, hidden_size)
            .bias(Bias::Single) // torch.nn.LSTM has two a gate, which add up
            .init("weight", Init::Normal { mean: 0.0, std: 1.0 })
            .init("bias", Init::Zeros)
            .seed(seed);
        // No layer behind the LSTM: the hidden state itself is compared with the target.
        Ok(LstmByHand { model: Forecaster::without_head(device, config)?, input_size })
    }

    /// Trains for `max_epoch` epochs: Adam, the mean squared error between the last hidden state and
    /// the target, an update for each sequence. Where that fails, the model is what it was.
    pub fn train_model(
        &mut self,
        batches: &Dataset,
        max_epoch: usize,
        progress: impl FnMut(&Progress),
    ) -> Result<Report> {
        // A trainer owns its model: it gets one with the same weights.
        let weights = self.model.state_dict()?;
        let model = Forecaster::from_state_dict(self.model.device(), &weights, "lstm.", "fc.")?;
        let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(RATE))
            .batch_size(1)
            .epochs(max_epoch)
            .report_every((max_epoch / REPORTS).max(1));
        let report = trainer.fit(batches, None, progress)?;
        self.model = trainer.into_model();
        Ok(report)
    }

    /// The last hidden state after one sequence, `T * input_size` numbers, timestep by timestep.
    pub fn predict(&self, sequence: &[f32]) -> Result<Vec<f32>> {
        let steps = sequence.len() / self.input_size;
        let x = Array::new(sequence.to_vec(), &[1, steps, self.input_size])?; // B, T, I
        Ok(self.model.predict(&x)?.into_data())
    }
}
