//! Losses, updates, and training steps in one launch.

use criterion::Throughput;
use gatefold::command::Limits;
use gatefold::kernels::{self, Padding, Tile, training_step};
use gatefold::plan::tile;
use gatefold::reference::{
    AdamSettings, CommonSettings, CrossEntropy, GROUP_BLOCK, Pointwise, RmsPropSettings, SETTINGS,
    SgdSettings, Strides, policy, status,
};

use super::case::{Builder, Case};

/// The launches, cut as plans for the device cut them.
pub fn cases(limits: &Limits) -> Vec<Case> {
    let tile = tile(limits);
    let mut cases = Vec::new();
    let new = Builder::default;
    let len = 1 << 20;

    let mut b = new();
    let (y, target, dy) = (b.buffer(len), b.buffer(len), b.buffer(len));
    let partials = b.buffer(len / kernels::pointwise_loss::CHUNK);
    let (scale, padding) = (b.given(vec![1e-6]), Padding(None));
    let weights = None;
    let operands =
        kernels::pointwise_loss::Operands { y, target, padding, weights, scale, dy, partials };
    let launch =
        kernels::pointwise_loss::dispatch(Pointwise::Squared, (0, len), (len, 1), &operands);
    let moved = Throughput::Bytes(12 * len as u64);
    cases.push(b.case("pointwise_loss", format!("{len}"), moved, launch));

    let (rows, classes) = (4096, 128);
    let mut b = new();
    let [logits, dy] = [(); 2].map(|()| b.buffer(rows * classes));
    let (target, losses) = (b.given(vec![3.0; rows]), b.buffer(rows));
    let (scale, padding) = (b.given(vec![1e-3]), Padding(None));
    let operands = kernels::cross_entropy_loss::Operands {
        logits,
        target,
        padding,
        weights: None,
        row_weights: None,
        scale,
        dy,
        losses,
    };
    let settings = CrossEntropy { ignore_index: -100.0, label_smoothing: 0.0 };
    let launch =
        kernels::cross_entropy_loss::dispatch(settings, (0, rows), (rows, classes), &operands);
    let moved = Throughput::Bytes(16 * (rows * classes) as u64);
    cases.push(b.case("cross_entropy_loss", format!("{rows} x {classes}"), moved, launch));

    let common = CommonSettings::new(1e-3);
    let usual = |b: &mut Builder, row: [f32; SETTINGS]| {
        let (settings, groups) = (b.given(row.to_vec()), b.given(vec![0.0; len / GROUP_BLOCK]));
        let mut status = vec![0.0; status::LEN];
        (status[status::SCALE], status[status::APPLY]) = (1.0, 1.0);
        (settings, groups, b.given(status))
    };
    let bytes = |elements: usize| Throughput::Bytes(4 * (elements * len) as u64);

    let mut b = new();
    let adam_row = AdamSettings {
        common,
        one_minus_beta1: 0.1,
        beta2: 0.999,
        one_minus_beta2: 0.001,
        eps: 1e-8,
        root_correction: 0.5,
    };
    let (settings, groups, status) = usual(&mut b, adam_row.row());
    let [g, p, m, v] = [(); 4].map(|()| b.buffer(len));
    let operands = kernels::adam::Operands { settings, groups, status, g, p, m, v };
    let launch = kernels::adam::dispatch(len, &operands);
    cases.push(b.case("adam", format!("{len}"), bytes(7), launch));

    let mut b = new();
    let row = SgdSettings { common, momentum: 0.9, gradient_share: 1.0, nesterov: false };
    let (settings, groups, status) = usual(&mut b, row.row());
    let [g, p, momentum] = [(); 3].map(|()| b.buffer(len));
    let operands = kernels::sgd::Operands { settings, groups, status, g, p, momentum };
    let launch = kernels::sgd::dispatch(len, true, &operands);
    cases.push(b.case("sgd", format!("{len}"), bytes(5), launch));

    let mut b = new();
    let row =
        RmsPropSettings { common, alpha: 0.99, one_minus_alpha: 0.01, eps: 1e-8, momentum: 0.9 };
    let (settings, groups, status) = usual(&mut b, row.row());
    let [g, p, square_avg, momentum] = [(); 4].map(|()| b.buffer(len));
    let grad_avg = b.buffer(1);
    let operands = kernels::rmsprop::Operands {
        settings,
        groups,
        status,
        g,
        p,
        square_avg,
        momentum,
        grad_avg,
    };
    let flags = kernels::rmsprop::Flags { momentum: true, centered: false };
    let launch = kernels::rmsprop::dispatch(len, flags, &operands);
    cases.push(b.case("rmsprop", format!("{len}"), bytes(7), launch));

    let chunks = len / kernels::gradient_norm::CHUNK;
    let mut b = new();
    let (settings, groups, _) = usual(&mut b, row.row());
    let (g, partials) = (b.buffer(len), b.buffer(2 * chunks));
    let operands = kernels::gradient_norm::Operands { settings, groups, g, partials };
    let chunk = kernels::gradient_norm::CHUNK;
    let launch = kernels::gradient_norm::dispatch(len, (chunk, 0), &operands);
    cases.push(b.case("gradient_norm", format!("{len}"), bytes(1), launch));

    let chunks = 1024; // of 16 million gradients
    let mut b = new();
    let (scalars, loss) = (b.given(vec![1.0, 1.0, policy::SKIP, 0.0]), b.buffer(1));
    let partials = b.given([1.0, kernels::gradient_norm::CHUNK as f32].repeat(chunks));
    let status = b.given(vec![0.0; status::LEN]);
    let operands = kernels::clip_scale::Operands { scalars, loss, partials, status };
    let launch = kernels::clip_scale::dispatch(chunks, &operands);
    let moved = Throughput::Bytes(8 * chunks as u64);
    cases.push(b.case("clip_scale", format!("{chunks} chunks"), moved, launch));

    for [steps, batch, input, hidden] in [[4, 1, 1, 1], [10, 16, 5, 8]] {
        let tensors = [4 * input * hidden, 4 * hidden * hidden, 4 * hidden, hidden, 1];
        let starts: Vec<usize> = tensors
            .iter()
            .scan(0_usize, |len, tensor| {
                let start = *len;
                *len = (start + tensor).next_multiple_of(GROUP_BLOCK);
                Some(start)
            })
            .collect();
        let step = training_step::Shape {
            steps,
            batch,
            input,
            hidden,
            outputs: 1,
            every: false,
            len: starts[4] + GROUP_BLOCK,
            x: Strides::time_major(batch, input),
            w: starts[0],
            u: starts[1],
            biases: vec![starts[2]],
            head: Some((starts[3], starts[4])),
            loss: Pointwise::Squared,
            norm: true,
        };
        let mut b = new();
        let [target, scale, said, settings] = step.fed();
        let mut fed = vec![0.5; step.fed_len()];
        fed[target..scale].fill(1.0);
        fed[scale] = 1.0 / step.predictions() as f32;
        fed[said..settings].copy_from_slice(&[0.0, f32::MAX, policy::SKIP, 0.0]);
        fed[settings..].copy_from_slice(&adam_row.row());
        let fed = b.given(fed).range;
        // Weights of less than 1 in all, so that gates are no constants; padding is zero.
        let mut weights = vec![0.0; step.len];
        for (start, len) in starts.iter().zip(tensors) {
            weights[*start..start + len].fill(0.5 / hidden as f32);
        }
        let operands = training_step::Operands {
            fed,
            params: b.given(weights).range,
            grads: b.given(vec![0.0; step.len]).range,
            m: b.given(vec![0.0; step.len]).range,
            v: b.given(vec![0.1; step.len]).range,
            status: b.given(vec![0.0; status::LEN]).range,
            loss: b.buffer(1).range,
            scratch: b.buffer(step.scratch_len()).range,
        };
        let variant = usize::from(tile == Tile::Workgroup);
        let launch = training_step::dispatch(&step, variant, &operands);
        let flop = Throughput::Elements(2 * step.work());
        let shape = format!("T {steps}, B {batch}, I {input}, H {hidden}");
        cases.push(b.case("training_step", shape, flop, launch));
    }
    cases
}
