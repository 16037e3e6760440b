//! How long things take in each mode.

use serde::Serialize;

use super::super::chart::{Bar, Chart, Lines, Scale, Series};
use super::super::document::Document;
use super::super::mode::Mode;
use super::super::rounds::{Comparison, Figure, Plan};
use super::super::seating::Seating;
use super::super::spread::Spread;
use super::super::table::Table;
use super::super::work::Work;
use super::show;

/// One mode's figures for one kind of work in one column; all in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    mode: &'static str,
    seating: &'static str,
    work: &'static str,
    p50_us: Option<Spread>,
    p99_us: Option<Spread>,
    connect_p50_us: Option<Spread>,
}

pub(super) fn tell(comparison: &Comparison, plan: &Plan, document: &mut Document) {
    for &seating in &plan.seatings {
        document.heading(2, format!("Latency, {}, µs", seating.title()));
        document.table(table(comparison, plan, seating));
        for &work in &plan.works {
            let of = |mode| {
                let spread = comparison.microseconds(mode, work, seating, Figure::P50)?;
                let Spread { lower, median, upper, .. } = spread;
                Some(Bar { name: mode.title().to_owned(), value: median, low: lower, high: upper })
            };
            let bars = plan.modes.iter().filter_map(|&mode| of(mode)).collect();
            let title = format!("{}, {}", work.title(), seating.title());
            let chart = Chart::bars(&title, "p50, µs", bars).in_order(Mode::ALL.map(Mode::title));
            document.figure(format!("p50-{}-{}", work.word(), seating.word()), &title, chart);
            let name = format!("rounds-{}-{}", work.word(), seating.word());
            document.figure(
                name,
                format!("How steady the run was: {title}"),
                rounds(comparison, plan, work, seating),
            );
        }
    }
}

/// The medians of each round, in their order: a machine that had other things to do for a while shows it here.
fn rounds(comparison: &Comparison, plan: &Plan, work: Work, seating: Seating) -> Chart {
    let points = |mode| {
        let samples = comparison.samples.iter();
        let of_mode = samples.filter(move |it| (it.mode, it.work, it.seating) == (mode, work, seating));
        of_mode.map(|it| ((it.round + 1) as f64, it.answer.whole.p50_ns as f64 / 1e3)).collect()
    };
    let series =
        plan.modes.iter().map(|&mode| Series { name: mode.title().to_owned(), points: points(mode) });
    let lines = Lines {
        title: format!("{} round by round, {}", work.title(), seating.title()),
        x_label: "round".to_owned(),
        y_label: "p50, µs".to_owned(),
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        series: series.collect(),
        order: Vec::new(),
    };
    Chart::lines(lines).in_order(Mode::ALL.map(Mode::title))
}

/// The rows of [`Mode`]s for one column: also what a demonstration shows.
pub(crate) fn table(comparison: &Comparison, plan: &Plan, seating: Seating) -> Table {
    let mut table = Table::with_head([
        "mode",
        "ping-pong p50",
        "p99",
        "added p50",
        "connect p50",
        "connect-request-close p50",
        "p99",
    ]);
    for &mode in &plan.modes {
        let figure = |work, figure| comparison.microseconds(mode, work, seating, figure);
        let shown = |work, which| show(figure(work, which));
        let added = figure(Work::PingPong, Figure::P50).and_then(|own| {
            let none = comparison.microseconds(Mode::NoCapture, Work::PingPong, seating, Figure::P50)?;
            (mode != Mode::NoCapture).then(|| format!("{:+.1}", own.median - none.median))
        });
        table.add(vec![
            mode.title().to_owned(),
            shown(Work::PingPong, Figure::P50),
            shown(Work::PingPong, Figure::P99),
            added.unwrap_or_default(),
            shown(Work::Request, Figure::Connect),
            shown(Work::Request, Figure::P50),
            shown(Work::Request, Figure::P99),
        ]);
    }
    table
}

pub(super) fn cells(comparison: &Comparison, plan: &Plan) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &seating in &plan.seatings {
        for &work in &plan.works {
            for &mode in &plan.modes {
                let figure = |figure| comparison.microseconds(mode, work, seating, figure);
                cells.push(Cell {
                    mode: mode.word(),
                    seating: seating.word(),
                    work: work.word(),
                    p50_us: figure(Figure::P50),
                    p99_us: figure(Figure::P99),
                    connect_p50_us: figure(Figure::Connect),
                });
            }
        }
    }
    cells
}
