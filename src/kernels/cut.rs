//! How launches are cut into workgroups: the tiles of products and timesteps, the walkers of sequences, and the
//! variants that a kernel has of them.

use super::groups;
use crate::command::{Dispatch, Limits, Variant};

/// How a launch of a product, or of a timestep's, is cut into workgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// Through workgroup memory: runs everywhere.
    Workgroup,
    /// Through broadcasts in a subgroup of at least 8, for drivers that compute on a CPU
    /// (`shaders/common/eight_rows.wgsl`).
    Broadcast,
    /// Of a timestep's product with few rows: invocations share the terms of a sum. Other products are
    /// cut as with [`Tile::Workgroup`].
    Split,
    /// Of products, 64 x 64 through workgroup memory, four numbers a load, where operands come in fours.
    Quads64,
    /// The same, 128 x 128.
    Quads128,
}

impl Tile {
    /// All of them.
    pub const ALL: [Tile; 5] =
        [Tile::Workgroup, Tile::Broadcast, Tile::Split, Tile::Quads64, Tile::Quads128];

    /// Whether a device has what the tile needs.
    pub fn runs(self, limits: &Limits) -> bool {
        self != Tile::Broadcast || limits.subgroup.is_some_and(|size| size >= SUBGROUP)
    }
}

/// How a walk over timesteps is cut into workgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walker {
    /// Any number of units, weights in panels as well.
    Rows,
    /// Weights in registers, an invocation for each gate of up to `units` units, of `rows` rows.
    Resident {
        /// 16, 32 or 64.
        units: usize,
        /// 1 or 4.
        rows: usize,
    },
    /// Weights on the stack, an invocation for each of up to `units` units, of `rows` rows, through
    /// broadcasts in a subgroup of at least 8: for drivers that compute on a CPU.
    Broadcast {
        /// 32, 64 or 128.
        units: usize,
        /// 1 or 8.
        rows: usize,
    },
}

impl Walker {
    /// Whether a device has what it needs.
    pub fn runs(self, limits: &Limits) -> bool {
        match self {
            Walker::Rows => true,
            Walker::Resident { units, .. } => 4 * units <= limits.max_invocations as usize,
            Walker::Broadcast { units, .. } => {
                Tile::Broadcast.runs(limits) && units <= limits.max_invocations as usize
            }
        }
    }

    /// The most units.
    pub fn units(self) -> usize {
        match self {
            Walker::Rows => usize::MAX,
            Walker::Resident { units, .. } | Walker::Broadcast { units, .. } => units,
        }
    }

    /// The most loop iterations of an invocation before its first timestep and after its last, the tests
    /// that end loops included.
    pub fn setup(self) -> usize {
        match self {
            Walker::Rows => 8,
            Walker::Resident { units, .. } => units + 8,
            Walker::Broadcast { units, rows } => units + 2 * rows + 16,
        }
    }

    /// The same of each timestep, where the driver unrolls nothing.
    pub fn iterations(self, hidden: usize, projected: bool) -> usize {
        let of_projection = if projected { hidden + 4 } else { 0 };
        match self {
            Walker::Rows => hidden.div_ceil(64) * (4 * hidden + 8) + 2,
            Walker::Resident { units, rows } => units / 4 * (rows + 2) + rows + 10 + of_projection,
            Walker::Broadcast { rows, .. } => 3 * rows + 6 + of_projection * (rows + 2),
        }
    }

    /// Rows of a workgroup.
    pub fn rows(self) -> usize {
        match self {
            Walker::Rows => 4,
            Walker::Resident { rows, .. } | Walker::Broadcast { rows, .. } => rows,
        }
    }
}

/// A walk cut in another way, one of `walkers`, whose positions are those of the variants.
///
/// # Panics
/// Where the walker isn't one of them.
pub(super) fn with_walker(
    mut dispatch: Dispatch,
    walkers: &[Walker],
    walker: Walker,
    batch: u32,
) -> Dispatch {
    let variant = walkers.iter().position(|&w| w == walker);
    dispatch.variant = variant.unwrap_or_else(|| panic!("{walker:?} is none of {walkers:?}"));
    if walker != Walker::Rows {
        dispatch.constants.retain(|(name, _)| !["PACKED", "INPUT"].contains(name));
    }
    dispatch.grid[0] = groups(batch as usize, walker.rows());
    dispatch
}

/// A file of a kernel that has several.
macro_rules! of_kernel {
    ($kernel:literal, $name:literal) => {
        include_str!(concat!("../../shaders/", $kernel, "/", $name, ".wgsl"))
    };
}
pub(super) use of_kernel;

/// The variants of a walk, of which it has a file each: one for each way to cut it, with its sizes in front.
macro_rules! walkers {
    ($kernel:literal, $walkers:expr) => {{
        let common = concat!(
            $crate::kernels::cell::step_shaders!(),
            include_str!("../../shaders/common/lengths.wgsl"),
            $crate::kernels::cut::of_kernel!($kernel, "sequence")
        );
        let rows = concat!(
            include_str!("../../shaders/common/panels.wgsl"),
            $crate::kernels::cut::of_kernel!($kernel, "rows")
        );
        $crate::kernels::cut::each_walker(
            $walkers,
            common,
            [
                rows,
                $crate::kernels::cut::of_kernel!($kernel, "resident"),
                $crate::kernels::cut::of_kernel!($kernel, "broadcast"),
            ],
        )
    }};
}
pub(super) use walkers;

