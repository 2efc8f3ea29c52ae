//! Sequences that are longer than one plan: piece after piece.

use super::{LstmState, Network};
use crate::error::{Error, Result};
use crate::plan::{Plan, Role, Sequences};
use crate::tensor::Tensor;

/// Timesteps of a piece, at most: the commands of a plan take memory on the host.
const PIECE: usize = 1 << 16;

/// The whole of a call, and how it is cut.
struct Long<'a> {
    network: &'a Network,
    sequences: Sequences,
    lengths: Option<&'a [usize]>,
    /// Timesteps of a piece.
    steps: usize,
}

/// Where states come from or go to: hidden and cell, each from an element on.
type States<'a> = [(&'a Tensor, usize); 2];

impl Network {
    /// Runs a sequence for which `error` says that no plan can hold it, and leaves outputs and final states
    /// in `results`.
    ///
    /// # Errors
    /// `error` where not even a timestep fits; as `Lstm::forward`.
    pub(super) fn forward_long(
        &self,
        sequences: &Sequences,
        x: &Tensor,
        lengths: Option<&[usize]>,
        state: Option<&LstmState>,
        results: &(Tensor, LstmState),
        error: Error,
    ) -> Result<()> {
        let limits = self.device.limits();
        if sequences.right_aligned {
            // A piece of a row that starts late doesn't end where the piece does.
            return Err(error);
        }
        let fits = |steps: usize| {
            let piece = Sequences { steps, state: true, ..*sequences };
            Plan::fits(&self.shape, &piece, &limits).is_ok()
        };
        let halves = |&steps: &usize| (steps > 1).then(|| steps.div_ceil(2));
        let first = sequences.steps.div_ceil(2).min(PIECE);
        let found = std::iter::successors(Some(first), halves).find(|&steps| fits(steps));
        let steps = found.filter(|&steps| steps < sequences.steps).ok_or(error)?;
        self.forward_in_pieces(steps, sequences, x, lengths, state, results)
    }

    /// Runs a sequence in pieces of so many timesteps.
    fn forward_in_pieces(
        &self,
        steps: usize,
        sequences: &Sequences,
        x: &Tensor,
        lengths: Option<&[usize]>,
        state: Option<&LstmState>,
        (y, last): &(Tensor, LstmState),
    ) -> Result<()> {
        self.begin(sequences.batch, state, last)?;
        let long = Long { network: self, sequences: *sequences, lengths, steps };
        if !self.shape.bidirectional {
            let states = [(&last.h, 0), (&last.c, 0)];
            let last = long.pieces() - 1;
            let piece = |k: usize| if self.shape.reverse { last - k } else { k };
            return (0..=last).try_for_each(|k| long.run(piece(k), x, Some(y), states, states));
        }
        // A layer's reverse direction begins where the layer below has ended.
        let mut below: Option<Tensor> = None;
        for l in 0..self.shape.layers {
            let layer = self.layer(l)?;
            let outputs = match l + 1 == self.shape.layers {
                true => y.clone(),
                false => Tensor::zeros(&self.device, y.shape())?,
            };
            let states = [&last.h, &last.c].map(|all| (all, l * all.len() / self.shape.layers));
            let long = Long { network: &layer, sequences: *sequences, lengths, steps };
            long.both_ways(below.as_ref().unwrap_or(x), &outputs, states)?;
            below = Some(outputs);
        }
        Ok(())
    }

    /// Puts the states that a sequence begins from in `to`.
    fn begin(&self, batch: usize, state: Option<&LstmState>, to: &LstmState) -> Result<()> {
        let mut recorder = self.device.recorder();
        let given = state.map(|state| [&state.h, &state.c]);
        let parts = [(&to.h, Role::InitialH), (&to.c, Role::InitialC)];
        for (i, (to, role)) in parts.into_iter().enumerate() {
            if let Some(given) = given {
                recorder.copy(given[i].at(), to.at(), to.len());
            } else if let Some(learned) = self.table.get(role) {
                let width = to.len() / batch / (self.shape.layers * self.shape.directions());
                for row in 0..to.len() / width {
                    let from = learned.start + row / batch * width;
                    recorder.copy((&self.params, from), to.from(row * width), width);
                }
            }
        }
        recorder.submit()
    }
}

