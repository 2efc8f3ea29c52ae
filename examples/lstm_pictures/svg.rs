//! A picture as text: the few shapes that these pictures need.

use std::fmt::{Display, Write as _};

/// The ink of lines and text.
pub const INK: &str = "#24292f";
/// What is said beside a thing, not in it.
pub const QUIET: &str = "#57606a";
/// What is neither one gate nor another.
pub const PLAIN: (&str, &str) = (INK, "#f6f8fa");

/// Where a text stands from its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture that grows.
pub struct Svg {
    size: (u32, u32),
    body: String,
}

/// A coordinate, to a tenth.
fn at(x: f64) -> impl Display {
    (x * 10.0).round() / 10.0
}

impl Svg {
    /// An empty picture with a title, which is read aloud where a picture can't be seen.
    pub fn new(size: (u32, u32), title: &str) -> Svg {
        Svg { size, body: format!("<title>{}</title>\n", escaped(title)) }
    }

    /// A box with round corners, in a colour of line and one of area.
    pub fn rect(&mut self, [x, y, w, h]: [f64; 4], (line, area): (&str, &str)) {
        let (x, y, w, h) = (at(x), at(y), at(w), at(h));
        let place = format!("x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\"");
        self.add(format!("<rect {place} rx=\"4\" fill=\"{area}\" stroke=\"{line}\"/>"));
    }

    pub fn text(&mut self, (x, y): (f64, f64), size: u32, anchor: Anchor, text: &str) {
        self.ink_text((x, y), size, anchor, INK, text);
    }

    pub fn ink_text(&mut self, p: (f64, f64), size: u32, anchor: Anchor, ink: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y, text) = (at(p.0), at(p.1), escaped(text));
        let look = format!("font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{ink}\"");
        self.add(format!("<text x=\"{x}\" y=\"{y}\" {look}>{text}</text>"));
    }

    /// A box with lines of text in its middle.
    pub fn labelled(&mut self, place: [f64; 4], colours: (&str, &str), size: u32, lines: &[&str]) {
        self.rect(place, colours);
        let [x, y, w, h] = place;
        let step = f64::from(size) + 5.0;
        let first = y + h / 2.0 - step * (lines.len() as f64 - 1.0) / 2.0 + f64::from(size) * 0.36;
        for (i, line) in lines.iter().enumerate() {
            self.text((x + w / 2.0, first + step * i as f64), size, Anchor::Middle, line);
        }
    }

    /// A line through points.
    pub fn line(&mut self, points: &[(f64, f64)], ink: &str, width: f64) {
        self.path(points, ink, width, "");
    }

    /// A line through points that ends in a head.
    pub fn arrow(&mut self, points: &[(f64, f64)], ink: &str) {
        self.path(points, ink, 1.6, "");
        let [.., (x0, y0), (x, y)] = *points else { return };
        let length = (x - x0).hypot(y - y0);
        let (dx, dy) = ((x - x0) / length, (y - y0) / length);
        let corner = |side: f64| (x - 8.0 * dx - side * dy, y - 8.0 * dy + side * dx);
        let points =
            [(x, y), corner(4.0), corner(-4.0)].map(|(x, y)| format!("{},{}", at(x), at(y)));
        self.add(format!("<polygon points=\"{}\" fill=\"{ink}\"/>", points.join(" ")));
    }

    pub fn dashed(&mut self, points: &[(f64, f64)], ink: &str) {
        self.path(points, ink, 1.2, " stroke-dasharray=\"5 4\"");
    }

    fn path(&mut self, points: &[(f64, f64)], ink: &str, width: f64, more: &str) {
        let points: Vec<String> =
            points.iter().map(|&(x, y)| format!("{},{}", at(x), at(y))).collect();
        let (points, look) = (points.join(" "), format!("fill=\"none\" stroke=\"{ink}\""));
        self.add(format!("<polyline points=\"{points}\" {look} stroke-width=\"{width}\"{more}/>"));
    }

    /// A round node with a sign in it.
    pub fn node(&mut self, (x, y): (f64, f64), sign: &str) {
        let place = format!("cx=\"{}\" cy=\"{}\"", at(x), at(y));
        self.add(format!("<circle {place} r=\"13\" fill=\"#fff\" stroke=\"{INK}\"/>"));
        self.text((x, y + 6.0), 17, Anchor::Middle, sign);
    }

    /// A point of a chart.
    pub fn dot(&mut self, (x, y): (f64, f64), ink: &str) {
        let place = format!("cx=\"{}\" cy=\"{}\"", at(x), at(y));
        self.add(format!("<circle {place} r=\"4.5\" fill=\"{ink}\" stroke=\"#fff\"/>"));
    }

    fn add(&mut self, element: String) {
        writeln!(self.body, "{element}").expect("a string takes all");
    }

    /// The file's text, on white, so that it is legible on a dark page as well.
    pub fn finish(self) -> String {
        let (w, h) = self.size;
        let size = format!("width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\"");
        let background = format!("<rect width=\"{w}\" height=\"{h}\" fill=\"#fff\"/>");
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" {size} font-family=\"sans-serif\">\n\
             {background}\n{}</svg>\n",
            self.body,
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A picture as an address that holds all of it, for pages that are shown without the files beside them.
pub fn address(picture: &str) -> String {
    let mut address = "data:image/svg+xml,".to_owned();
    for byte in picture.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._,=".contains(&byte) {
            true => address.push(char::from(byte)),
            false => write!(address, "%{byte:02X}").expect("a string takes all"),
        }
    }
    address
}
