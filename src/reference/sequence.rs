//! A whole stacked LSTM and its backpropagation through time, from the equations.
//!
//! Written apart from everything that runs on a device: PyTorch's layout (`weight_ih [4H, I]`,
//! gates in the order i, f, g, o), one row of the batch after the other, each over its own
//! timesteps, one gate at a time, every step's values kept; it shares the [cell](super::cell_forward) with
//! the twins. It is slow and it is the yardstick: what PyTorch computes is compared with it, its gradients
//! are checked against central differences, and both executors against it.
//!
//! Equations: the page of [`torch.nn.LSTM`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html);
//! the projection: Sak, Senior and Beaufays, 2014; backpropagation through time: Werbos, 1990,
//! *Proceedings of the IEEE* 78(10).

use super::{
    Cell, Draws, Masks, Real, Unit, cell_backward, cell_forward, input_mask, masks, recurrent_mask,
};

/// The weights of one direction of a layer, in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights<R> {
    /// Input features `I`.
    pub input: usize,
    /// Units `H`.
    pub hidden: usize,
    /// `[4H, I]`.
    pub weight_ih: Vec<R>,
    /// `[4H, P]`; `P` is `H` without a projection.
    pub weight_hh: Vec<R>,
    /// `[4H]`, the sum of the biases that the layer has; zeros where it has none.
    pub bias: Vec<R>,
    /// `[P, H]`, the projection; empty where there is none.
    pub weight_hr: Vec<R>,
    /// `[3H]`, the peepholes of i, f and o; empty where there are none.
    pub weight_peephole: Vec<R>,
    /// Which cell.
    pub cell: Cell,
}

impl<R> LayerWeights<R> {
    /// Features of the hidden state: `P` with a projection, else `H`.
    pub fn output(&self) -> usize {
        if self.weight_hr.is_empty() { self.hidden } else { self.weight_hr.len() / self.hidden }
    }
}

impl<R: Real> LayerWeights<R> {
    /// The peepholes (i, f, 0, o) of a unit.
    fn peepholes(&self, unit: usize) -> [R; 4] {
        let of = |gate: usize| self.weight_peephole.get(gate * self.hidden + unit).copied();
        [of(0), of(1), None, of(2)].map(|p| p.unwrap_or_else(R::zero))
    }
}

/// The layers of a stack: for each its directions, forward first.
pub type Stack<R> = [Vec<LayerWeights<R>>];

/// A batch, and what is done to it.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, R> {
    /// Rows `B`.
    pub rows: usize,
    /// Timesteps of each row; `None` where all have all.
    pub lengths: Option<&'a [usize]>,
    /// What the outputs of each layer but the last are multiplied by, `[T, B, D P]` each; no
    /// layers where nothing is dropped.
    pub masks: &'a [Vec<R>],
    /// What is drawn in each direction of each layer; no layers where nothing is, and zoneouts are what is
    /// expected of them.
    pub drawn: &'a [Vec<LayerMasks<R>>],
}

/// What training draws for one direction of a layer; empty where it draws nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerMasks<R> {
    /// Shares of the old hidden and the old cell state in the new ones, `[T, B, H]`.
    pub zones: Vec<[R; 2]>,
    /// What candidates are multiplied with, `[B, H]`.
    pub candidate: Vec<R>,
    /// What hidden states are multiplied with on their way to the next timestep, `[B, P]`.
    pub recurrent: Vec<R>,
    /// What the input is multiplied with, `[B, I]`; the same in both directions.
    pub input: Vec<R>,
}

