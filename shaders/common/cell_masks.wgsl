// What training draws for the units of a timestep, and what inference expects of a zoneout. After philox.wgsl
// and cell.wgsl.
//
//   words = philox((k, b, t, 2^31 + place), key):           0 and 1 for h and c of a zoneout
//   words = philox((k, b, 0, 2^31 + 2^30 + place), key):    0 for the hidden state, 1 for the candidate,
//                                                           2 for the input, in sequence_dropout.wgsl
//
// `place` is twice the layer, and 1 more in the reverse direction. Twin: reference/cell_masks.rs.

// Whether training draws; else shares are those that are expected.
override DRAWN: bool = false;
override ZONEOUT_H: f32 = 0.0;
override ZONEOUT_C: f32 = 0.0;
override ZONEOUT_H_BELOW: u32 = 0u;
override ZONEOUT_C_BELOW: u32 = 0u;
override RECURRENT: bool = false;
override RECURRENT_BELOW: u32 = 0u;
override RECURRENT_SCALE: f32 = 1.0;
override CANDIDATE_BELOW: u32 = 0u;
override CANDIDATE_SCALE: f32 = 1.0;

// Where something is drawn, but for the row and the unit.
struct Draws {
    key: vec2<u32>,
    place: u32,
    t: u32,
}

fn of_sequence(draws: Draws, row: u32, k: u32) -> vec4<u32> {
    return philox(vec4(k, row, 0u, OF_SEQUENCE + draws.place), draws.key);
}

fn masks_of(draws: Draws, row: u32, unit: u32) -> Masks {
    var masks = NO_MASKS;
    if ZONEOUT {
        masks.zone_h = ZONEOUT_H;
        masks.zone_c = ZONEOUT_C;
        if DRAWN {
            let words = philox(vec4(unit, row, draws.t, OF_STEP + draws.place), draws.key);
            masks.zone_h = select(0.0, 1.0, words.x < ZONEOUT_H_BELOW);
            masks.zone_c = select(0.0, 1.0, words.y < ZONEOUT_C_BELOW);
        }
    }
    if CANDIDATE_BELOW > 0u {
        let word = of_sequence(draws, row, unit).y;
        masks.candidate = select(CANDIDATE_SCALE, 0.0, word < CANDIDATE_BELOW);
    }
    return masks;
}

// What a feature of the hidden state is multiplied with on its way to the next timestep, where RECURRENT.
fn recurrent_mask(draws: Draws, row: u32, k: u32) -> f32 {
    return select(RECURRENT_SCALE, 0.0, of_sequence(draws, row, k).x < RECURRENT_BELOW);
}
