// Parameter groups: each block of 64 elements belongs to one, and a group has a row of settings.
// For kernels that bind `settings` [G, 16] and `groups` [ceil(N / 64)]; needs settings.wgsl.

const GROUP_BLOCK = 64u;

// Where the settings start of the group that element `i` of the launch belongs to.
fn row_of(i: u32) -> u32 {
    // Groups are data: none leads outside.
    let last = (arrayLength(&settings) - params.settings_start) / SETTINGS - 1u;
    let group = min(u32(groups[params.groups_start + i / GROUP_BLOCK]), last);
    return params.settings_start + SETTINGS * group;
}