impl<R: Real> LayerMasks<R> {
    /// What is drawn with a key in direction `d` of layer `l`.
    pub fn drawn(
        w: &LayerWeights<R>,
        key: [u32; 2],
        (l, d): (usize, usize),
        (steps, rows): (usize, usize),
    ) -> LayerMasks<R> {
        let draws = |t: usize| Draws { key, place: (2 * l + d) as u32, t: t as u32, row: 0 };
        let all = |is: bool, width: usize, of: &dyn Fn((usize, usize)) -> R| -> Vec<R> {
            let elements = if is { rows * width } else { 0 };
            (0..elements).map(|at| of((at / width, at % width))).collect()
        };
        let cell = &w.cell;
        let zones = match cell.zoneout {
            None => Vec::new(),
            Some(_) => (0..steps * rows * w.hidden)
                .map(|at| {
                    let (row, unit) = (at / w.hidden, at % w.hidden);
                    masks(cell, Some(draws(row / rows)), (row % rows, unit)).zone
                })
                .collect(),
        };
        let of_layer = Draws { place: 2 * l as u32, ..draws(0) };
        LayerMasks {
            zones,
            candidate: all(cell.candidate_dropout > 0.0, w.hidden, &|at| {
                masks(cell, Some(draws(0)), at).candidate
            }),
            recurrent: all(cell.recurrent_dropout > 0.0, w.output(), &|at| {
                recurrent_mask(cell.recurrent_dropout, draws(0), at)
            }),
            input: all(cell.input_dropout > 0.0, w.input, &|at| {
                input_mask(cell.input_dropout, of_layer, at)
            }),
        }
    }

    /// What is done to a unit of row `b`, the `at`th of all rows of all timesteps.
    fn unit(
        &self,
        cell: &Cell,
        (at, b): (usize, usize),
        (unit, hidden): (usize, usize),
    ) -> Masks<R> {
        let expected = masks(cell, None, (b, unit));
        Masks {
            zone: self.zones.get(at * hidden + unit).copied().unwrap_or(expected.zone),
            candidate: self.candidate.get(b * hidden + unit).copied().unwrap_or(R::one()),
        }
    }
}

/// Numbers of a row, times its part of a mask, where there is one.
fn masked<R: Real>(row: &[R], mask: &[R], b: usize) -> Vec<R> {
    let own = mask.get(b * row.len()..(b + 1) * row.len()).unwrap_or_default();
    let factors = own.iter().copied().chain(std::iter::repeat(R::one()));
    row.iter().zip(factors).map(|(&v, m)| v * m).collect()
}

impl<R> Batch<'_, R> {
    /// Rows that all have all timesteps, and no dropout.
    pub fn of(rows: usize) -> Batch<'static, R> {
        Batch { rows, lengths: None, masks: &[], drawn: &[] }
    }

    /// The timesteps of row `b`, in the order in which a direction visits them.
    fn visits(&self, b: usize, steps: usize, reverse: bool) -> Vec<usize> {
        let length = self.lengths.map_or(steps, |lengths| lengths[b]);
        if reverse { (0..length).rev().collect() } else { (0..length).collect() }
    }
}

/// What one direction of a layer had and made at one timestep of one row.
#[derive(Clone, Debug)]
struct Moment<R> {
    /// What products took of the hidden state before, and of the input.
    taken: Vec<R>,
    x: Vec<R>,
    c_prev: Vec<R>,
    cells: Vec<Unit<R>>,
}

/// Every value of one direction of a layer's forward pass.
#[derive(Clone, Debug)]
pub struct LayerTrace<R> {
    /// The outputs, `[T, B, P]`; zero where a row has ended.
    pub y: Vec<R>,
    /// The final hidden state, `[B, P]`.
    pub h_n: Vec<R>,
    /// The final cell state, `[B, H]`.
    pub c_n: Vec<R>,
    /// By row, in the order of the visits.
    moments: Vec<Vec<Moment<R>>>,
}

/// The gradients of one direction of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerGradients<R> {
    /// `[4H, I]`.
    pub weight_ih: Vec<R>,
    /// `[4H, P]`.
    pub weight_hh: Vec<R>,
    /// `[4H]`, the same for each bias.
    pub bias: Vec<R>,
    /// `[P, H]`; empty without a projection.
    pub weight_hr: Vec<R>,
    /// `[3H]`; empty without peepholes.
    pub weight_peephole: Vec<R>,
    /// `[T, B, I]`.
    pub x: Vec<R>,
    /// Of the initial hidden state, `[B, P]`.
    pub h_0: Vec<R>,
    /// Of the initial cell state, `[B, H]`.
    pub c_0: Vec<R>,
}

fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    a.iter().zip(b).fold(R::zero(), |sum, (&a, &b)| sum + a * b)
}

