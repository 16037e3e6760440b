//! Every figure of one kind of work, mode by mode: medians of the rounds.

use super::super::mode::Mode;
use super::super::rounds::{Comparison, Figure, Pace};
use super::super::seating::Seating;
use super::super::table::Table;
use super::super::work::Work;

/// What the columns are called, what they show, and how many decimals of it mean something.
pub(super) const FIGURES: [(&str, Figure, usize); 14] = [
    ("p50 µs", Figure::P50, 1),
    ("p90 µs", Figure::P90, 1),
    ("p99 µs", Figure::P99, 1),
    ("p99.9 µs", Figure::P999, 1),
    ("connect µs", Figure::Connect, 1),
    ("per second", Figure::Rate, 0),
    ("Gbit/s", Figure::Throughput, 2),
    ("proxy CPU µs", Figure::ProxyCpu, 1),
    ("client CPU µs", Figure::ClientCpu, 1),
    ("server CPU µs", Figure::ServerCpu, 1),
    ("softirq µs", Figure::Softirq, 1),
    ("switches", Figure::Switches, 2),
    ("proxy switches", Figure::ProxySwitches, 2),
    ("proxy peak MB", Figure::PeakRss, 1),
];

/// One row for each mode. Time in soft interrupts is counted in ticks, and is part of the time of whoever was interrupted.
pub(super) fn figures_table(comparison: &Comparison, modes: &[Mode], work: Work, seating: Seating) -> Table {
    let mut head = ["mode"; FIGURES.len() + 1];
    for (place, (title, ..)) in head[1..].iter_mut().zip(FIGURES) {
        *place = title;
    }
    let mut table = Table::with_head(head);
    for &mode in modes {
        let cells = FIGURES.map(|(_, figure, decimals)| {
            let spread = comparison.figure(mode, work, seating, figure);
            spread.map_or_else(|| "–".to_owned(), |spread| format!("{:.decimals$}", spread.median))
        });
        table.add([vec![mode.title().to_owned()], cells.to_vec()].concat());
    }
    table
}

/// How fast the open loop's requests came, and how late the client was with them, where there was one.
pub(super) fn pace_lines(comparison: &Comparison, seating: Seating) -> Vec<String> {
    let paces = comparison.paces.iter().filter(|pace| pace.seating == seating);
    let pace = paces.map(|Pace { reference, saturated, rate, .. }| {
        format!(
            "The fixed rate is {rate:.0} requests per second, half of the {saturated:.0} that {} serves on as many \
             connections.",
            reference.title()
        )
    });
    let lag = Mode::ALL.into_iter().filter_map(|mode| {
        let late = comparison.lag(mode, seating)?.median;
        Some(format!("{}: the client itself was up to {late:.1} µs late (p99).", mode.title()))
    });
    pace.chain(lag).collect()
}
