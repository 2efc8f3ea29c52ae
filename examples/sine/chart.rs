//! Prediction against truth, as a picture and in the terminal.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Once;

use gatefold::{Error, Result};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::wave;

const FONT: &str = "DejaVu Sans";
const OBSERVED: RGBColor = RGBColor(150, 150, 150);
const SINE: RGBColor = RGBColor(190, 205, 225);
const PREDICTED: RGBColor = RGBColor(208, 68, 20);

/// The noisy values, the sine behind them, and what was predicted from the point `first` on. The
/// file is written under a temporary name and then renamed.
pub fn draw(
    path: &Path,
    series: &[f64],
    split: usize,
    first: usize,
    predicted: &[f32],
) -> Result<()> {
    let failed = |e: Box<dyn StdError>| {
        let source = std::io::Error::other(e.to_string());
        Error::Io { path: path.to_owned(), source }
    };
    let temporary = path.with_extension("new.png"); // the format goes by the name
    draw_to(&temporary, series, split, first, predicted).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(|e| failed(e.into()))
}

fn draw_to(
    path: &Path,
    series: &[f64],
    split: usize,
    first: usize,
    predicted: &[f32],
) -> std::result::Result<(), Box<dyn StdError>> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        let font = include_bytes!("../stocks/font/DejaVuSans-subset.ttf");
        // It is in the tree, and it parses.
        let _ = register_font(FONT, FontStyle::Normal, font);
    });
    let x = |i: usize| i as f64 * wave::SPACING;
    let root = BitMapBackend::new(path, (900, 340)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("A noisy sine: each value predicted from those before it", (FONT, 20))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(45)
        .build_cartesian_2d(0.0..x(series.len()), -1.4..2.4)?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_labels(10)
        .y_labels(8)
        .label_style((FONT, 14))
        .draw()?;
    let sine = (0..series.len()).map(|i| (x(i), x(i).sin()));
    chart
        .draw_series(LineSeries::new(sine, SINE.stroke_width(3)))?
        .label("sine")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], SINE.stroke_width(3)));
    let dots =
        series.iter().enumerate().map(|(i, &y)| Circle::new((x(i), y), 2, OBSERVED.filled()));
    chart
        .draw_series(dots)?
        .label("with noise")
        .legend(|(x, y)| Circle::new((x + 11, y), 2, OBSERVED.filled()));
    let line = predicted.iter().enumerate().map(|(i, &y)| (x(first + i), f64::from(y)));
    chart
        .draw_series(LineSeries::new(line, PREDICTED.stroke_width(2)))?
        .label("predicted")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], PREDICTED.stroke_width(2)));
    let end = [(x(split), -1.4), (x(split), 1.6)];
    chart.draw_series([PathElement::new(end, BLACK.stroke_width(1))])?;
    let label = ("training ends", x(split), 1.8);
    chart.draw_series([Text::new(label.0, (label.1, label.2), (FONT, 14))])?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(200, 200, 200))
        .label_font((FONT, 14))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Rows and columns of the plot in the terminal.
const ROWS: usize = 17;
const COLUMNS: usize = 78;

/// A column a value: `.` where it was, `o` where it was predicted, `@` where both are.
pub fn text(observed: &[f32], predicted: &[f32]) -> String {
    let columns = observed.len().min(COLUMNS);
    let row = |y: f32| {
        let share = (1.25 - y) / 2.5;
        ((share * (ROWS - 1) as f32).round().max(0.0) as usize).min(ROWS - 1)
    };
    let mut grid = vec![vec![' '; columns]; ROWS];
    for (column, (&y, &p)) in observed.iter().zip(predicted).take(columns).enumerate() {
        grid[row(y)][column] = '.';
        grid[row(p)][column] = if row(p) == row(y) { '@' } else { 'o' };
    }
    let mut text = String::new();
    for (row, cells) in grid.iter().enumerate() {
        let label = match row {
            r if r == ROWS / 2 => " 0",
            r if r == ROWS / 2 - 6 => " 1", // 6.4 rows a unit
            r if r == ROWS / 2 + 6 => "-1",
            _ => "  ",
        };
        let cells: String = cells.iter().collect();
        text.push_str(&format!("{label} |{}\n", cells.trim_end()));
    }
    text
}
