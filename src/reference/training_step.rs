//! Twin of `training_step`.

use super::{
    Cell, Groups, OptimizerStep, Pointwise, Product, Real, SETTINGS, SequenceBackward,
    SequenceForward, SequenceGradients, Strides, Walk, adam, clip_scale, column_sums,
    gradient_norm, lstm_sequence_backward, lstm_sequence_forward, matmul, pointwise_loss, scalars,
};

/// A training step of a model of one layer, and where its parts lie in flat buffers and in what is fed,
/// in elements.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingStep {
    /// Timesteps `T`.
    pub steps: usize,
    /// Rows `B`.
    pub batch: usize,
    /// Input features `I`.
    pub input: usize,
    /// Units `H`.
    pub hidden: usize,
    /// Numbers `O` of a prediction.
    pub outputs: usize,
    /// Whether there is a prediction at every timestep, and not at the last alone.
    pub every: bool,
    /// Elements of a flat buffer, a multiple of 64.
    pub len: usize,
    /// How the input lies.
    pub x: Strides,
    /// Where the input's weights `[I, H, 4]` start.
    pub w: usize,
    /// Where the recurrent weights `[H, H, 4]` start.
    pub u: usize,
    /// Where the biases `[H, 4]` start, up to two.
    pub biases: Vec<usize>,
    /// Where the head's weight `[O, H]` and its bias `[O]` start; without one, predictions are the
    /// hidden states themselves.
    pub head: Option<(usize, usize)>,
    /// What is minimised.
    pub loss: Pointwise,
    /// Whether the gradients' norm is taken; else the status says what it says.
    pub norm: bool,
}

impl TrainingStep {
    /// Numbers in all predictions.
    pub fn predictions(&self) -> usize {
        let steps = if self.every { self.steps } else { 1 };
        steps * self.batch * self.outputs
    }

    /// Where targets, the loss's scale, the scalars and the settings start behind the input in what is
    /// fed.
    pub fn fed(&self) -> [usize; 4] {
        let target = self.steps * self.batch * self.input;
        let scale = target + self.predictions();
        [target, scale, scale + 1, scale + 1 + scalars::LEN]
    }

    /// Elements of what is fed.
    pub fn fed_len(&self) -> usize {
        self.fed()[3] + SETTINGS
    }

    /// Where states, predictions and their gradients start behind the gates in the scratch buffer, and
    /// its elements.
    pub fn scratch(&self) -> [usize; 4] {
        let slot = 4 * self.batch * self.hidden;
        let states = self.steps * slot;
        let y = states + (self.steps + 1) * slot;
        let predictions = self.predictions().next_multiple_of(4);
        [states, y, y + predictions, y + 2 * predictions]
    }

    /// Elements of the scratch buffer.
    pub fn scratch_len(&self) -> usize {
        self.scratch()[3]
    }

    /// Multiply-adds: forward, and twice that backward.
    pub fn work(&self) -> u64 {
        let layer = self.steps * self.batch * 4 * self.hidden * (self.input + self.hidden);
        let head = if self.head.is_some() { self.predictions() * self.hidden } else { 0 };
        3 * (layer + head) as u64
    }
}

/// What a step reads and writes, beside what it is fed.
#[derive(Debug)]
pub struct TrainingBuffers<'a, R> {
    /// `[N]` parameters.
    pub params: &'a mut [R],
    /// `[N]` gradients.
    pub grads: &'a mut [R],
    /// `[N]` first moments.
    pub m: &'a mut [R],
    /// `[N]` second moments.
    pub v: &'a mut [R],
    /// `[16]`, see [`status`](super::status).
    pub status: &'a mut [R],
    /// `[1]`.
    pub loss: &'a mut [R],
    /// Gates `[T, B, H, 4]`, afterwards their gradients; `[T+1, B, H, 4]` of hidden state, cell state, 0
    /// and the cell state's gradient; predictions; their gradients.
    pub scratch: &'a mut [R],
}