impl Long<'_> {
    fn pieces(&self) -> usize {
        self.sequences.steps.div_ceil(self.steps)
    }

    /// Runs a layer of two directions; `states`, both directions', become the final ones. Each piece is run
    /// from the state that forward has reached before it, found in a first round, and the one that reverse has
    /// reached behind it.
    fn both_ways(&self, x: &Tensor, y: &Tensor, states: States<'_>) -> Result<()> {
        let network = self.network;
        let (batch, last) = (self.sequences.batch, self.pieces() - 1);
        let widths = [network.shape.state(0), network.shape.hidden].map(|width| batch * width);
        let tensor = |width: usize| Tensor::zeros(&network.device, &[2, width]);
        let new = || -> Result<[Tensor; 2]> { Ok([tensor(widths[0])?, tensor(widths[1])?]) };
        // Forward's state before each piece; of the reverse half nothing counts.
        let mut before = vec![new()?];
        self.copy(states, whole(&before[0]), widths.map(|width| 2 * width))?;
        for k in 0..last {
            let next = new()?;
            self.run(k, x, None, whole(&before[k]), whole(&next))?;
            before.push(next);
        }
        // Reverse's goes on from the given one.
        let (behind, after) = (new()?, new()?);
        self.copy(states, whole(&behind), widths.map(|width| 2 * width))?;
        for k in (0..=last).rev() {
            self.copy(half(whole(&behind), widths), half(whole(&before[k]), widths), widths)?;
            self.run(k, x, Some(y), whole(&before[k]), whole(&after))?;
            if k == last {
                self.copy(whole(&after), states, widths)?;
            }
            self.copy(whole(&after), whole(&behind), widths.map(|width| 2 * width))?;
        }
        self.copy(half(whole(&behind), widths), half(states, widths), widths)
    }

    fn copy(&self, from: States<'_>, to: States<'_>, lens: [usize; 2]) -> Result<()> {
        let mut recorder = self.network.device.recorder();
        for ((from, to), len) in from.into_iter().zip(to).zip(lens) {
            recorder.copy(from.0.from(from.1), to.0.from(to.1), len);
        }
        recorder.submit()
    }

    /// Runs piece `k`, from and to states of all layers and directions; its outputs go to their place in
    /// `y`.
    fn run(
        &self,
        k: usize,
        x: &Tensor,
        y: Option<&Tensor>,
        from: States<'_>,
        to: States<'_>,
    ) -> Result<()> {
        let (network, all) = (self.network, self.sequences);
        let first = k * self.steps;
        let steps = self.steps.min(all.steps - first);
        let sequences = Sequences { steps, state: true, ..all };
        let ready = network.forward_session(&sequences)?;
        let session = &ready.session;
        if let Some(lengths) = self.lengths {
            let inside = |&length: &usize| length.saturating_sub(first).min(steps) as f32;
            let lengths: Vec<f32> = lengths.iter().map(inside).collect();
            network.device.write(&session.known("lengths"), 0, &lengths)?;
        }
        let mut recorder = network.device.recorder();
        let input = network.shape.input;
        self.each_part(first, steps, input, |whole, part, len| {
            recorder.copy(x.from(whole), (&session.known("x"), part), len);
        });
        let states = network.shape.layers * network.shape.directions() * all.batch;
        let lens = [states * network.shape.state(0), states * network.shape.hidden];
        for ((name, (tensor, start)), len) in ["h_0", "c_0"].into_iter().zip(from).zip(lens) {
            recorder.copy(tensor.from(start), (&session.known(name), 0), len);
        }
        recorder.run(session, 0);
        if let Some(y) = y {
            let output = ready.plan.output;
            let made = session.buffer(output.buffer);
            self.each_part(first, steps, network.shape.features(), |whole, part, len| {
                recorder.copy((&made, output.start + part), y.from(whole), len);
            });
        }
        for ((name, (tensor, start)), len) in ["h_n", "c_n"].into_iter().zip(to).zip(lens) {
            recorder.copy((&session.known(name), 0), tensor.from(start), len);
        }
        recorder.submit()
    }

    /// Calls `each` with where what lies together of a piece starts in the whole and in the piece, and how
    /// many elements that is.
    fn each_part(
        &self,
        first: usize,
        steps: usize,
        width: usize,
        mut each: impl FnMut(usize, usize, usize),
    ) {
        let Sequences { steps: all, batch, batch_first, .. } = self.sequences;
        match batch_first {
            false => each(first * batch * width, 0, steps * batch * width),
            true => (0..batch).for_each(|row| {
                each((row * all + first) * width, row * steps * width, steps * width);
            }),
        }
    }
}

