//! What compares the modes: pictures of what is asked most, then every figure of each kind of work.

use super::super::document::Document;
use super::super::mode::Mode;
use super::super::rounds::{Comparison, Plan};
use super::super::seating::Seating;
use super::super::table::Table;
use super::super::way::Side;
use super::super::work::Work;
use super::figures::{figures_table, pace_lines};
use super::latency;
use super::pictures::{self, PICTURES, capitalised};

/// Work whose latencies are shown as curves.
const CURVES: [Work; 3] = [Work::PingPong, Work::Request, Work::HttpOpenLoop];
/// Work whose rounds are shown one by one.
const STEADY: Work = Work::PingPong;

pub(super) fn tell(comparison: &Comparison, plan: &Plan, document: &mut Document) {
    for seating in plan.seatings() {
        document.heading(2, format!("The modes compared, {}", seating.title()));
        document.paragraph(explanation(seating));
        if latency::WORKS.iter().all(|&work| plan.turns.contains(&(work, seating))) {
            document.table(latency::table(comparison, plan, seating));
        }
        for picture in &PICTURES {
            let title = format!("{}, {}", picture.title, seating.title());
            let name = format!("{}-{}", picture.name, seating.word());
            let caption =
                format!("{title}. The line across the end of a bar is the middle half of the rounds.");
            document.figure(name, caption, picture.draw(&title, comparison, plan, seating));
        }
        for work in plan.works(seating) {
            tell_work(comparison, plan, work, seating, document);
        }
    }
    if !comparison.resident.is_empty() {
        document.heading(2, "Memory of the proxies after all rounds, resident");
        document.table(resident(comparison, &plan.modes));
    }
    // One round is steady by itself.
    let is_shown = |seating: &Seating| plan.rounds > 1 && plan.turns.contains(&(STEADY, *seating));
    if plan.seatings().any(|seating| is_shown(&seating)) {
        document.heading(2, "How steady the run was");
    }
    for seating in plan.seatings().filter(is_shown) {
        let caption = format!(
            "The medians of {}, {}, in the order of the rounds. Whatever else the machine did shows as a hill that all \
             modes have in common.",
            STEADY.title(),
            seating.title()
        );
        let name = format!("rounds-{}-{}", STEADY.word(), seating.word());
        document.figure(name, caption, pictures::rounds(comparison, plan, STEADY, seating));
    }
}

/// A row for each mode with a proxy. The peaks are beside each kind of work.
fn resident(comparison: &Comparison, modes: &[Mode]) -> Table {
    let mut table = Table::with_head(["mode", "the client's", "the server's"]);
    for &mode in modes {
        let sides = Side::ALL.map(|side| comparison.resident(mode, side));
        if sides != [None, None] {
            let shown = sides.map(|side| side.map_or_else(|| "–".to_owned(), |it| format!("{it:.1} MB")));
            table.add(std::iter::once(mode.title().to_owned()).chain(shown).collect());
        }
    }
    table
}

fn tell_work(comparison: &Comparison, plan: &Plan, work: Work, seating: Seating, document: &mut Document) {
    let title = format!("{}, {}", capitalised(work.title()), seating.title());
    document.heading(3, &title);
    document.paragraph(format!("Processor time and context switches are those of one {}.", work.operation()));
    document.table(figures_table(comparison, &plan.modes, work, seating));
    if work == Work::HttpOpenLoop {
        document.list(pace_lines(comparison, seating));
    }
    if CURVES.contains(&work) {
        let caption = format!(
            "{title}: all rounds together. The vertical axis is stretched at both ends, so that the median and the \
             slowest in a thousand are seen alike."
        );
        let name = format!("latency-{}-{}", work.word(), seating.word());
        document.figure(name, caption, pictures::latency(comparison, plan, work, seating));
    }
}

fn explanation(seating: Seating) -> &'static str {
    match seating {
        Seating::OneCore => {
            "Client, server and proxy share one core: no wake-up crosses cores, so what a mode adds is work. Time in soft \
             interrupts is counted in ticks of the kernel's clock, and is part of the time of whoever was interrupted."
        }
        Seating::Apart => {
            "The proxy has a core to itself. Where there is no proxy the server has it, so that every row has wake-ups \
             that cross cores. Where there are two proxies, client and server have a core each, and their proxies beside \
             them."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::rounds::Resident;
    use super::*;

    #[test]
    fn each_side_of_a_way_is_weighed_by_itself() {
        let resident_bytes = |mode, side, bytes| Resident { mode, side, bytes };
        let found = [
            resident_bytes(Mode::RelayEbpf, Side::Near, 8_000_000),
            resident_bytes(Mode::Tunnel, Side::Near, 9_500_000),
            resident_bytes(Mode::Tunnel, Side::Far, 9_000_000),
        ];
        let comparison = Comparison { resident: found.into(), ..Comparison::default() };
        let table = resident(&comparison, &Mode::ALL);
        let cells = |row: usize| table.rows()[row][1..].to_vec();
        assert_eq!(
            (cells(1), cells(2)),
            (vec!["8.0 MB".to_owned(), "–".to_owned()], vec!["9.5 MB".to_owned(), "9.0 MB".to_owned()])
        );
        assert_eq!(table.rows().len(), 3);
    }
}
