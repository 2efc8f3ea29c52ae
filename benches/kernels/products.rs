//! Products, their panels, and sums.

use criterion::Throughput;
use gatefold::command::Limits;
use gatefold::kernels::matmul::Sums;
use gatefold::kernels::{self};
use gatefold::plan::product_tile;
use gatefold::reference::{Panels, Product};

use super::case::{Builder, Case};

/// The launches, cut as plans for the device cut them.
pub fn cases(limits: &Limits) -> Vec<Case> {
    let mut cases = Vec::new();
    let new = Builder::default;

    // As they stand, and as a gradient of the input and of the weights has them; those with a bias's.
    let products = [
        ((768, 512, 128), "", None),
        ((2304, 1024, 256), "", None),
        ((768, 128, 512), "B transposed", None),
        ((128, 512, 768), "A transposed", Some(Sums::Columns)),
        ((512, 128, 768), "A transposed", Some(Sums::Rows)),
        ((768, 512, 128), "", Some(Sums::Rows)),
    ];
    for ((m, n, k), how, sums) in products {
        let mut b = new();
        let (x, w, y) = (b.buffer(m * k), b.buffer(k * n), b.buffer(m * n + m.max(n)));
        let transposed = (how == "A transposed", how == "B transposed");
        let shape = Product::dense(m, n, k, transposed.0, transposed.1);
        let launch = kernels::matmul::dispatch(&shape, x, w, &[], y);
        let launch = match sums {
            None => launch,
            Some(of) => kernels::matmul::with_sums(launch, of, &[m * n]),
        };
        let launch = kernels::matmul::with_tile(launch, product_tile(limits, &shape));
        let flop = Throughput::Elements(2 * (m * n * k) as u64);
        let said = [format!("{m} x {n} x {k}"), how.to_owned()];
        let said = said.into_iter().chain(sums.map(|of| format!("{of:?}").to_lowercase()));
        let said: Vec<String> = said.filter(|part| !part.is_empty()).collect();
        cases.push(b.case("matmul", said.join(", "), flop, launch));
    }

    let (rows, columns) = (512, 2048);
    let mut b = new();
    let panels = Panels::dense(rows, columns, true);
    let (from, out) = (b.buffer(rows * columns), b.buffer(rows * columns));
    let launch = kernels::pack_panels::dispatch(&panels, from, out);
    let bytes = Throughput::Bytes(8 * (rows * columns) as u64);
    cases.push(b.case("pack_panels", format!("{rows} x {columns}"), bytes, launch));

    let (rows, columns) = (2048, 512);
    let mut b = new();
    let (a, out) = (b.buffer(rows * columns), b.buffer(rows / 256 * columns));
    let launch = kernels::column_sum::dispatch((rows, columns), 256, (a, out), false);
    let bytes = Throughput::Bytes(4 * (rows * columns) as u64);
    cases.push(b.case("column_sum", format!("{rows} x {columns}"), bytes, launch));

    let len = 1 << 20;
    let mut b = new();
    let (a, out) = (b.buffer(len), b.buffer(len / 65_536));
    let launch = kernels::reduce_sum::dispatch(len, 65_536, 1.0, (a, out), false);
    cases.push(b.case("reduce_sum", format!("{len}"), Throughput::Bytes(4 * len as u64), launch));
    cases
}
