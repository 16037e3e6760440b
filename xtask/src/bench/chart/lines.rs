//! Curves over an axis, told apart by colour and by marker, with their names beside them.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::look::{
    Canvas, Drawn, FAINT, INK, MARGIN, PALE, TEXT, TITLE, WIDTH, colour, marker, sheet, text, width_of,
};
use super::rank;
use super::scale::{Axis, Scale};

/// Several curves over the same axes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lines {
    /// What is shown.
    pub(crate) title: String,
    /// What the horizontal axis counts, and in which unit.
    pub(crate) x_label: String,
    /// What the vertical axis counts, and in which unit.
    pub(crate) y_label: String,
    /// How the horizontal axis is divided.
    pub(crate) x_scale: Scale,
    /// How the vertical axis is divided.
    pub(crate) y_scale: Scale,
    /// The curves, in the order of their names' list.
    pub(crate) series: Vec<Series>,
    /// See [`super::Chart::in_order`].
    pub(crate) order: Vec<String>,
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// Its name in the list beside the curves.
    pub(crate) name: String,
    /// Its points, which are joined in this order; one that an axis has no place for is passed over.
    pub(crate) points: Vec<(f64, f64)>,
}

/// How high such a chart is.
const HEIGHT: u32 = 960;
/// A curve of more points than these has markers at some of them only.
const FEW: usize = 14;
/// How many markers such a curve has.
const MARKERS: usize = 7;
/// How long the piece of curve beside a name is.
const SAMPLE: i32 = 64;
/// Between two names.
const LINE: i32 = 42;

pub(super) fn draw(lines: &Lines) -> Drawn<String> {
    let mut svg = String::new();
    let canvas = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
    sheet(&canvas, &lines.title)?;
    let shown: Vec<(usize, &Series)> =
        lines.series.iter().enumerate().filter(|(_, it)| !it.points.is_empty()).collect();
    let names =
        shown.iter().map(|(_, series)| width_of(&series.name)).max().unwrap_or(0) + SAMPLE + 3 * MARGIN;
    let top = MARGIN + TITLE + MARGIN;
    canvas.draw_text(&lines.y_label, &text(TEXT, PALE, HPos::Left, VPos::Top), (MARGIN, top))?;
    let right = WIDTH as i32 - names;

    let points = || shown.iter().flat_map(|(_, series)| &series.points);
    let across = Axis::over(lines.x_scale, points().map(|point| point.0));
    let up = Axis::over(lines.y_scale, points().map(|point| point.1));
    let (plot, _) = canvas.split_horizontally(right);
    let mut chart = ChartBuilder::on(&plot)
        .margin_top(top + TEXT + MARGIN)
        .margin_left(MARGIN)
        .margin_right(MARGIN * 2)
        .margin_bottom(MARGIN)
        .x_label_area_size(3 * TEXT + 10)
        .y_label_area_size(width_of("99.99%") + MARGIN / 2)
        .build_cartesian_2d(across, up)?;
    let ticks = text(TEXT, PALE, HPos::Center, VPos::Center);
    chart
        .configure_mesh()
        .bold_line_style(FAINT.stroke_width(2))
        .light_line_style(TRANSPARENT)
        .axis_style(PALE.stroke_width(2))
        .label_style(ticks.clone())
        .axis_desc_style(ticks)
        .x_desc(lines.x_label.as_str())
        .draw()?;

    for (number, (place, series)) in shown.iter().enumerate() {
        let rank = rank(&lines.order, &series.name, *place);
        let has_place = |&&(x, y): &&(f64, f64)| lines.x_scale.place(x).and(lines.y_scale.place(y)).is_some();
        let curve: Vec<(i32, i32)> =
            series.points.iter().filter(has_place).map(|point| chart.backend_coord(point)).collect();
        canvas.draw(&PathElement::new(curve.clone(), colour(rank).stroke_width(4)))?;
        for at in marked(curve.len(), number) {
            curve.get(at).map_or(Ok(()), |&point| marker(&canvas, rank, point))?;
        }
        name(&canvas, rank, series, (right, top + TEXT + MARGIN + LINE / 2 + number as i32 * LINE))?;
    }
    canvas.present()?;
    drop(chart);
    drop(plot);
    drop(canvas);
    Ok(svg)
}

/// A piece of curve and its name.
fn name(canvas: &Canvas<'_>, rank: usize, series: &Series, (left, y): (i32, i32)) -> Drawn<()> {
    canvas.draw(&PathElement::new(vec![(left, y), (left + SAMPLE, y)], colour(rank).stroke_width(4)))?;
    marker(canvas, rank, (left + SAMPLE / 2, y))?;
    let style = text(TEXT, INK, HPos::Left, VPos::Center);
    canvas.draw_text(&series.name, &style, (left + SAMPLE + MARGIN, y))
}

/// Which of a curve's points have markers: all of few, some of many, and not the same ones as the curve before, so that
/// markers of curves that lie on each other stand beside each other.
fn marked(points: usize, number: usize) -> Vec<usize> {
    if points <= FEW {
        return (0..points).collect();
    }
    let between = points as f64 / MARKERS as f64;
    // The golden section never comes back to the same place.
    let first = (number as f64 * 0.618).fract() * between;
    (0..MARKERS).map(|marker| (first + marker as f64 * between) as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_points_are_all_marked_and_of_many_some() {
        assert_eq!(marked(3, 5), [0, 1, 2]);
        assert_eq!(marked(70, 0), [0, 10, 20, 30, 40, 50, 60]);
        assert!(marked(70, 9).into_iter().all(|at| at < 70));
        assert_ne!(marked(70, 0), marked(70, 1));
    }
}
