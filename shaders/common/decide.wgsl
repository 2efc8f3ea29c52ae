// What becomes of a step; clip_scale.wgsl has the equations. For kernels that bind `status`; needs
// finite.wgsl and status.wgsl.

// The places in what the host says to a step.
const MAX_NORM = 1u;
const POLICY = 2u;

const POLICY_SKIP = 1.0;
const POLICY_ERROR = 2.0;

// What wasn't finite: a KIND, and of gradients the chunk and the offset in it.
struct Bad {
    kind: f32,
    chunk: f32,
    offset: f32,
}

fn record(at: u32, bad: Bad) {
    status[at + STATUS_KIND] = bad.kind;
    status[at + STATUS_CHUNK] = bad.chunk;
    status[at + STATUS_OFFSET] = bad.offset;
}

// Writes the status that starts at `at`. For one invocation.
fn decide(at: u32, norm: f32, max_norm: f32, policy: f32, bad: Bad) {
    let share = max_norm / (norm + 1e-6);
    // The smaller of two may not be the NaN.
    let scale = select(min(1.0, share), norm, is_nan(norm));
    status[at + STATUS_SCALE] = select(scale, 1.0, max_norm >= UNBOUNDED);
    status[at + STATUS_NORM] = norm;

    var applied = 1.0;
    if policy == POLICY_SKIP && bad.kind != KIND_NONE {
        record(at, bad);
        status[at + STATUS_SKIPPED] += 1.0;
        applied = 0.0;
    }
    if policy == POLICY_ERROR {
        if status[at + STATUS_HALTED] == 0.0 && bad.kind != KIND_NONE {
            record(at, bad);
            status[at + STATUS_HALTED] = 1.0;
            status[at + STATUS_SINCE] = 0.0;
        }
        if status[at + STATUS_HALTED] != 0.0 {
            status[at + STATUS_SINCE] += 1.0;
            applied = 0.0;
        }
    }
    status[at + STATUS_APPLY] = applied;
}
