//! What all charts have in common: colours, markers, text, and the size of the canvas.
//!
//! A canvas is twice as large as it is shown, for `plotters` counts in whole pixels.

use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// How wide every canvas is.
pub(super) const WIDTH: u32 = 1800;
/// Between the border of a canvas and what is on it.
pub(super) const MARGIN: i32 = 24;
/// Height of a letter in names and figures.
pub(super) const TEXT: i32 = 25;
/// Height of a letter in a title.
pub(super) const TITLE: i32 = 32;

/// What is drawn on.
pub(super) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
/// What is written with.
pub(super) const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
/// What is said in passing: names of axes and ticks.
pub(super) const PALE: RGBColor = RGBColor(0x59, 0x63, 0x6e);
/// The lines of the grid.
pub(super) const FAINT: RGBColor = RGBColor(0xdd, 0xe1, 0xe6);

/// Colours that the commonest kinds of colour blindness tell apart (after Okabe and Ito), each readable on light and on dark
/// paper, in neighbouring pairs of different lightness.
const COLOURS: [RGBColor; 12] = [
    RGBColor(0x80, 0x86, 0x8e),
    RGBColor(0xc9, 0xa2, 0x00),
    RGBColor(0x1f, 0x6f, 0xd0),
    RGBColor(0x4f, 0xb4, 0xe8),
    RGBColor(0xd2, 0x4a, 0x12),
    RGBColor(0xf0, 0x93, 0x2b),
    RGBColor(0x8a, 0x3f, 0xb5),
    RGBColor(0xd4, 0x7f, 0xb8),
    RGBColor(0x00, 0x93, 0x6c),
    RGBColor(0x8f, 0x6b, 0x3c),
    RGBColor(0xb8, 0x2c, 0x5e),
    RGBColor(0x5f, 0xa8, 0x3a),
];

pub(super) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Drawn<T> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// The colour of a rank.
pub(super) fn colour(rank: usize) -> RGBColor {
    COLOURS.get(rank % COLOURS.len()).copied().unwrap_or(INK)
}

/// The style sheet that turns a chart inside a page from light to dark: it changes the colours above where they stand as
/// attributes, which any rule outranks.
pub(crate) fn theme() -> String {
    let dark = [(PAPER, "#15181c"), (INK, "#e8eaed"), (PALE, "#a3abb5"), (FAINT, "#333a42")];
    let rules = dark.map(|(RGBColor(red, green, blue), to)| {
        let from = format!("#{red:02X}{green:02X}{blue:02X}");
        format!("svg [fill=\"{from}\"] {{ fill: {to} }}\nsvg [stroke=\"{from}\"] {{ stroke: {to} }}\n")
    });
    rules.concat()
}

/// Text of a size and colour, at an anchor.
pub(super) fn text(size: i32, colour: RGBColor, across: HPos, down: VPos) -> TextStyle<'static> {
    // The SVG backend divides the size by this factor.
    let font = ("sans-serif", f64::from(size) * 1.24).into_font();
    font.color(&colour).pos(Pos::new(across, down))
}

/// The same in bold.
pub(super) fn bold(mut style: TextStyle<'static>) -> TextStyle<'static> {
    style.font = style.font.style(FontStyle::Bold);
    style
}

/// About as wide as a text of [`TEXT`] is in a usual font, rather more than less.
pub(super) fn width_of(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX / TEXT).saturating_mul(TEXT * 3 / 5)
}

/// Paper, and a title at its top.
pub(super) fn sheet(canvas: &Canvas<'_>, title: &str) -> Drawn<()> {
    canvas.fill(&PAPER)?;
    canvas.draw_text(title, &bold(text(TITLE, INK, HPos::Left, VPos::Top)), (MARGIN, MARGIN))
}

/// Draws the marker of a rank around a point: twelve shapes that differ without their colour.
pub(super) fn marker(canvas: &Canvas<'_>, rank: usize, (x, y): (i32, i32)) -> Drawn<()> {
    let line = colour(rank).stroke_width(4);
    let (full, hollow) = (colour(rank).filled(), PAPER.filled());
    let size = 9;
    let at = |points: &[(i32, i32)]| -> Vec<(i32, i32)> {
        points.iter().map(|(across, down)| (x + across * size / 8, y + down * size / 8)).collect()
    };
    let square = [(-7, -7), (7, -7), (7, 7), (-7, 7), (-7, -7)];
    let diamond = [(0, -11), (11, 0), (0, 11), (-11, 0), (0, -11)];
    let up = [(0, -10), (10, 8), (-10, 8), (0, -10)];
    let down = up.map(|(across, down)| (across, -down));
    let filled = |shape: &[(i32, i32)]| canvas.draw(&Polygon::new(at(shape), full));
    let outlined = |shape: &[(i32, i32)]| {
        canvas.draw(&Polygon::new(at(shape), hollow))?;
        canvas.draw(&PathElement::new(at(shape), line))
    };
    let strokes = |strokes: [[(i32, i32); 2]; 2]| {
        strokes.iter().try_for_each(|stroke| canvas.draw(&PathElement::new(at(stroke), line)))
    };
    match rank % 12 {
        0 => canvas.draw(&Circle::new((x, y), size, full)),
        1 => outlined(&square),
        2 => filled(&diamond),
        3 => outlined(&up),
        4 => filled(&square),
        5 => {
            canvas.draw(&Circle::new((x, y), size, hollow))?;
            canvas.draw(&Circle::new((x, y), size, line))
        }
        6 => filled(&up),
        7 => strokes([[(-9, -9), (9, 9)], [(-9, 9), (9, -9)]]),
        8 => outlined(&down),
        10 => outlined(&diamond),
        11 => filled(&down),
        _ => strokes([[(-11, 0), (11, 0)], [(0, -11), (0, 11)]]),
    }
}

/// A picture of why there is no picture.
pub(super) fn complaint(why: &str) -> String {
    let why = why.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"80\" viewBox=\"0 0 {WIDTH} 80\">\
         <text x=\"{MARGIN}\" y=\"50\" font-size=\"{TEXT}\">expected a chart, found: {why}</text></svg>\n"
    )
}
