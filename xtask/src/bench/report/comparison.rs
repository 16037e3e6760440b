//! What compares the modes: pictures of what is asked most, then every figure of each kind of work.

use super::super::document::Document;
use super::super::rounds::{Comparison, Plan};
use super::super::seating::Seating;
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
    if plan.turns.iter().any(|&(work, _)| work == STEADY) {
        document.heading(2, "How steady the run was");
    }
    for seating in plan.seatings() {
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
             that cross cores."
        }
    }
}
