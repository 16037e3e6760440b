//! What is drawn: a head, a row for each workload, and the keys. Fits a terminal of 80 by 24.

use std::cmp::Ordering;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row as Drawn, Table, TableState};

use super::rates::{Rates, Row};
use crate::cli::Sort;

/// Lines around the rows: two of the head, the columns' names, the keys.
const AROUND: usize = 4;
/// Columns of the smallest terminal, and of what stands beside the names.
const SMALLEST: usize = 80;
const BESIDE_NAMES: usize = 59;
const KEYS: &str = "sort: o open n connects r requests l p99 d denied w name   space: pause   q: end";

/// What is shown, and how whoever watches wants it.
pub(super) struct View {
    rates: Rates,
    sort: Sort,
    /// Whether the order is turned round.
    turned: bool,
    paused: bool,
    lost: Option<String>,
    scrolled: TableState,
}

impl View {
    /// Nothing yet, sorted by that.
    pub(super) fn new(sort: Sort) -> Self {
        let (rates, scrolled) = (Rates::default(), TableState::default());
        Self { rates, sort, turned: false, paused: false, lost: None, scrolled }
    }

    /// Shows these rates from now on, and what did not answer.
    pub(super) fn tell(&mut self, rates: Rates, lost: Option<String>) {
        self.rates = rates;
        self.lost = lost;
        self.order();
    }

    /// Keeps showing the last rates, and says why.
    pub(super) fn lost(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Sorts by something else, or turns the order round if it is that already.
    pub(super) fn sort_by(&mut self, sort: Sort) {
        self.turned = self.sort == sort && !self.turned;
        self.sort = sort;
        self.order();
    }

    /// Stands still, or goes on.
    pub(super) const fn pause(&mut self) {
        self.paused = !self.paused;
    }

    pub(super) const fn paused(&self) -> bool {
        self.paused
    }

    /// Moves so many rows on, or back.
    pub(super) fn scroll(&mut self, by: isize) {
        let last = self.rates.rows.len().saturating_sub(1);
        *self.scrolled.offset_mut() = self.scrolled.offset().saturating_add_signed(by).min(last);
    }

    /// Lines that everything takes.
    pub(super) fn height(&self) -> usize {
        self.rates.rows.len() + AROUND
    }

    /// Columns in which no name is cut.
    pub(super) fn width(&self) -> usize {
        let longest =
            self.rates.rows.iter().map(|row| row.workload.chars().count()).max().unwrap_or_default();
        SMALLEST.max(BESIDE_NAMES + longest)
    }

    fn order(&mut self) {
        let (sort, turned) = (self.sort, self.turned);
        self.rates.rows.sort_by(|one, other| {
            let order = compare(sort, one, other).then_with(|| one.workload.cmp(&other.workload));
            if turned { order.reverse() } else { order }
        });
    }

    /// Draws all of it.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let layout = [Constraint::Length(2), Constraint::Fill(1), Constraint::Length(1)];
        let [head, body, foot] = Layout::vertical(layout).areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        // Rows that went away must not leave an empty table behind.
        self.scroll(0);
        let names = COLUMNS.iter().map(|column| {
            let name =
                if column.sort == Some(self.sort) { column.name.underlined() } else { column.name.into() };
            cell(Line::from(name), column)
        });
        let rows = self.rates.rows.iter().map(row);
        let widths = COLUMNS.iter().map(|column| column.width);
        let table = Table::new(rows, widths).header(Drawn::new(names).style(Style::new().bold()));
        frame.render_stateful_widget(table, body, &mut self.scrolled);
        frame.render_widget(Line::from(KEYS).dim(), foot);
    }