/// Runs direction `d` of layer `l` over `x [T, B, I]` from `h_0 [B, P]` and `c_0 [B, H]`.
pub fn layer_forward<R: Real>(
    w: &LayerWeights<R>,
    batch: &Batch<'_, R>,
    (l, d): (usize, usize),
    x: &[R],
    h_0: &[R],
    c_0: &[R],
) -> LayerTrace<R> {
    let (hidden, input, output) = (w.hidden, w.input, w.output());
    let steps = x.len() / (batch.rows * input);
    let mut trace = LayerTrace {
        y: vec![R::zero(); steps * batch.rows * output],
        h_n: Vec::new(),
        c_n: Vec::new(),
        moments: Vec::new(),
    };
    let none = LayerMasks::default();
    let drawn = batch.drawn.get(l).map_or(&none, |directions| &directions[d]);
    for b in 0..batch.rows {
        let mut h = h_0[b * output..][..output].to_vec();
        let mut c = c_0[b * hidden..][..hidden].to_vec();
        let mut moments = Vec::new();
        for t in batch.visits(b, steps, d == 1) {
            let at = t * batch.rows + b;
            let x_t = masked(&x[at * input..][..input], &drawn.input, b);
            let (h_prev, c_prev) = (h.clone(), c.clone());
            let taken = masked(&h_prev, &drawn.recurrent, b);
            let sum = |row: usize| {
                w.bias[row]
                    + dot(&w.weight_ih[row * input..][..input], &x_t)
                    + dot(&w.weight_hh[row * output..][..output], &taken)
            };
            let cell = |unit: usize| {
                let sums = [0, 1, 2, 3].map(|q| sum(q * hidden + unit));
                let masks = drawn.unit(&w.cell, (at, b), (unit, hidden));
                // With a projection a hidden state isn't a unit's, and isn't kept.
                let old = if w.weight_hr.is_empty() { h_prev[unit] } else { R::zero() };
                cell_forward(&w.cell, &masks, w.peepholes(unit), sums, (old, c_prev[unit]))
            };
            let cells: Vec<Unit<R>> = (0..hidden).map(cell).collect();
            c = cells.iter().map(|cell| cell.c).collect();
            // Before the projection.
            let cell_output: Vec<R> = cells.iter().map(|cell| cell.h).collect();
            h = match w.weight_hr.is_empty() {
                true => cell_output.clone(),
                false => w.weight_hr.chunks(hidden).map(|row| dot(row, &cell_output)).collect(),
            };
            if let Some(bound) = w.cell.projection_clip.map(R::of) {
                h.iter_mut().for_each(|h| *h = h.max(-bound).min(bound));
            }
            trace.y[(t * batch.rows + b) * output..][..output].copy_from_slice(&h);
            moments.push(Moment { taken, x: x_t, c_prev, cells });
        }
        trace.moments.push(moments);
        trace.h_n.extend(h);
        trace.c_n.extend(c);
    }
    trace
}