fn whole(states: &[Tensor; 2]) -> States<'_> {
    [(&states[0], 0), (&states[1], 0)]
}

/// The reverse direction's of two.
fn half(states: States<'_>, widths: [usize; 2]) -> States<'_> {
    [(states[0].0, states[0].1 + widths[0]), (states[1].0, states[1].1 + widths[1])]
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::model::{Init, Lstm, LstmConfig};

    fn numbers(device: &Device, shape: &[usize]) -> Tensor {
        let len: usize = shape.iter().product();
        let values: Vec<f32> =
            (0..len).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect();
        Tensor::from_slice(device, &values, shape).unwrap()
    }

    /// Outputs and states of a sequence in pieces have the bits of one plan.
    #[test]
    fn pieces_are_the_whole() {
        let device = Device::cpu();
        let (steps, batch, input) = (11, 4, 3);
        for i in 0..96 {
            let [both, projected, padded, batch_first, given, learned] =
                [1, 2, 4, 8, 16, 32].map(|f| i & f > 0);
            let (reverse, both) = (i >= 64, both && i < 64);
            let config = LstmConfig::new(input, 5)
                .layers(1 + i % 3)
                .bidirectional(both)
                .reverse(reverse)
                .proj_size(if projected { 2 } else { 0 })
                .batch_first(batch_first)
                .learned_state(learned)
                .init("", Init::Uniform { bound: 0.9 });
            let lstm = Lstm::new(&device, config).unwrap();
            let network = &lstm.network;
            let (first, second) = if batch_first { (batch, steps) } else { (steps, batch) };
            let x = numbers(&device, &[first, second, input]);
            let lengths = padded.then_some(&[11, 0, 4, 7][..]);
            let states = network.shape.layers * network.shape.directions();
            let state = given.then(|| LstmState {
                h: numbers(&device, &[states, batch, network.shape.state(0)]),
                c: numbers(&device, &[states, batch, 5]),
            });
            let want = lstm.forward_padded(&x, lengths, state.as_ref()).unwrap();
            for piece in [1, 4, 6] {
                let zeros = |like: &Tensor| Tensor::zeros(&device, like.shape()).unwrap();
                let last = LstmState { h: zeros(&want.1.h), c: zeros(&want.1.c) };
                let results = (zeros(&want.0), last);
                let sequences =
                    Sequences { lengths: padded, batch_first, ..Sequences::new(steps, batch) };
                let state = state.as_ref();
                network.forward_in_pieces(piece, &sequences, &x, lengths, state, &results).unwrap();
                let read = |t: &Tensor| t.to_vec().unwrap();
                let all = |(y, last): &(Tensor, LstmState)| [read(y), read(&last.h), read(&last.c)];
                assert_eq!(all(&results), all(&want), "{i}, pieces of {piece}");
            }
        }
    }
}
