//! What a head reads of a sequence, from the definitions.

use super::Real;
use super::argmax::position_of_largest;
use super::sequence::{Batch, Trace};

/// What a head reads of the top layer, whose outputs are `[T, B, D P]`. Timesteps are those of a row: what
/// stands behind its length doesn't count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Readout {
    /// The final hidden state of each direction, as `cat(h_n[-2], h_n[-1])` in PyTorch: that of the
    /// whole sequence, also in reverse, where it is the output at the first timestep. A row without
    /// timesteps ends as it begins.
    #[default]
    FinalStates,
    /// The output at the last timestep, as `out[:, -1]` in PyTorch: in reverse it has seen that timestep
    /// alone. In one direction it is the final state. A row without timesteps has none: zeros.
    LastOutput,
    /// The output at every timestep.
    EveryStep,
    /// The mean of the outputs; zeros of a row without timesteps.
    MeanOverTime,
    /// The largest output of each feature (Collobert et al., 2011, *JMLR* 12, section 3.2.2); zeros of
    /// a row without timesteps.
    MaxOverTime,
}

impl Readout {
    /// All of them.
    pub const ALL: [Readout; 5] = [
        Readout::FinalStates,
        Readout::LastOutput,
        Readout::EveryStep,
        Readout::MeanOverTime,
        Readout::MaxOverTime,
    ];

    /// Its name in files, such as `final_states`.
    pub fn name(self) -> &'static str {
        match self {
            Readout::FinalStates => "final_states",
            Readout::LastOutput => "last_output",
            Readout::EveryStep => "every_step",
            Readout::MeanOverTime => "mean_over_time",
            Readout::MaxOverTime => "max_over_time",
        }
    }

    /// The one of that [name](Self::name).
    pub fn named(name: &str) -> Option<Readout> {
        Readout::ALL.into_iter().find(|readout| readout.name() == name)
    }

    /// What is read of a stack's forward pass: `[B, D P]`, or `[T, B, D P]` of every timestep.
    pub fn read<R: Real>(self, trace: &Trace<R>, batch: &Batch<'_, R>) -> Vec<R> {
        if self == Readout::EveryStep {
            return trace.y.clone();
        }
        let top = Top::of(trace, batch);
        let mut out = vec![R::zero(); top.rows * top.width];
        for (b, out) in out.chunks_mut(top.width).enumerate() {
            for (k, out) in out.iter_mut().enumerate() {
                let outputs = top.outputs(b, k);
                *out = match self {
                    Readout::FinalStates => trace.h_n[top.final_state(b, k)],
                    Readout::LastOutput => outputs.last().copied().unwrap_or_default(),
                    _ if outputs.is_empty() => R::zero(),
                    Readout::MaxOverTime => outputs[position_of_largest(&outputs)],
                    _ => {
                        let sum = outputs.iter().fold(R::zero(), |sum, &y| sum + y);
                        sum / R::of_f64(outputs.len() as f64)
                    }
                };
            }
        }
        out
    }

    /// From the gradient of what was [read](Self::read) to those of the outputs, `[T, B, D P]`, and of
    /// the final hidden states, `[L D, B, P]`.
    pub fn backward<R: Real>(
        self,
        trace: &Trace<R>,
        batch: &Batch<'_, R>,
        d_read: &[R],
    ) -> (Vec<R>, Vec<R>) {
        let [mut dy, mut dh_n] = [&trace.y, &trace.h_n].map(|like| vec![R::zero(); like.len()]);
        if self == Readout::EveryStep {
            dy.copy_from_slice(d_read);
            return (dy, dh_n);
        }
        let top = Top::of(trace, batch);
        for (at, &d) in d_read.iter().enumerate() {
            let (b, k) = (at / top.width, at % top.width);
            let outputs = top.outputs(b, k);
            let len = outputs.len();
            match self {
                Readout::FinalStates => dh_n[top.final_state(b, k)] = d,
                _ if len == 0 => {}
                Readout::LastOutput => dy[top.at(len - 1, b, k)] = d,
                Readout::MaxOverTime => dy[top.at(position_of_largest(&outputs), b, k)] = d,
                _ => (0..len).for_each(|t| dy[top.at(t, b, k)] = d / R::of_f64(len as f64)),
            }
        }
        (dy, dh_n)
    }
}

/// The outputs and final states of the top layer.
struct Top<'a, R> {
    trace: &'a Trace<R>,
    batch: &'a Batch<'a, R>,
    rows: usize,
    /// `D P`.
    width: usize,
    /// Features `P` of a direction.
    state: usize,
    steps: usize,
}

impl<'a, R: Real> Top<'a, R> {
    fn of(trace: &'a Trace<R>, batch: &'a Batch<'a, R>) -> Self {
        let (rows, state, directions) =
            (batch.rows, trace.top_state(batch.rows), trace.directions());
        let width = directions * state;
        Top { trace, batch, rows, width, state, steps: trace.y.len() / (rows * width) }
    }

    fn at(&self, t: usize, b: usize, k: usize) -> usize {
        (t * self.rows + b) * self.width + k
    }

    /// A feature of a row at all its timesteps.
    fn outputs(&self, b: usize, k: usize) -> Vec<R> {
        let length = self.batch.lengths.map_or(self.steps, |lengths| lengths[b]);
        (0..length).map(|t| self.trace.y[self.at(t, b, k)]).collect()
    }

    /// Where a feature's final state is in `h_n`.
    fn final_state(&self, b: usize, k: usize) -> usize {
        let top = self.trace.h_n.len() - self.rows * self.width;
        top + (k / self.state * self.rows + b) * self.state + k % self.state
    }
}