    fn head(&self) -> Text<'static> {
        let rows = &self.rates.rows;
        let sum = |of: fn(&Row) -> f64| rate(rows.iter().map(of).sum());
        let processes = match &self.rates.processes[..] {
            [one] => one.clone(),
            several => format!("{} processes", several.len()),
        };
        let open: u64 = rows.iter().map(|row| row.open).sum();
        let workloads = if rows.len() == 1 { "workload" } else { "workloads" };
        let first = format!("sidestep {processes}, {} {workloads}, {open} open", rows.len());
        let second = match (&self.lost, self.paused) {
            (Some(lost), _) => Line::from(lost.clone()).style(Modifier::REVERSED),
            (None, true) => Line::from("paused").style(Modifier::REVERSED),
            (None, false) => Line::from(format!(
                "per second: {} connects, {} requests, {} failed, {} denied",
                sum(|row| row.connects),
                sum(|row| row.requests),
                sum(|row| row.failed),
                sum(|row| row.denied),
            )),
        };
        Text::from(vec![Line::from(first).bold(), second])
    }
}

/// The largest first, names from A to Z.
fn compare(sort: Sort, one: &Row, other: &Row) -> Ordering {
    match sort {
        Sort::Open => other.open.cmp(&one.open),
        Sort::Connects => other.connects.total_cmp(&one.connects),
        Sort::Requests => other.requests.total_cmp(&one.requests),
        Sort::P99 => other.p99.cmp(&one.p99),
        Sort::Denied => other.denied.total_cmp(&one.denied),
        Sort::Name => one.workload.cmp(&other.workload),
    }
}

struct Column {
    name: &'static str,
    width: Constraint,
    alignment: Alignment,
    sort: Option<Sort>,
}

const fn column(name: &'static str, width: u16, sort: Option<Sort>) -> Column {
    Column { name, width: Constraint::Length(width), alignment: Alignment::Right, sort }
}

const COLUMNS: [Column; 8] = [
    Column {
        name: "WORKLOAD",
        width: Constraint::Fill(1),
        alignment: Alignment::Left,
        sort: Some(Sort::Name),
    },
    column("OPEN", 6, Some(Sort::Open)),
    column("CONN/S", 7, Some(Sort::Connects)),
    column("REQ/S", 7, Some(Sort::Requests)),
    column("P50", 6, None),
    column("P99", 6, Some(Sort::P99)),
    column("DENY/S", 6, Some(Sort::Denied)),
    column("RELAY/TUN/HTTP", 14, None),
];

fn cell<'a>(line: Line<'a>, column: &Column) -> Cell<'a> {
    Cell::new(Text::from(line.alignment(column.alignment)))
}

fn row(row: &Row) -> Drawn<'static> {
    let [relay, tunnel, http] = row.tiers;
    let cells = [
        row.workload.clone(),
        row.open.to_string(),
        rate(row.connects),
        rate(row.requests),
        time(row.p50),
        time(row.p99),
        rate(row.denied),
        format!("{relay}/{tunnel}/{http}"),
    ];
    let drawn =
        Drawn::new(cells.into_iter().zip(&COLUMNS).map(|(text, column)| cell(Line::from(text), column)));
    if row.state == "ready" { drawn } else { drawn.style(Style::new().dim()) }
}

/// A rate in at most six characters.
fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        ..10.0 => format!("{rate:.1}"),
        ..100_000.0 => format!("{rate:.0}"),
        ..10_000_000.0 => format!("{:.0}k", rate / 1e3),
        _ => format!("{:.0}M", rate / 1e6),
    }
}

