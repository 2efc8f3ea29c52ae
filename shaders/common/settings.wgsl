// A group's row of settings, [16] f32.

const SETTINGS = 16u;

// The columns that all optimizers share; the others are each one's own.
const RATE = 0u;
const WEIGHT_DECAY = 1u;
const KEEP = 2u;
const CLIP_VALUE = 3u;
const ACTIVE = 4u;
