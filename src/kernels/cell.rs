//! Which cell a launch has, in its pipeline constants.

#[cfg(feature = "cpu")]
pub(super) mod vectors;

use crate::command::Dispatch;
use crate::reference::{Cell, CellActivation};

/// A function's constants: its number, alpha and beta.
type Names = [&'static str; 3];

const GATE: Names = ["GATE", "GATE_ALPHA", "GATE_BETA"];
const CANDIDATE: Names = ["CANDIDATE", "CANDIDATE_ALPHA", "CANDIDATE_BETA"];
const OUTPUT: Names = ["OUTPUT", "OUTPUT_ALPHA", "OUTPUT_BETA"];

/// The constants of what a cell has that PyTorch's hasn't.
pub(super) fn constants(cell: &Cell) -> Vec<(&'static str, f64)> {
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
    constants
}

/// The cell of a launch.
pub(super) fn of(d: &Dispatch) -> Cell {
    let given = |name: &str| d.constants.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    let function = |[name, alpha, beta]: Names, usual: CellActivation| {
        let number = |name: &str| given(name).unwrap_or(0.0) as f32;
        let code = given(name).map(|code| (code as u8, number(alpha), number(beta)));
        code.and_then(CellActivation::of_code).unwrap_or(usual)
    };
    let plain = Cell::new();
    Cell {
        peepholes: given("PEEPHOLES").is_some(),
        coupled: given("COUPLED").is_some(),
        clip: given("CLIP").map(|bound| bound as f32),
        cell_clip: given("CELL_CLIP").map(|bound| bound as f32),
        gate: function(GATE, plain.gate),
        candidate: function(CANDIDATE, plain.candidate),
        output: function(OUTPUT, plain.output),
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
