//! The two latencies that matter most, side by side: also what a demonstration shows.

use super::super::mode::Mode;
use super::super::rounds::{Comparison, Figure, Plan};
use super::super::seating::Seating;
use super::super::table::Table;
use super::super::work::Work;
use super::show;

/// What the table is made of.
pub(super) const WORKS: [Work; 2] = [Work::PingPong, Work::Request];

/// A row for each mode, in microseconds.
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
        let figure = |work, figure| comparison.figure(mode, work, seating, figure);
        let shown = |work, which| show(figure(work, which));
        let added = comparison.added(mode, Work::PingPong, seating, Figure::P50);
        let added = added.filter(|_| mode != Mode::NoCapture);
        table.add(vec![
            mode.title().to_owned(),
            shown(Work::PingPong, Figure::P50),
            shown(Work::PingPong, Figure::P99),
            added.map_or_else(String::new, |added| format!("{:+.1}", added.median)),
            shown(Work::Request, Figure::Connect),
            shown(Work::Request, Figure::P50),
            shown(Work::Request, Figure::P99),
        ]);
    }
    table
}