/// Propagates `dy [T, B, P]` (of the outputs), `dh_n [B, P]` and `dc_n [B, H]` (of the final
/// states) back through one direction of a layer. What `dy` holds where a row has ended doesn't
/// count.
#[expect(clippy::too_many_arguments, reason = "what nn.LSTM has: input and three gradients")]
pub fn layer_backward<R: Real>(
    w: &LayerWeights<R>,
    batch: &Batch<'_, R>,
    (l, d): (usize, usize),
    x: &[R],
    trace: &LayerTrace<R>,
    dy: &[R],
    dh_n: &[R],
    dc_n: &[R],
) -> LayerGradients<R> {
    let (hidden, input, output) = (w.hidden, w.input, w.output());
    let steps = x.len() / (batch.rows * input);
    let zeros = |like: &[R]| vec![R::zero(); like.len()];
    let mut out = LayerGradients {
        weight_ih: zeros(&w.weight_ih),
        weight_hh: zeros(&w.weight_hh),
        bias: zeros(&w.bias),
        weight_hr: zeros(&w.weight_hr),
        weight_peephole: zeros(&w.weight_peephole),
        x: zeros(x),
        h_0: Vec::new(),
        c_0: Vec::new(),
    };
    let none = LayerMasks::default();
    let drawn = batch.drawn.get(l).map_or(&none, |directions| &directions[d]);
    for b in 0..batch.rows {
        let mut dh = dh_n[b * output..][..output].to_vec();
        let mut dc = dc_n[b * hidden..][..hidden].to_vec();
        let visits = batch.visits(b, steps, d == 1);
        for (&t, moment) in visits.iter().zip(&trace.moments[b]).rev() {
            let at = t * batch.rows + b;
            for (dh, &dy) in dh.iter_mut().zip(&dy[at * output..]) {
                *dh += dy;
            }
            if let Some(bound) = w.cell.projection_clip.map(R::of) {
                let states = &trace.y[at * output..][..output];
                for (dh, _) in dh.iter_mut().zip(states).filter(|(_, h)| h.abs() >= bound) {
                    *dh = R::zero();
                }
            }
            // Of what the projection was applied to.
            let mut d_cell_output = dh.clone();
            if !w.weight_hr.is_empty() {
                d_cell_output = vec![R::zero(); hidden];
                for (p, &d) in dh.iter().enumerate() {
                    for (k, sum) in d_cell_output.iter_mut().enumerate() {
                        out.weight_hr[p * hidden + k] += d * moment.cells[k].h;
                        *sum += d * w.weight_hr[p * hidden + k];
                    }
                }
            }
            let mut d_gates = vec![R::zero(); 4 * hidden];
            // What a zoneout has kept.
            let mut kept = vec![R::zero(); output];
            for unit in 0..hidden {
                let (cell, c_prev) = (&moment.cells[unit], moment.c_prev[unit]);
                let (states, above) = ((c_prev, cell.c), (d_cell_output[unit], dc[unit]));
                let masks = drawn.unit(&w.cell, (at, b), (unit, hidden));
                let p = w.peepholes(unit);
                let gradient = cell_backward(&w.cell, &masks, p, cell.gates, states, above);
                if w.weight_hr.is_empty() {
                    kept[unit] = gradient.h_prev;
                }
                if w.cell.peepholes {
                    let [i, f, _, o] = gradient.sums;
                    for (place, d) in [i * c_prev, f * c_prev, o * cell.c].into_iter().enumerate() {
                        out.weight_peephole[place * hidden + unit] += d;
                    }
                }
                for (q, sum) in gradient.sums.into_iter().enumerate() {
                    d_gates[q * hidden + unit] = sum;
                }
                dc[unit] = gradient.c_prev;
            }
            dh.fill(R::zero());
            let mut dx = vec![R::zero(); input];
            for (row, &d) in d_gates.iter().enumerate() {
                out.bias[row] += d;
                for (k, sum) in dx.iter_mut().enumerate() {
                    out.weight_ih[row * input + k] += d * moment.x[k];
                    *sum += d * w.weight_ih[row * input + k];
                }
                for (k, sum) in dh.iter_mut().enumerate() {
                    out.weight_hh[row * output + k] += d * moment.taken[k];
                    *sum += d * w.weight_hh[row * output + k];
                }
            }
            let through = masked(&dh, &drawn.recurrent, b).into_iter().zip(kept);
            dh = through.map(|(d, kept)| d + kept).collect();
            out.x[at * input..][..input].copy_from_slice(&masked(&dx, &drawn.input, b));
        }
        out.h_0.extend(dh);
        out.c_0.extend(dc);
    }
    out
}

/// Every value of a stack's forward pass.
#[derive(Clone, Debug)]
pub struct Trace<R> {
    /// The outputs, `[T, B, D P]`.
    pub y: Vec<R>,
    /// The final hidden states, `[L D, B, P]`.
    pub h_n: Vec<R>,
    /// The final cell states, `[L D, B, H]`.
    pub c_n: Vec<R>,
    /// What each layer ran over, `[T, B, I]`, then `[T, B, D P]`.
    inputs: Vec<Vec<R>>,
    layers: Vec<Vec<LayerTrace<R>>>,
}

impl<R> Trace<R> {
    /// Directions of a layer.
    pub fn directions(&self) -> usize {
        self.layers.first().map_or(1, Vec::len)
    }

    /// Features of the top layer's hidden state in one direction.
    pub fn top_state(&self, rows: usize) -> usize {
        self.h_n.len() / (self.layers.len() * self.directions() * rows)
    }
}

