//! Which cell a launch has, in its pipeline constants.

#[cfg(feature = "cpu")]
pub(super) mod vectors;

use super::{Padding, View};
use crate::command::{Dispatch, Range};
use crate::reference::{Cell, CellActivation, Dropout, Real, Zoneout};

/// A function's constants: its number, alpha and beta.
type Names = [&'static str; 3];

const GATE: Names = ["GATE", "GATE_ALPHA", "GATE_BETA"];
const CANDIDATE: Names = ["CANDIDATE", "CANDIDATE_ALPHA", "CANDIDATE_BETA"];
const OUTPUT: Names = ["OUTPUT", "OUTPUT_ALPHA", "OUTPUT_BETA"];

/// The constants of what a cell has that PyTorch's hasn't; of what training draws, where it is drawn.
pub(super) fn constants(cell: &Cell, drawn: bool) -> Vec<(&'static str, f64)> {
    let mut constants = Vec::new();
    for (name, is) in [("PEEPHOLES", cell.peepholes), ("COUPLED", cell.coupled)] {
        constants.extend(is.then_some((name, 1.0)));
    }
    for (name, bound) in [("CLIP", cell.clip), ("CELL_CLIP", cell.cell_clip)] {
        constants.extend(bound.map(|bound| (name, bound.into())));
    }
    let plain = Cell::new();
    for (names, function, usual) in [
        (GATE, cell.gate, plain.gate),
        (CANDIDATE, cell.candidate, plain.candidate),
        (OUTPUT, cell.output, plain.output),
    ] {
        if function != usual {
            let (code, alpha, beta) = function.code();
            constants.extend(names.into_iter().zip([code.into(), alpha.into(), beta.into()]));
        }
    }
    let below = |p: f64| f64::from(Dropout::new(p).threshold);
    if let Some(Zoneout { h, c, .. }) = cell.zoneout {
        constants.extend([("ZONEOUT", 1.0), ("ZONEOUT_H", h), ("ZONEOUT_C", c)]);
        constants.extend([("ZONEOUT_H_BELOW", below(h)), ("ZONEOUT_C_BELOW", below(c))]);
    }
    if !drawn {
        return constants;
    }
    constants.push(("DRAWN", 1.0));
    let scale = |p: f64| Dropout::new(p).scale.into();
    let p = cell.recurrent_dropout;
    if p > 0.0 {
        constants.extend([("RECURRENT", 1.0), ("RECURRENT_BELOW", below(p))]);
        constants.push(("RECURRENT_SCALE", scale(p)));
    }
    let p = cell.candidate_dropout;
    if p > 0.0 {
        constants.extend([("CANDIDATE_BELOW", below(p)), ("CANDIDATE_SCALE", scale(p))]);
    }
    constants
}

/// The words of a key in halves.
pub(super) fn words<R: Real>(key: &[R]) -> [u32; 2] {
    let half = |i: usize| key[i].to_u32().unwrap_or(0);
    let word = |i: usize| half(i) | half(i + 1) << 16;
    [word(0), word(2)]
}

/// What a launch draws with, where it draws.
pub(super) fn key<R: Real>(d: &Dispatch, key: &[R]) -> Option<[u32; 2]> {
    (d.constant("DRAWN") != 0.0).then(|| words(key))
}

/// The binding of lengths and of a key, of which a launch may have either.
///
/// # Panics
/// Where it has both, in two buffers.
pub(super) fn rows_of(padding: Padding, key: Option<View>, unused: Range) -> Range {
    let range = key.map_or(unused, |key| key.range);
    match padding.0 {
        None => range,
        Some(lengths) => {
            assert!(key.is_none() || lengths.range == range, "lengths and key are in one buffer");
            lengths.range
        }
    }
}

/// The probability of a drop that has that threshold.
fn probability(below: f64) -> f64 {
    below / 4_294_967_296.0
}

/// The cell of a launch.
pub(super) fn of(d: &Dispatch) -> Cell {
    let plain = Cell::new();
    // Most launches: nothing is looked for that isn't there.
    let first = ["PEEPHOLES", "COUPLED", "CLIP", "CELL_CLIP", "ZONEOUT", "DRAWN"];
    let any = |name: &str| {
        first.contains(&name) || [GATE, CANDIDATE, OUTPUT].iter().any(|n| n[0] == name)
    };
    if !d.constants.iter().any(|(name, _)| any(name)) {
        return plain;
    }
    let given = |name: &str| d.constants.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    let function = |[name, alpha, beta]: Names, usual: CellActivation| {
        let number = |name: &str| given(name).unwrap_or(0.0) as f32;
        let code = given(name).map(|code| (code as u8, number(alpha), number(beta)));
        code.and_then(CellActivation::of_code).unwrap_or(usual)
    };
    Cell {
        peepholes: given("PEEPHOLES").is_some(),
        coupled: given("COUPLED").is_some(),
        clip: given("CLIP").map(|bound| bound as f32),
        cell_clip: given("CELL_CLIP").map(|bound| bound as f32),
        // A launch of its own.
        projection_clip: None,
        gate: function(GATE, plain.gate),
        candidate: function(CANDIDATE, plain.candidate),
        output: function(OUTPUT, plain.output),
        zoneout: given("ZONEOUT").map(|_| Zoneout {
            h: given("ZONEOUT_H").unwrap_or(0.0),
            c: given("ZONEOUT_C").unwrap_or(0.0),
            drawn: given("DRAWN").is_some(),
        }),
        recurrent_dropout: probability(given("RECURRENT_BELOW").unwrap_or(0.0)),
        candidate_dropout: probability(given("CANDIDATE_BELOW").unwrap_or(0.0)),
        input_dropout: 0.0,
    }
}

/// The modules that every kernel with a timestep begins with.
macro_rules! cell_shaders {
    () => {
        concat!(
            include_str!("../../shaders/common/activations.wgsl"),
            include_str!("../../shaders/common/cell_activation.wgsl"),
            include_str!("../../shaders/common/cell.wgsl")
        )
    };
}
pub(super) use cell_shaders;

/// The same with what training draws.
macro_rules! step_shaders {
    () => {
        concat!(
            $crate::kernels::cell::cell_shaders!(),
            include_str!("../../shaders/common/philox.wgsl"),
            include_str!("../../shaders/common/cell_masks.wgsl")
        )
    };
}
pub(super) use step_shaders;
