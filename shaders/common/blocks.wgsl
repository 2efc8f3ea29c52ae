// The elements of a [T, B, K] in blocks of four along K, one for each invocation of a grid that
// goes on in y where x is full.

struct Block {
    t: u32,
    row: u32,
    first: u32,  // along K
    count: u32,  // four, or what is left of the row
}

// The block of an invocation, 256 in a workgroup; beyond the last one, t is T or more.
fn block_of(group: vec3<u32>, groups: vec3<u32>, lane: u32, batch: u32, width: u32) -> Block {
    let at = (group.y * groups.x + group.x) * 256u + lane;
    let blocks = (width + 3u) / 4u;
    let first = 4u * (at % blocks);
    return Block(at / blocks / batch, (at / blocks) % batch, first, min(4u, width - first));
}