/// The gradients of a stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients<R> {
    /// Of the weights, layer by layer, direction by direction.
    pub layers: Vec<Vec<LayerGradients<R>>>,
    /// `[T, B, I]`.
    pub x: Vec<R>,
    /// Of the initial hidden states, `[L D, B, P]`.
    pub h_0: Vec<R>,
    /// Of the initial cell states, `[L D, B, H]`.
    pub c_0: Vec<R>,
}

/// Two directions' `[T, B, P]` side by side, `[T, B, 2P]`; one's as it is.
fn side_by_side<R: Real>(directions: &[&[R]], output: usize) -> Vec<R> {
    let rows = directions[0].len() / output;
    let row = |i: usize| directions.iter().flat_map(move |y| &y[i * output..][..output]);
    (0..rows).flat_map(row).copied().collect()
}

/// Direction `d` of `[T, B, D P]`.
fn side<R: Real>(y: &[R], d: usize, directions: usize, output: usize) -> Vec<R> {
    y.chunks(output).skip(d).step_by(directions).flatten().copied().collect()
}

fn times<R: Real>(a: &mut [R], mask: Option<&Vec<R>>) {
    if let Some(mask) = mask {
        a.iter_mut().zip(mask).for_each(|(a, &m)| *a = *a * m);
    }
}

/// Runs a stack over `x [T, B, I]`; `h_0` is `[L D, B, P]`, `c_0` `[L D, B, H]`.
pub fn forward<R: Real>(
    stack: &Stack<R>,
    batch: &Batch<'_, R>,
    x: &[R],
    h_0: &[R],
    c_0: &[R],
) -> Trace<R> {
    let (mut input, mut inputs, mut layers) = (x.to_vec(), Vec::new(), Vec::new());
    let (mut h_n, mut c_n) = (Vec::new(), Vec::new());
    for (l, directions) in stack.iter().enumerate() {
        let mut traces = Vec::new();
        for (d, w) in directions.iter().enumerate() {
            let index = l * directions.len() + d;
            let h_0 = &h_0[index * batch.rows * w.output()..];
            let c_0 = &c_0[index * batch.rows * w.hidden..];
            let trace = layer_forward(w, batch, (l, d), &input, h_0, c_0);
            h_n.extend_from_slice(&trace.h_n);
            c_n.extend_from_slice(&trace.c_n);
            traces.push(trace);
        }
        let outputs: Vec<&[R]> = traces.iter().map(|trace| trace.y.as_slice()).collect();
        let mut y = side_by_side(&outputs, directions[0].output());
        times(&mut y, batch.masks.get(l));
        inputs.push(std::mem::replace(&mut input, y));
        layers.push(traces);
    }
    Trace { y: input, h_n, c_n, inputs, layers }
}

/// Propagates `dy [T, B, D P]`, `dh_n [L D, B, P]` and `dc_n [L D, B, H]` back through a stack.
pub fn backward<R: Real>(
    stack: &Stack<R>,
    batch: &Batch<'_, R>,
    trace: &Trace<R>,
    dy: &[R],
    dh_n: &[R],
    dc_n: &[R],
) -> Gradients<R> {
    let mut dy = dy.to_vec();
    let mut layers = Vec::new();
    for (l, directions) in stack.iter().enumerate().rev() {
        times(&mut dy, batch.masks.get(l));
        let mut gradients = Vec::new();
        for (d, w) in directions.iter().enumerate() {
            let index = l * directions.len() + d;
            gradients.push(layer_backward(
                w,
                batch,
                (l, d),
                &trace.inputs[l],
                &trace.layers[l][d],
                &side(&dy, d, directions.len(), w.output()),
                &dh_n[index * batch.rows * w.output()..],
                &dc_n[index * batch.rows * w.hidden..],
            ));
        }
        dy = vec![R::zero(); trace.inputs[l].len()];
        for gradient in &gradients {
            dy.iter_mut().zip(&gradient.x).for_each(|(sum, &d)| *sum += d);
        }
        layers.push(gradients);
    }
    layers.reverse();
    let all = || layers.iter().flatten();
    let h_0 = all().flat_map(|g: &LayerGradients<R>| g.h_0.clone()).collect();
    let c_0 = all().flat_map(|g: &LayerGradients<R>| g.c_0.clone()).collect();
    Gradients { x: dy, h_0, c_0, layers }
}
