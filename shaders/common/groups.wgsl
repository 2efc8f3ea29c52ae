// Parameter groups: each block of 64 elements belongs to one, and a group has a row of settings.
// For kernels that bind `settings` [G, 16] and `groups` [ceil(N / 64)].

const GROUP_BLOCK = 64u;
const SETTINGS = 16u;

// The columns that all optimizers share; the others are each one's own.
const RATE = 0u;
const WEIGHT_DECAY = 1u;
const KEEP = 2u;
const CLIP_VALUE = 3u;
const ACTIVE = 4u;

// Where the settings start of the group that element `i` of the launch belongs to.
fn row_of(i: u32) -> u32 {
    return params.settings_start + SETTINGS * u32(groups[params.groups_start + i / GROUP_BLOCK]);
}