/// The same, of what stands in front of every file, and of the files.
pub(super) fn each_walker(
    walkers: &[Walker],
    common: &str,
    [rows, resident, broadcast]: [&str; 3],
) -> Vec<Variant> {
    let sized = |walker: Walker, name: &str, lanes: usize, own: &str| {
        let (units, rows) = (walker.units(), walker.rows());
        let sizes = format!("const UNITS = {units}u;\nconst ROWS = {rows}u;\n");
        let name = format!("{name}, {units} units, {rows} rows");
        Variant::own(name, [&sizes, common, own].concat(), [lanes as u32, 1, 1])
    };
    let variant = |&walker: &Walker| match walker {
        Walker::Rows => Variant::own("rows", [common, rows].concat(), [64, 1, 1]),
        Walker::Resident { units, .. } => sized(walker, "resident", 4 * units, resident),
        Walker::Broadcast { units, .. } => {
            in_subgroups(sized(walker, "broadcast", units, broadcast))
        }
    };
    walkers.iter().map(variant).collect()
}

/// The fewest invocations of a subgroup for [`Tile::Broadcast`].
pub(super) const SUBGROUP: u32 = 8;

/// Rows of a part of such a tile.
pub(super) const PART: usize = 8;

/// How many parts a tile of so many rows has: up to three share what is loaded, but rows that aren't
/// there take time as well. The times of a tile are those that llvmpipe took.
pub(super) fn parts(rows: usize) -> usize {
    let time = |parts: usize| [30, 38, 47][parts - 1] * rows.div_ceil(PART * parts);
    (1..=3).min_by_key(|&parts| time(parts)).unwrap_or(1)
}

/// A launch of a timestep's product of `hidden` and `batch` cut in another way; a tile of broadcasts has so many
/// units.
pub(super) fn with_step_tile(
    dispatch: Dispatch,
    tile: Tile,
    (hidden, units): (u32, usize),
    batch: u32,
) -> Dispatch {
    match tile {
        Tile::Workgroup | Tile::Quads64 | Tile::Quads128 => dispatch,
        Tile::Broadcast => in_parts(dispatch, (hidden, units), batch),
        Tile::Split => split(dispatch, hidden, batch),
    }
}

/// The variants of a timestep, of which it has a file each: through workgroup memory, through broadcasts, with
/// shared terms, of which a workgroup is given.
macro_rules! step_variants {
    ($kernel:literal, $shared:expr) => {{
        let common = concat!(
            $crate::kernels::cell::step_shaders!(),
            include_str!("../../shaders/common/lengths.wgsl"),
            $crate::kernels::cut::of_kernel!($kernel, "step")
        );
        let own = [
            $crate::kernels::cut::of_kernel!($kernel, "tiled"),
            $crate::kernels::cut::of_kernel!($kernel, "broadcast"),
            $crate::kernels::cut::of_kernel!($kernel, "split"),
        ];
        $crate::kernels::cut::each_tile(common, own, $shared)
    }};
}
pub(super) use step_variants;

/// The same, of what stands in front of every file, and of the files.
pub(super) fn each_tile(
    common: &str,
    [tiled, broadcast, split]: [&str; 3],
    shared: [u32; 3],
) -> Vec<Variant> {
    let eight_rows = include_str!("../../shaders/common/eight_rows.wgsl");
    vec![
        Variant::own("tiled", [common, tiled].concat(), [16, 4, 1]),
        in_subgroups(Variant::own(
            "broadcast",
            [eight_rows, common, broadcast].concat(),
            [SUBGROUP, 1, 1],
        )),
        Variant::own("split", [common, split].concat(), shared),
    ]
}

/// A launch of a timestep's product whose terms are shared.
fn split(mut dispatch: Dispatch, hidden: u32, batch: u32) -> Dispatch {
    dispatch.variant = 2;
    dispatch.grid[0] = groups(hidden as usize, 8);
    dispatch.grid[1] = groups(batch as usize, 4);
    dispatch
}

/// A launch of a timestep's product cut into tiles of `units` of `hidden` and of parts of `batch`.
fn in_parts(mut dispatch: Dispatch, (hidden, units): (u32, usize), batch: u32) -> Dispatch {
    let parts = parts(batch as usize);
    dispatch.variant = 1;
    dispatch.constants.push(("PARTS", parts as f64));
    dispatch.grid[0] = groups(hidden as usize, units);
    dispatch.grid[1] = groups(batch as usize, PART * parts);
    dispatch
}

/// A variant that broadcasts in subgroups.
pub(super) fn in_subgroups(mut variant: Variant) -> Variant {
    variant.subgroup = Some(SUBGROUP);
    variant
}