/// A whole training step from zero states: [`lstm_sequence_forward`], the head, [`pointwise_loss`],
/// [`lstm_sequence_backward`], the gradients of weights and biases, [`gradient_norm`] and
/// [`clip_scale`] over one chunk of at most `chunk` elements, and [`adam`] with one group.
///
/// # Shapes
/// `fed`: the input, targets `[.., B, O]`, the loss's scale, scalars `[4]`, settings `[16]`.
pub fn training_step<R: Real>(
    step: &TrainingStep,
    chunk: usize,
    fed: &[R],
    buffers: TrainingBuffers<'_, R>,
) {
    let TrainingStep { steps, batch, input, hidden, outputs, .. } = *step;
    let TrainingBuffers { params, grads, m, v, status, loss, scratch } = buffers;
    let (slot, count) = (batch * hidden, step.predictions());
    let [target, scale, scalars, settings] = step.fed();
    let w = |start: usize, rows: usize| start..start + 4 * rows * hidden;

    // Forward, time-major.
    let mut x = vec![R::zero(); steps * batch * input];
    for (n, row) in x.chunks_exact_mut(input).enumerate() {
        let from = n / batch * step.x.step + n % batch * step.x.row;
        row.copy_from_slice(&fed[from..][..input]);
    }
    let biases: Vec<&[R]> = step.biases.iter().map(|&at| &params[w(at, 1)]).collect();
    let mut gates = vec![R::zero(); 4 * steps * slot];
    let product = Product::dense(steps * batch, 4 * hidden, input, false, false);
    matmul(&product, &x, &params[w(step.w, input)], &biases, &mut gates);
    let (mut h, mut c) = (vec![R::zero(); (steps + 1) * slot], vec![R::zero(); (steps + 1) * slot]);
    let forward = SequenceForward {
        cell: Cell::new(),
        draws: None,
        masked: 0,
        peepholes: &[],
        projection: None,
        batch,
        hidden,
        walk: Walk { steps, back: false },
        h_row: hidden,
        packed: false,
        x: None,
        keep: true,
        lengths: None,
        gates: 0,
        h_prev: 0,
        c_prev: 0,
    };
    lstm_sequence_forward(
        &forward,
        &params[w(step.u, hidden)],
        &[],
        &mut gates,
        (&mut h, &mut c, &mut []),
    );

    // Predictions, the loss, and what comes back to the hidden states.
    let rows = count / outputs;
    let top = &h[if step.every { slot } else { steps * slot }..];
    let (mut y, mut dy) = (vec![R::zero(); count], vec![R::zero(); count]);
    match step.head {
        None => y.copy_from_slice(&top[..count]),
        Some((weight, bias)) => {
            let product = Product::dense(rows, outputs, hidden, false, true);
            let bias = &params[bias..][..outputs];
            matmul(&product, top, &params[weight..], &[bias], &mut y);
        }
    }
    let sizes = (0, batch, outputs, count);
    let target = &fed[target..][..count];
    let results = (&mut dy[..], &mut loss[..1]);
    pointwise_loss(step.loss, sizes, fed[scale], None, None, (&y, target), results);
    let mut dh = vec![R::zero(); steps * slot];
    let d_top = &mut dh[if step.every { 0 } else { (steps - 1) * slot }..];
    match step.head {
        None => d_top.copy_from_slice(&dy),
        Some((weight, bias)) => {
            let product = Product::dense(rows, hidden, outputs, false, false);
            matmul(&product, &dy, &params[weight..], &[], d_top);
            let product = Product::dense(outputs, hidden, rows, true, false);
            matmul(&product, &dy, top, &[], &mut grads[weight..]);
            let product = Product::dense(1, outputs, rows, true, false);
            column_sums(&product, &dy, &mut grads[bias..]);
        }
    }

    // Back through time; what the cell state's gradient is before each step is kept.
    let mut dc = vec![R::zero(); (steps + 1) * slot];
    for t in (0..steps).rev() {
        let mut d_cell = dc[(t + 1) * slot..][..slot].to_vec();
        let backward = SequenceBackward {
            cell: Cell::new(),
            draws: None,
            peepholes: &[],
            projection: None,
            batch,
            hidden,
            walk: Walk { steps: 1, back: true },
            packed: false,
            incoming: t + 1 < steps,
            lengths: None,
            gates: 4 * t * slot,
            c: (t + 1) * slot,
            dy: Some((t * slot, hidden)),
        };
        let u = &params[w(step.u, hidden)];
        let written =
            SequenceGradients { gates: &mut gates, dc: &mut d_cell, zoned: &mut [], dp: &mut [] };
        lstm_sequence_backward(&backward, u, &c, &dh, written);
        dc[t * slot..][..slot].copy_from_slice(&d_cell);
    }
    for (start, terms, a) in [(step.w, input, &x), (step.u, hidden, &h)] {
        let product = Product::dense(terms, 4 * hidden, steps * batch, true, false);
        matmul(&product, a, &gates, &[], &mut grads[w(start, terms)]);
    }
    for &bias in &step.biases {
        let product = Product::dense(1, 4 * hidden, steps * batch, true, false);
        column_sums(&product, &gates, &mut grads[w(bias, 1)]);
    }

    // What becomes of the step.
    let blocks = vec![R::zero(); step.len.div_ceil(super::GROUP_BLOCK)];
    let groups = Groups { settings: &fed[settings..][..SETTINGS], groups: &blocks };
    if step.norm {
        let mut partials = [R::zero(); 2];
        gradient_norm(groups, (step.len, chunk), &grads[..step.len], &mut partials);
        clip_scale(&fed[scalars..], loss[0], &partials, chunk, status);
    }
    let optimizer = OptimizerStep { groups, status };
    adam(&optimizer, &grads[..step.len], params, m, v);

    let [states, y_at, dy_at, end] = step.scratch();
    scratch[..states].copy_from_slice(&gates);
    for (n, state) in scratch[states..y_at].chunks_exact_mut(4).enumerate() {
        state.copy_from_slice(&[h[n], c[n], R::zero(), dc[n]]);
    }
    scratch[y_at..end].fill(R::zero());
    scratch[y_at..][..count].copy_from_slice(&y);
    scratch[dy_at..][..count].copy_from_slice(&dy);
}
