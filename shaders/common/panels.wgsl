// Panels of 64 columns (see pack_panels), read as vec4.

// Where four columns of row `k` of a matrix with `terms` rows stand, `quad` counting fours of them.
fn quad_in_panels(k: u32, quad: u32, terms: u32) -> u32 {
    return (quad / 16u * terms + k) * 16u + quad % 16u;
}
