//! Price and volatility of the test years, predicted and observed, as a picture.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Once;

use gatefold::Result;
use gatefold::data::Date;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::features::HORIZON;
use super::forecast::{Forecast, Market, Sample, observed};

const FONT: &str = "DejaVu Sans";
const OBSERVED: RGBColor = RGBColor(150, 150, 150);
const PREDICTED: RGBColor = RGBColor(208, 68, 20);
const WIDTH: u32 = 1500;
const ROW: u32 = 330;

/// Draws a row a ticker: its price on the left, its volatility on the right. The file is written
/// under a temporary name and then renamed.
pub fn draw(
    path: &Path,
    market: &Market,
    samples: &[Sample],
    forecasts: &[Forecast],
) -> Result<()> {
    let failed = |e: Box<dyn StdError>| super::output_error(path, e);
    let temporary = super::temporary(path)?;
    draw_to(temporary.path(), market, samples, forecasts).map_err(failed)?;
    temporary.persist(path).map_err(|e| failed(e.into()))?;
    Ok(())
}

fn draw_to(
    path: &Path,
    market: &Market,
    samples: &[Sample],
    forecasts: &[Forecast],
) -> std::result::Result<(), Box<dyn StdError>> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        let font = include_bytes!("font/DejaVuSans-subset.ttf");
        // It is in the tree, and it parses.
        let _ = register_font(FONT, FontStyle::Normal, font);
    });
    let rows = market.series.len();
    let root = BitMapBackend::new(path, (WIDTH, 60 + ROW * rows as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = match market.dates(2) {
        Some((first, last)) => format!("Test years, {first} to {last}: forecast and observed"),
        None => "Test years: forecast and observed".to_owned(),
    };
    let root = root.titled(&title, (FONT, 28))?;
    for (ticker, area) in root.split_evenly((rows, 1)).iter().enumerate() {
        let mine: Vec<(&Sample, &Forecast)> =
            samples.iter().zip(forecasts).filter(|(s, _)| s.ticker == ticker).collect();
        let series = &market.series[ticker];
        let halves = area.split_evenly((1, 2));
        let day = |s: &Sample, ahead: usize| series.dates[s.t + ahead];

        let price = |s: &Sample, log_return: f64| series.price[s.t] * log_return.exp();
        let seen: Vec<(Date, f64)> =
            mine.iter().map(|(s, _)| (day(s, 1), series.price[s.t + 1])).collect();
        let predicted = mine.iter().map(|(s, f)| (day(s, 1), price(s, f.log_return))).collect();
        let caption = format!("{}: price of the next day (adjusted)", series.ticker);
        panel(&halves[0], &caption, "price", &seen, &predicted)?;

        let percent = |f: &Forecast| 100.0 * f.volatility;
        let seen = mine.iter().map(|(s, _)| (day(s, 1), percent(&observed(market, s)))).collect();
        let predicted = mine.iter().map(|(s, f)| (day(s, 1), percent(f))).collect();
        let caption = format!("{}: volatility of the next {HORIZON} days", series.ticker);
        panel(&halves[1], &caption, "% a day", &seen, &predicted)?;
    }
    root.present()?;
    Ok(())
}

type Line = Vec<(Date, f64)>;

fn panel(
    area: &DrawingArea<BitMapBackend<'_>, plotters::coord::Shift>,
    caption: &str,
    unit: &str,
    seen: &Line,
    predicted: &Line,
) -> std::result::Result<(), Box<dyn StdError>> {
    let Some(((first, _), (last, _))) = seen.first().zip(seen.last()) else { return Ok(()) };
    let values = || seen.iter().chain(predicted).map(|(_, v)| *v);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    // The legend stands above the lines.
    let margin = 0.05 * (high - low).max(1e-9);
    let days = f64::from(first.to_julian_day())..f64::from(last.to_julian_day());
    let mut chart = ChartBuilder::on(area)
        .caption(caption, (FONT, 19))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(days, low - margin..high + 7.0 * margin)?;
    chart
        .configure_mesh()
        .light_line_style(RGBColor(245, 245, 245))
        .bold_line_style(RGBColor(225, 225, 225))
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|day| {
            Date::from_julian_day(*day as i32)
                .map_or(String::new(), |d| format!("{}-{:02}", d.year(), d.month() as u8))
        })
        .y_desc(unit)
        .label_style((FONT, 15))
        .axis_desc_style((FONT, 15))
        .draw()?;
    for (name, line, color) in [("observed", seen, OBSERVED), ("forecast", predicted, PREDICTED)] {
        let style = color.stroke_width(2);
        let points = line.iter().map(|(d, v)| (f64::from(d.to_julian_day()), *v));
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(200, 200, 200))
        .label_font((FONT, 15))
        .draw()?;
    Ok(())
}
