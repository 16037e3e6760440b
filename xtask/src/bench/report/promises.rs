//! The targets, and what a reader has to know before believing that one is met or missed.

use serde::Serialize;

use super::super::document::Document;
use super::super::machine::Machine;
use super::super::table::Table;
use super::super::target::Target;

/// A target with its remarks, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Remarked<'a> {
    #[serde(flatten)]
    target: &'a Target,
    remarks: Vec<String>,
}

pub(super) fn tell(targets: &[Target], machine: &Machine, document: &mut Document) {
    document.heading(2, "Targets");
    document.list(machine.warnings());
    document.table(table(targets, machine));
}

pub(super) fn with_remarks<'a>(targets: &'a [Target], machine: &Machine) -> Vec<Remarked<'a>> {
    targets.iter().map(|target| Remarked { target, remarks: remarks(target, machine) }).collect()
}

fn table(targets: &[Target], machine: &Machine) -> Table {
    let head = ["target", "limit", "found", "middle half", "standing", "remark"];
    let mut table = Table::with_head(head).with_text_in([4, 5]);
    for target in targets {
        let found = target.found.map_or_else(|| "–".to_owned(), |found| target.show(found.median));
        let half = target.found.filter(|found| found.of > 1).map_or_else(String::new, |found| {
            format!("{} – {}", target.show(found.lower), target.show(found.upper))
        });
        table.add(vec![
            target.what.clone(),
            target.show_limit(),
            found,
            half,
            target.standing.to_string(),
            remarks(target, machine).join("; "),
        ]);
    }
    table
}

/// Why there is no figure.
const NO_FIGURE: &str = "no figure: what it is compared with adds nothing that can be told from noise, or could not be measured (see the notes)";

/// What stands beside a judgement: it is made on the median all the same.
fn remarks(target: &Target, machine: &Machine) -> Vec<String> {
    let Some(found) = target.found else { return vec![NO_FIGURE.to_owned()] };
    let doubt = found.doubt(target.limit).map(|doubt| doubt.to_string());
    let busy = (!machine.warnings().is_empty()).then(|| "machine busy".to_owned());
    doubt.into_iter().chain(busy).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::spread::Spread;
    use super::super::super::target::{Bound, Standing, Unit};
    use super::*;

    fn target(found: Option<Spread>, standing: Standing) -> Target {
        let what = "added latency".to_owned();
        Target { what, bound: Bound::AtMost, limit: 0.85, unit: Unit::Times, found, standing }
    }

    fn told(target: Target, load: f64) -> Vec<String> {
        let table = table(&[target], &Machine::with_load(load));
        table.rows().last().cloned().unwrap_or_default()
    }

    #[test]
    fn a_judgement_is_told_with_its_doubts() {
        let spread = |lower, upper| Some(Spread { lower, median: 0.8, upper, of: 11 });
        let row = told(target(spread(0.78, 0.9), Standing::Met), 0.5);
        let doubt = "undecided: the limit is inside the middle half";
        assert_eq!(row, ["added latency", "≤ 0.85×", "0.80×", "0.78× – 0.90×", "met", doubt]);
        let row = told(target(spread(0.4, 0.9), Standing::Met), 9.0);
        assert_eq!(row[5], "spread too wide to mean much; machine busy");
    }

    #[test]
    fn what_was_not_measured_says_why() {
        let row = told(target(None, Standing::NotMeasured), 9.0);
        assert_eq!(row, ["added latency", "≤ 0.85×", "–", "", "not measured", NO_FIGURE]);
    }
}
