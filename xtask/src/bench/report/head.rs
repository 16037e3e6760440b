//! The head of a report: what was measured on what, and how to do it again.

use super::super::document::Document;
use super::super::machine::Machine;
use super::super::rounds::Plan;

pub(super) fn tell(machine: &Machine, plan: &Plan, document: &mut Document) {
    let Machine { date, kernel, cpu, cores, versions, commit, command, load_before, load_after } = machine;
    let versions: Vec<String> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    document.list([
        format!("Date: {date}"),
        format!("Kernel: Linux {kernel}"),
        format!("Processor: {cpu}, {cores} cores"),
        format!("Versions: {}", versions.join(", ")),
        format!("Commit: {commit}"),
        format!("Load average: {load_before:.2} before the first round, {load_after:.2} after the last"),
        format!("Pinned to: {}", plan.cores),
        format!("Rounds: {}, each with every mode in turn", plan.rounds),
    ]);
    document.paragraph(format!("To measure it again, as root in a checkout of that commit: `{command}`"));
    document.paragraph(
        "Figures are medians over the rounds, and ratios are taken within a round. Figures of different runs, let alone \
         of different machines, cannot be compared. The middle half is where the middle half of the rounds lies; a \
         figure marked (wide) has one that is wider than a quarter of it.",
    );
}