/// A time in at most six characters.
fn time(time: Option<Duration>) -> String {
    let Some(time) = time else { return "-".to_owned() };
    match time.as_secs_f64() * 1e3 {
        ms @ ..10.0 => format!("{ms:.1}ms"),
        ms @ ..1000.0 => format!("{ms:.0}ms"),
        ms @ ..100_000.0 => format!("{:.1}s", ms / 1e3),
        ms => format!("{:.0}s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::rates::tests::look;
    use super::*;

    fn view() -> View {
        let start = Instant::now();
        let before =
            look(start, &[("shop/web-7d4b9c-x2x9k", 3, 100, 0, [0, 0]), ("shop/db-0", 40, 10, 0, [0, 0])]);
        let now = look(
            start + Duration::from_secs(1),
            &[("shop/web-7d4b9c-x2x9k", 5, 1350, 2, [990, 10]), ("shop/db-0", 41, 11, 0, [0, 0])],
        );
        let mut view = View::new(Sort::Open);
        view.tell(Rates::between(&before, &now), None);
        view
    }

    /// The lines of a terminal of that size.
    fn drawn(view: &mut View, columns: u16, lines: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).expect("a terminal");
        terminal.draw(|frame| view.draw(frame)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let lines = buffer.content().chunks(usize::from(columns));
        lines
            .map(|line| {
                line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
            })
            .collect()
    }

    #[test]
    fn everything_fits_the_smallest_terminal() {
        let mut view = view();
        let lines = drawn(&mut view, 80, 24);
        let expected = "\
sidestep node pid 42, 2 workloads, 46 open
per second: 1251 connects, 1000 requests, 0 failed, 2.0 denied
WORKLOAD                OPEN  CONN/S   REQ/S    P50    P99 DENY/S RELAY/TUN/HTTP
shop/db-0                 41     1.0       0      -      -      0         41/0/0
shop/web-7d4b9c-x2x9k      5    1250    1000  0.8ms  1.0ms    2.0          5/0/0";
        assert_eq!(lines[..5].join("\n"), expected, "{lines:#?}");
        assert_eq!(lines[23], KEYS);
        // One that is smaller still shows what fits, and does not fail.
        drawn(&mut view, 20, 3);
        drawn(&mut view, 1, 1);
    }

    #[test]
    fn what_is_printed_once_is_wide_enough_for_every_name() {
        let mut view = view();
        view.rates.rows[0].workload = "a-namespace/a-deployment-7d4b9c6f5-x2x9k".to_owned();
        let columns = u16::try_from(view.width()).expect("some columns");
        let lines = drawn(&mut view, columns, 24);
        assert!(lines[3].starts_with("a-namespace/a-deployment-7d4b9c6f5-x2x9k     41"), "{lines:#?}");
    }

    #[test]
    fn rows_are_sorted_as_asked_and_the_other_way_round_when_asked_again() {
        let mut view = view();
        let mut first = |sort| {
            view.sort_by(sort);
            view.rates.rows[0].workload.clone()
        };
        assert_eq!(first(Sort::Requests), "shop/web-7d4b9c-x2x9k");
        assert_eq!(first(Sort::Requests), "shop/db-0");
        assert_eq!(first(Sort::P99), "shop/web-7d4b9c-x2x9k");
        assert_eq!(first(Sort::Name), "shop/db-0");
        assert_eq!(first(Sort::Denied), "shop/web-7d4b9c-x2x9k");
    }

    #[test]
    fn what_cannot_be_seen_is_scrolled_to_and_what_went_wrong_is_said() {
        let mut view = view();
        view.scroll(5);
        assert!(drawn(&mut view, 80, 24)[3].starts_with("shop/web"), "the last row at the most");
        view.scroll(isize::MIN);
        view.lost("nobody answers".to_owned());
        let lines = drawn(&mut view, 80, 24);
        assert!(lines[1] == "nobody answers" && lines[3].starts_with("shop/db-0"), "{lines:#?}");
    }

    #[test]
    fn numbers_keep_to_their_columns() {
        for (number, shown) in
            [(0.0, "0"), (0.25, "0.2"), (9.96, "10.0"), (99_999.0, "99999"), (123_456.0, "123k")]
        {
            assert_eq!(rate(number), shown);
        }
        for (micros, shown) in
            [(250, "0.2ms"), (12_345, "12ms"), (2_500_000, "2.5s"), (3_600_000_000, "3600s")]
        {
            assert_eq!(time(Some(Duration::from_micros(micros))), shown);
        }
    }
}
