// The status of a step, [16] f32: `clip_scale` writes it, the optimizers read it.

const STATUS_SCALE = 0u;    // what gradients are multiplied with
const STATUS_NORM = 1u;     // of the gradients, before that
const STATUS_APPLY = 2u;    // 0: nothing changes in this step
const STATUS_HALTED = 3u;   // 1: no step is applied any more
const STATUS_KIND = 4u;     // what was not finite: a KIND
const STATUS_CHUNK = 5u;    // of the gradients
const STATUS_OFFSET = 6u;   // inside the chunk
const STATUS_SINCE = 7u;    // steps since it halted, with that one
const STATUS_SKIPPED = 8u;  // steps that were left out

const KIND_NONE = 0.0;
const KIND_LOSS = 1.0;
const KIND_GRADIENT = 2.0;

// Elements of a chunk in `gradient_norm`.
const CHUNK = 16384u;

// From here on a bound is none.
const UNBOUNDED = 3.4e38;
