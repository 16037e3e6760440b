//! Every figure of one kind of work, mode by mode: medians of the rounds.

use super::super::mode::Mode;
use super::super::rounds::{Comparison, Figure, Pace};
use super::super::seating::Seating;
use super::super::spread::Spread;
use super::super::table::Table;
use super::super::work::Work;

/// What a column shows.
#[derive(Debug, Clone, Copy)]
enum Shown {
    Figure(Figure),
    /// What the median is beyond that of no capture.
    Added,
}

/// What the columns are called, what they show, and how many decimals of it mean something.
const COLUMNS: [(&str, Shown, usize); 17] = [
    ("p50 µs", Shown::Figure(Figure::P50), 1),
    ("p90 µs", Shown::Figure(Figure::P90), 1),
    ("p99 µs", Shown::Figure(Figure::P99), 1),
    ("p99.9 µs", Shown::Figure(Figure::P999), 1),
    ("added p50 µs", Shown::Added, 1),
    ("connect p50 µs", Shown::Figure(Figure::Connect), 1),
    ("per second", Shown::Figure(Figure::Rate), 0),
    ("Gbit/s", Shown::Figure(Figure::Throughput), 2),
    ("proxy CPU µs", Shown::Figure(Figure::ProxyCpu), 1),
    ("of it far proxy", Shown::Figure(Figure::FarProxyCpu), 1),
    ("client CPU µs", Shown::Figure(Figure::ClientCpu), 1),
    ("server CPU µs", Shown::Figure(Figure::ServerCpu), 1),
    ("softirq µs", Shown::Figure(Figure::Softirq), 1),
    ("switches", Shown::Figure(Figure::Switches), 2),
    ("proxy switches", Shown::Figure(Figure::ProxySwitches), 2),
    ("proxy peak MB", Shown::Figure(Figure::PeakRss), 1),
    ("far proxy peak MB", Shown::Figure(Figure::FarPeakRss), 1),
];

/// One row for each mode that can do the work; a mode that was not measured has one too. Columns without any figure are
/// left out.
pub(super) fn figures_table(comparison: &Comparison, modes: &[Mode], work: Work, seating: Seating) -> Table {
    let modes: Vec<Mode> = modes.iter().copied().filter(|mode| mode.can(work)).collect();
    let columns: Vec<(&str, Vec<Option<String>>)> = COLUMNS
        .into_iter()
        .filter(|(_, shown, _)| means_something(*shown, work))
        .map(|(title, shown, decimals)| {
            let cell = |&mode: &Mode| cell(comparison, (mode, work, seating), shown, decimals);
            (title, modes.iter().map(cell).collect())
        })
        .filter(|(_, cells): &(&str, Vec<Option<String>>)| cells.iter().any(Option::is_some))
        .collect();
    let titles = columns.iter().map(|(title, _)| *title);
    let mut table = Table::with_columns(std::iter::once("mode").chain(titles).map(str::to_owned).collect());
    for (row, mode) in modes.iter().enumerate() {
        let cells =
            columns.iter().map(|(_, cells)| cells.get(row).cloned().flatten().unwrap_or_else(nothing));
        table.add(std::iter::once(mode.title().to_owned()).chain(cells).collect());
    }
    table
}

/// Whether a column tells anything about a kind of work: bytes are what bulk is about, and times are what the others are.
fn means_something(shown: Shown, work: Work) -> bool {
    let in_bulk = matches!(work, Work::BulkOneWay | Work::BulkBothWays);
    match shown {
        Shown::Added
        | Shown::Figure(Figure::P50 | Figure::P90 | Figure::P99 | Figure::P999 | Figure::Rate) => !in_bulk,
        Shown::Figure(Figure::Throughput) => in_bulk || work == Work::PingPongLarge,
        Shown::Figure(_) => true,
    }
}

fn cell(
    comparison: &Comparison,
    (mode, work, seating): (Mode, Work, Seating),
    shown: Shown,
    decimals: usize,
) -> Option<String> {
    let (spread, text) = match shown {
        Shown::Figure(figure) => {
            let spread = comparison.figure(mode, work, seating, figure)?;
            (spread, format!("{:.decimals$}", spread.median))
        }
        Shown::Added => {
            let added = comparison.added(mode, work, seating, Figure::P50);
            let spread = added.filter(|_| mode != Mode::NoCapture)?;
            (spread, format!("{:+.decimals$}", spread.median))
        }
    };
    Some(beside(text, spread))
}

/// A figure, and a word where its middle half makes it doubtful.
fn beside(text: String, spread: Spread) -> String {
    match spread.is_wide() {
        true => format!("{text} (wide)"),
        false => text,
    }
}

fn nothing() -> String {
    "–".to_owned()
}

/// How fast the open loop's requests came, and how late the client was with them, where there was one.
pub(super) fn pace_lines(comparison: &Comparison, seating: Seating) -> Vec<String> {
    let paces = comparison.paces.iter().filter(|pace| pace.seating == seating);
    let pace = paces.map(|Pace { reference, saturated, rate, .. }| {
        let apart = match seating {
            Seating::OneCore => " Its client keeps the time on the other core, if there is one.",
            Seating::Apart => "",
        };
        format!(
            "The fixed rate is {rate:.0} requests per second, half of the {saturated:.0} that {} serves on as many \
             connections.{apart}",
            reference.title()
        )
    });
    let lag = Mode::ALL.into_iter().filter_map(|mode| {
        let late = comparison.lag(mode, seating)?.median;
        Some(format!("{}: the client itself was up to {late:.1} µs late (p99).", mode.title()))
    });
    pace.chain(lag).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::rounds::ping_pong;
    use super::*;

    fn row(table: &Table, number: usize) -> Vec<&str> {
        table.rows()[number].iter().map(String::as_str).collect()
    }

    #[test]
    fn a_row_shows_what_a_mode_adds_and_only_what_was_found() {
        let samples = (0..3).flat_map(|round| {
            [ping_pong(round, Mode::NoCapture, 10_000), ping_pong(round, Mode::RelayEbpf, 18_000)]
        });
        let comparison = Comparison { samples: samples.collect(), ..Comparison::default() };
        let modes = [Mode::NoCapture, Mode::RelayEbpf, Mode::RelayIptables, Mode::EnvoyHttpEbpf];
        let table = figures_table(&comparison, &modes, Work::PingPong, Seating::OneCore);
        let head = row(&table, 0);
        assert_eq!(head[..6], ["mode", "p50 µs", "p90 µs", "p99 µs", "p99.9 µs", "added p50 µs"]);
        assert!(!head.contains(&"connect p50 µs") && !head.contains(&"proxy peak MB"), "{head:?}");
        assert_eq!(row(&table, 1)[..6], ["no capture", "10.0", "10.0", "10.0", "10.0", "–"]);
        assert_eq!(row(&table, 2)[..6], ["our relay, eBPF", "18.0", "18.0", "18.0", "18.0", "+8.0"]);
        // What could do the work and was not measured has a row, what cannot do it has none.
        assert_eq!(row(&table, 3)[..2], ["our relay, iptables", "–"]);
        assert_eq!(table.rows().len(), 4);
    }

    #[test]
    fn a_figure_that_is_far_apart_is_marked() {
        let wide = Spread { lower: 1.0, median: 2.0, upper: 3.0, of: 3 };
        assert_eq!(beside("2.0".to_owned(), wide), "2.0 (wide)");
        assert_eq!(beside("2.0".to_owned(), Spread { lower: 1.9, upper: 2.1, ..wide }), "2.0");
    }
}
