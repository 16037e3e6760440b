//! Lying bars with their middle halves: names at the left where they can be read, figures at the right.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::look::{Drawn, FAINT, INK, MARGIN, PALE, TEXT, TITLE, WIDTH, bold, colour, sheet, text, width_of};
use super::rank;
use super::scale::{Axis, Scale};

/// Bars that share one axis, which begins at zero.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bars {
    /// What is shown.
    pub(crate) title: String,
    /// What the axis counts, and in which unit.
    pub(crate) label: String,
    /// The bars, from top to bottom.
    pub(crate) groups: Vec<Group>,
    /// See [`super::Chart::in_order`].
    pub(crate) order: Vec<String>,
}

/// Bars below a heading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// The heading; without one the bars stand alone.
    pub(crate) name: String,
    /// The bars.
    pub(crate) bars: Vec<Bar>,
}

/// One bar and the middle half of the figures behind it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    /// Whose it is.
    pub(crate) name: String,
    /// How long it is; if that is not a number, it was not measured.
    pub(crate) value: f64,
    /// Where the middle half begins.
    pub(crate) low: f64,
    /// Where it ends.
    pub(crate) high: f64,
}

/// Height of a bar and of the room it stands in.
const THICKNESS: i32 = 28;
/// See [`THICKNESS`].
const ROW: i32 = 46;
/// Height of a group's heading, and of the room after a group.
const HEADING: i32 = 56;

/// What stands in one row.
#[derive(Debug, Clone, Copy)]
enum Row<'a> {
    Heading(&'a str),
    Bar(usize, &'a Bar),
}

pub(super) fn draw(bars: &Bars) -> Drawn<String> {
    let rows = rows(bars);
    let top = MARGIN + TITLE + MARGIN;
    let height: i32 = rows.iter().map(Row::height).sum::<i32>() + HEADING / 4;
    let axis_height = 3 * TEXT + 10;
    let mut svg = String::new();
    let size = (WIDTH, u32::try_from(top + height + axis_height + MARGIN).unwrap_or(WIDTH));
    let canvas = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    sheet(&canvas, &bars.title)?;

    let each = || bars.groups.iter().flat_map(|group| &group.bars);
    let names = each().map(|bar| width_of(&bar.name)).max().unwrap_or(0) + 2 * MARGIN;
    let figures = each().map(|bar| width_of(&show(bar.value))).max().unwrap_or(0) + MARGIN;
    let axis = Axis::over(Scale::Linear, each().flat_map(|bar| [bar.value, bar.low, bar.high]));
    let mut chart = ChartBuilder::on(&canvas)
        .margin_top(top)
        .margin_left(names)
        .margin_right(figures)
        .margin_bottom(MARGIN)
        .x_label_area_size(axis_height)
        .build_cartesian_2d(axis, 0.0..1.0)?;
    let ticks = text(TEXT, PALE, HPos::Center, VPos::Center);
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .bold_line_style(FAINT.stroke_width(2))
        .light_line_style(TRANSPARENT)
        .axis_style(PALE.stroke_width(2))
        .label_style(ticks.clone())
        .axis_desc_style(ticks)
        .x_desc(bars.label.as_str())
        .draw()?;

    let across = |value: f64| chart.backend_coord(&(value, 0.0)).0;
    let zero = across(0.0);
    canvas.draw(&PathElement::new(vec![(zero, top), (zero, top + height)], PALE.stroke_width(2)))?;
    let mut y = top;
    for row in &rows {
        let middle = y + row.height() / 2;
        y += row.height();
        match row {
            Row::Heading(name) => {
                let style = bold(text(TEXT, INK, HPos::Left, VPos::Center));
                canvas.draw_text(name, &style, (MARGIN, middle + HEADING / 8))?;
            }
            Row::Bar(rank, bar) => {
                let (name, figure) =
                    (text(TEXT, INK, HPos::Right, VPos::Center), text(TEXT, INK, HPos::Left, VPos::Center));
                canvas.draw_text(&bar.name, &name, (names - MARGIN, middle))?;
                let end = if bar.value.is_finite() { across(bar.value) } else { zero };
                let (left, right) = (zero.min(end), zero.max(end));
                let (above, below) = (middle - THICKNESS / 2, middle + THICKNESS / 2);
                canvas.draw(&Rectangle::new([(left, above), (right, below)], colour(*rank).filled()))?;
                let mut beside = right;
                if bar.low.is_finite() && bar.high.is_finite() && bar.high > bar.low {
                    let (low, high) = (across(bar.low), across(bar.high));
                    beside = beside.max(high);
                    let whisker = [
                        [(low, middle), (high, middle)],
                        [(low, middle - 8), (low, middle + 8)],
                        [(high, middle - 8), (high, middle + 8)],
                    ];
                    for stroke in whisker {
                        canvas.draw(&PathElement::new(stroke.to_vec(), INK.stroke_width(3)))?;
                    }
                }
                canvas.draw_text(&show(bar.value), &figure, (beside + MARGIN / 2, middle))?;
            }
        }
    }
    canvas.present()?;
    drop(chart);
    drop(canvas);
    Ok(svg)
}

impl Row<'_> {
    fn height(&self) -> i32 {
        match self {
            Self::Heading(_) => HEADING,
            Self::Bar(..) => ROW,
        }
    }
}

fn rows(bars: &Bars) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for group in bars.groups.iter().filter(|group| !group.bars.is_empty()) {
        if !group.name.is_empty() {
            rows.push(Row::Heading(&group.name));
        }
        let ranked = group.bars.iter().enumerate();
        rows.extend(ranked.map(|(place, bar)| Row::Bar(rank(&bars.order, &bar.name, place), bar)));
    }
    rows
}

/// Three digits at least, all of a large figure with its thousands apart.
fn show(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "not measured".to_owned(),
        100.0.. => with_thousands(value),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn with_thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_shows_the_digits_that_mean_something() {
        let shown = [0.126, 12.34, 999.6, 36_123.4, -1_234.0, f64::NAN].map(show);
        assert_eq!(shown, ["0.13", "12.3", "1,000", "36,123", "-1,234", "not measured"]);
    }

    #[test]
    fn a_group_without_bars_has_no_heading() {
        let groups = vec![Group { name: "empty".to_owned(), bars: Vec::new() }];
        let bars = Bars { title: String::new(), label: String::new(), groups, order: Vec::new() };
        assert!(rows(&bars).is_empty());
    }
}
