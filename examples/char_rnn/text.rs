//! A text as numbers: its characters, its parts, and the baseline that a model has to beat.

use std::collections::HashMap;
use std::path::Path;

use gatefold::{Array, Dataset, Error, Result};

/// A text whose characters are numbered, the beginning of which trains.
pub struct Text {
    /// Every character that occurs, in order; a character's number is its position here.
    pub vocabulary: Vec<char>,
    /// The text, character by character.
    codes: Vec<usize>,
    /// How many of them train; the rest is held out.
    training: usize,
}

impl Text {
    /// Reads a file in UTF-8.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] for a text of fewer than `least` characters, or of only one
    /// distinct character.
    pub fn read(path: &Path, least: usize) -> Result<Text> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let refused = |problem: String| {
            Err(Error::Data { path: path.to_owned(), row: None, column: None, problem })
        };
        let text = Text::new(&text);
        if text.codes.len() < least {
            let has = text.codes.len();
            return refused(format!("is too short: {has} characters, {least} are needed"));
        }
        match text.vocabulary[..] {
            [only] => refused(format!("holds nothing but {only:?}, so there is nothing to learn")),
            _ => Ok(text),
        }
    }

    pub fn new(text: &str) -> Text {
        let mut vocabulary: Vec<char> = text.chars().collect();
        vocabulary.sort_unstable();
        vocabulary.dedup();
        let numbers: HashMap<char, usize> =
            vocabulary.iter().enumerate().map(|(number, &c)| (c, number)).collect();
        let codes: Vec<usize> = text.chars().map(|c| numbers[&c]).collect();
        // Nine tenths, without an overflow.
        let training = codes.len() - codes.len().div_ceil(10);
        Text { vocabulary, codes, training }
    }

    /// The characters that train.
    pub fn training(&self) -> &[usize] {
        &self.codes[..self.training]
    }

    /// The characters that are held out.
    pub fn held_out(&self) -> &[usize] {
        &self.codes[self.training..]
    }

    /// The training part as so many streams side by side, each going on where it stops: what a batch
    /// of truncated backpropagation through time takes a piece of. The target of every character is
    /// the next one.
    ///
    /// # Errors
    /// [`Error::Value`] for a text with fewer characters than streams.
    pub fn streams(&self, streams: usize) -> Result<Dataset> {
        let training = self.training();
        // The last character is a target only. What doesn't fill the streams is left out.
        let steps = (training.len() - 1) / streams;
        sequences(&training[..streams * steps + 1], streams)
    }

    /// The held-out part as one sequence. Its first input is the last character of the training
    /// part, so that every held-out character is a target.
    ///
    /// # Errors
    /// Never, for a text that was read.
    pub fn held_out_sequence(&self) -> Result<Dataset> {
        sequences(&self.codes[self.training - 1..], 1)
    }

    /// The mean cross-entropy, in nats a character, with which a bigram model predicts the held-out
    /// part: `P(b | a) = (count(a, b) + 1) / (count(a) + V)`, counted in the training part.
    pub fn bigram_loss(&self) -> f64 {
        let mut pairs = HashMap::new();
        let mut firsts = vec![0u32; self.vocabulary.len()];
        for pair in self.training().windows(2) {
            *pairs.entry((pair[0], pair[1])).or_insert(0u32) += 1;
            firsts[pair[0]] += 1;
        }
        let held_out = self.codes[self.training - 1..].windows(2);
        let losses = held_out.map(|pair| {
            let count = pairs.get(&(pair[0], pair[1])).copied().unwrap_or(0);
            let all = f64::from(firsts[pair[0]]) + self.vocabulary.len() as f64;
            -((f64::from(count) + 1.0) / all).ln()
        });
        losses.sum::<f64>() / self.held_out().len() as f64
    }

    /// A number that another text hardly has.
    pub fn checksum(&self) -> u64 {
        self.codes.iter().fold(0, |sum: u64, &code| sum.wrapping_mul(31).wrapping_add(code as u64))
    }
}

/// Characters in so many rows, each with the next one as its target.
fn sequences(codes: &[usize], rows: usize) -> Result<Dataset> {
    let numbers = |codes: &[usize]| codes.iter().map(|&code| code as f32).collect::<Vec<f32>>();
    let shape = [rows, (codes.len() - 1) / rows];
    let (x, y) = (numbers(&codes[..codes.len() - 1]), numbers(&codes[1..]));
    Dataset::new(Array::new(x, &shape)?, Array::new(y, &shape)?)
}
