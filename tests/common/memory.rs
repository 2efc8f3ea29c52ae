//! What plans hold in memory, and what a device then allocates.

use gatefold::command::Executor;
use gatefold::plan::{Head, Plan, Sequences, StackShape, TrainingOptions};
use gatefold::train::{Adam, Optimizer};
use gatefold::{Array, Device, Forecaster, Lstm, LstmConfig, Tensor};

/// T, B, I, H of the shapes that `cargo bench` times.
const SHAPES: [[usize; 4]; 12] = [
    [4, 2, 1, 1],
    [10, 16, 5, 8],
    [100, 1, 1, 50],
    [30, 64, 4, 32],
    [64, 32, 64, 128],
    [64, 64, 256, 256],
    [25, 64, 512, 512],
    [128, 32, 512, 512],
    [1, 1, 64, 128],
    [256, 1, 64, 512],
    [100, 1, 64, 1024],
    [32, 256, 64, 256],
];

/// Bytes that hardly depend on the shape: the ring of losses, the optimizer's settings and status.
const FIXED: u64 = 8 << 10;

/// What a plan holds beside its tensors: partial sums, packed copies, and what the host writes ahead.
const COPIES: [&str; 8] = [
    "packed", // and packed_weight_ih_l0 and such
    "feed",
    "gates", // of a chunk; those that are kept are gates_l0
    "column_sums",
    "slices",
    "loss_partials",
    "norm_partials",
    "groups",
];

/// Bytes of a plan's tensors and of its copies, where they are what the device allocates.
fn held(device: &Device, plan: &Plan) -> (u64, u64) {
    let before = device.allocated_bytes();
    let session = device.session(&plan.program).unwrap();
    let allocated = device.allocated_bytes() - before;
    drop(session);
    assert_eq!(device.allocated_bytes(), before, "a session leaves nothing");
    let said = plan.program.bytes();
    // A GPU holds the constants of launches as well.
    let constants = match device.limits().executor {
        Executor::Gpu => 256 * (plan.program.commands.len() as u64 + 1),
        Executor::Cpu => 0,
    };
    assert!(
        (said..=said + constants).contains(&allocated),
        "{said} bytes planned, {allocated} allocated: {plan}"
    );
    let is_copy = |name: &str| COPIES.contains(&name) || name.starts_with("packed_weight");
    let buffers = plan.program.buffers.iter();
    let copies = buffers.filter(|b| is_copy(&b.name)).map(|b| b.bytes()).sum();
    (said - copies, copies)
}

/// A step of training holds at most 1.3 times its tensors and what copies are allowed; inference a chunk
/// of the gates alone.
pub fn of_plans(device: &Device) {
    let limits = device.limits();
    for [steps, batch, input, hidden] in SHAPES {
        let bytes = |elements: usize| 4 * elements as u64;
        let sequences = Sequences::new(steps, batch);
        let shape = StackShape { head: Head::Identity, ..StackShape::lstm(input, hidden) };
        let params = 4 * hidden * (input + hidden + 2);
        let x = steps * batch * input;
        let y = steps * batch * hidden;
        let states = 2 * (steps + 1) * batch * hidden;

        let update = Some(Optimizer::from(Adam::new(1e-3)).update());
        let options = TrainingOptions { update, ..Default::default() };
        let plan = Plan::training(&shape, &sequences, &options, &limits).unwrap();
        let (tensors, copies) = held(device, &plan);
        let (gates, last) = (4 * y, batch * hidden);
        // Parameters, gradients, two moments; the target, the prediction, its gradient; the gradients
        // of the layer's outputs.
        let sum = bytes(4 * params + x + gates + states + y + 3 * last);
        assert!(10 * tensors <= 13 * (sum + FIXED), "{tensors} bytes, {sum} of tensors: {plan}");
        let allowed = bytes(params).max(32 << 20);
        assert!(copies <= allowed, "{copies} bytes of copies, {allowed} allowed: {plan}");

        let shape = StackShape { head: Head::Sequence, ..shape };
        let plan = Plan::forward(&shape, &sequences, &limits).unwrap();
        let (tensors, copies) = held(device, &plan);
        let results = 2 * last;
        let sum = bytes(params + x + states + results);
        assert!(10 * tensors <= 13 * (sum + FIXED), "{tensors} bytes, {sum} of tensors: {plan}");
        let gates = plan.program.buffer("gates").map_or(0, |id| plan.program.spec(id).bytes());
        assert!(gates <= 16 << 20, "{gates} bytes of gates: {plan}");
        // Panels of 64 columns.
        let most = gates + 2 * bytes(params.max(64 * (input + hidden + 1)));
        assert!(copies <= most, "{copies} bytes of copies, {most} allowed: {plan}");
    }
}

/// What models keep for their next calls isn't in the way of others: it goes where they say so, and where a
/// budget is short.
pub fn idle_workspaces_are_given_up(device: &Device) {
    let config = || LstmConfig::new(4, 16);
    let (long, other) = (Lstm::new(device, config()).unwrap(), config());
    let x = Tensor::zeros(device, &[20_000, 1, 4]).unwrap();
    let before = device.allocated_bytes();
    drop(long.forward(&x, None).unwrap());
    let kept = device.allocated_bytes() - before;
    assert!(kept > 2 << 20, "{kept} bytes");
    long.release();
    // On a GPU, a buffer for small reads stays.
    assert!(device.allocated_bytes() <= before + (64 << 10));

    drop(long.forward(&x, None).unwrap());
    // Without what the first one keeps there is room for the second, and else there isn't.
    device.set_memory_budget(Some(device.allocated_bytes() + (1 << 21)));
    let input = Array::new(vec![0.5; 20_000 * 4], &[1, 20_000, 4]).unwrap();
    let predicted = Forecaster::new(device, other, 2).and_then(|second| second.predict(&input));
    let again = long.forward(&x, None);
    device.set_memory_budget(None);
    predicted.unwrap();
    again.unwrap();
}
