//! Text from a model, one character at a time.

use gatefold::{Array, Error, Forecaster, Linear, Lstm, LstmState, Result, Tensor, checkpoint};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A model's parts, put together to run as a stream: each character costs one step, however long the
/// text before it is, since all that the model knows of that text is the state.
pub struct Writer {
    vocabulary: Vec<char>,
    /// A row for every character, as the model has learned them.
    embedding: Array,
    lstm: Lstm,
    head: Linear,
}

impl Writer {
    /// With a copy of the model's parameters.
    ///
    /// # Errors
    /// [`Error::StateDict`] for a model without an embedding or of another vocabulary.
    pub fn new(model: &Forecaster, vocabulary: &[char]) -> Result<Writer> {
        let refused = |problem: &str| Error::StateDict { problem: problem.to_owned() };
        let device = model.device();
        let tensors = model.state_dict()?;
        let embedding = tensors.iter().find(|(name, _)| name == "embedding.weight");
        let (_, embedding) = embedding.ok_or_else(|| refused("embedding.weight is missing"))?;
        if [embedding.shape()[0], model.outputs()] != [vocabulary.len(); 2] {
            return Err(refused("the model has another number of characters"));
        }
        let lstm = Lstm::from_state_dict(device, &checkpoint::with_prefix(&tensors, "lstm."))?;
        let mut head = Linear::new(device, lstm.output_size(), vocabulary.len(), 0)?;
        head.load_state_dict(&checkpoint::with_prefix(&tensors, "fc."))?;
        Ok(Writer { vocabulary: vocabulary.to_vec(), embedding: embedding.clone(), lstm, head })
    }

    /// Writes so many characters that go on from `prompt`. The same seed gives the same text.
    ///
    /// # Errors
    /// [`Error::Value`] for an empty prompt, or one with a character that the model doesn't know.
    pub fn write(&self, prompt: &str, count: usize, temperature: f64, seed: u64) -> Result<String> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut state = self.lstm.initial_state(1)?;
        let mut logits = Vec::new();
        for code in self.codes(prompt)? {
            logits = self.step(code, &mut state)?;
        }
        let mut text = String::new();
        for _ in 0..count {
            let code = draw(&logits, temperature, rng.random());
            text.push(self.vocabulary[code]);
            logits = self.step(code, &mut state)?;
        }
        Ok(text)
    }

    /// The numbers of a prompt's characters.
    fn codes(&self, prompt: &str) -> Result<Vec<usize>> {
        let refused = |expected: &str, got: String| Error::Value {
            operation: "char_rnn",
            name: "--prompt".to_owned(),
            expected: expected.to_owned(),
            got,
        };
        if prompt.is_empty() {
            return Err(refused("at least one character", "none".to_owned()));
        }
        let code = |c: char| {
            let unknown = |_| refused("of characters that the text has", format!("{c:?}"));
            self.vocabulary.binary_search(&c).map_err(unknown)
        };
        prompt.chars().map(code).collect()
    }

    /// Moves the state past a character, and returns a number for each that may come next: the
    /// larger, the likelier.
    fn step(&self, code: usize, state: &mut LstmState) -> Result<Vec<f32>> {
        let width = self.lstm.input_size();
        let row = &self.embedding.data()[code * width..][..width];
        let x = Tensor::from_slice(self.lstm.device(), row, &[1, width])?;
        self.head.forward(&self.lstm.step(&x, state)?)?.to_vec()
    }
}

/// The character that a number drawn from `0..1` picks, where each has the probability
/// `softmax(logits / temperature)`. Temperature 0 picks the likeliest, whatever was drawn.
pub fn draw(logits: &[f32], temperature: f64, drawn: f64) -> usize {
    let likeliest = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0);
    if temperature == 0.0 {
        return likeliest;
    }
    // The largest is subtracted, so that no exponential overflows.
    let weight = |&logit: &f32| (f64::from(logit - logits[likeliest]) / temperature).exp();
    let weights: Vec<f64> = logits.iter().map(weight).collect();
    let mut left = drawn * weights.iter().sum::<f64>();
    for (code, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return code;
        }
    }
    likeliest // where rounding has left a rest
}
