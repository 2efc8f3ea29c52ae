//! What a report of a machine notices, with kernels that can be anything.

use gatefold::Device;
use gatefold::command::{Arg, Call, KernelTable};

/// One number of a launch, wrong by a thousandth, is found in every row.
#[test]
fn small_errors_are_found() {
    let device = Device::cpu();
    let KernelTable(mut rows) = device.table().clone();
    rows.iter_mut().for_each(|kernel| {
        kernel.fast = Some(|call: Call<'_, '_, f32>| {
            let row = &gatefold::kernels::table()[call.dispatch.kernel];
            (row.twin)(Call { dispatch: call.dispatch, args: &mut *call.args });
            for arg in call.args {
                let Arg::Write(values) = arg else { continue };
                let largest = values.iter_mut().max_by(|a, b| a.abs().total_cmp(&b.abs()));
                largest.into_iter().for_each(|v| *v *= 1.001);
            }
        })
    });
    let report = gatefold::verify(&device.with_table(KernelTable(rows))).unwrap();
    let right = report.rows.iter().filter(|row| row.problem.is_none());
    assert_eq!(right.map(|row| row.name).collect::<Vec<_>>(), ["copy", "zero"], "{report}");
}
