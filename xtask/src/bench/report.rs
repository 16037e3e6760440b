//! The outcome of a run, for people (a page with its charts, and Markdown, the same on the terminal) and for programs
//! (JSON).
//!
//! It arranges what others have measured. Whoever measures something tells its own section; what compares the modes is
//! told here, in rooms of its own.

mod comparison;
mod figures;
mod files;
mod head;
mod json;
mod latency;
mod pictures;
mod promises;

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::crowd::Crowd;
use super::document::Document;
use super::growth::Curve;
use super::growth::connections::Connections;
use super::growth::workloads::Workloads;
use super::hop::Hop;
use super::machine::Machine;
use super::node::NodeFigures;
use super::observing::Observing;
use super::policies::Policies;
use super::prefixes::Prefixes;
use super::rounds::{Comparison, Plan, Steered};
use super::spread::Spread;
use super::streams::Streams;
use super::table::Table;
use super::target::Target;

pub(crate) use self::latency::table as latency_table;

/// Everything there is to tell of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    pub(crate) comparison: Option<Comparison>,
    pub(crate) prefixes: Option<Prefixes>,
    pub(crate) policies: Option<Policies>,
    pub(crate) crowd: Option<Crowd>,
    pub(crate) workloads: Option<Workloads>,
    pub(crate) connections: Option<Connections>,
    pub(crate) node: Option<NodeFigures>,
    pub(crate) hop: Option<Hop>,
    pub(crate) streams: Option<Streams>,
    pub(crate) observing: Option<Observing>,
    pub(crate) curves: Vec<Curve>,
    /// What the parts of a run tell of themselves, in their order: a title and a table.
    pub(crate) sections: Vec<(String, Table)>,
    pub(crate) targets: Vec<Target>,
    /// What a reader should know next to the figures.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// A report of nothing yet.
    pub(crate) fn new(machine: Machine, plan: Plan) -> Self {
        Self {
            machine,
            plan,
            comparison: None,
            prefixes: None,
            policies: None,
            crowd: None,
            workloads: None,
            connections: None,
            node: None,
            hop: None,
            streams: None,
            observing: None,
            curves: Vec::new(),
            sections: Vec::new(),
            targets: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Writes the report and its charts into a directory, in place of those of the last run.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let document = self.document();
        let pictures: Vec<(&str, String)> = document.figures().collect();
        let figures: Vec<&str> = pictures.iter().map(|(name, _)| *name).collect();
        let json = json::text(&self.json(&figures)).context("write the report as JSON")?;
        let mut all: Vec<files::File> =
            pictures.iter().map(|(name, svg)| (format!("{name}.svg"), svg.clone())).collect();
        all.push(("report.html".to_owned(), document.html()));
        all.push(("report.md".to_owned(), document.markdown()));
        all.push((files::REPORT.to_owned(), json));
        files::publish(directory, &all)
    }

    /// The report as text.
    pub(crate) fn markdown(&self) -> String {
        self.document().markdown()
    }

    fn document(&self) -> Document {
        let mut document = Document::default();
        document.heading(1, "Bench");
        head::tell(&self.machine, &self.plan, &mut document);
        promises::tell(&self.targets, &self.machine, &mut document);
        if let Some(comparison) = &self.comparison {
            comparison::tell(comparison, &self.plan, &mut document);
        }
        if let Some(crowd) = &self.crowd {
            document.heading(2, "Memory of one sidecar, resident");
            document.table(memory_table(crowd));
        }
        if !self.curves.is_empty() {
            document.heading(2, "Growth");
        }
        for curve in &self.curves {
            document.figure(curve.name(), &curve.title, curve.chart());
        }
        for (title, table) in &self.sections {
            document.heading(2, title);
            document.table(table.clone());
        }
        if !self.notes.is_empty() {
            document.heading(2, "Notes");
            document.list(&self.notes);
        }
        document
    }

    fn json(&self, figures: &[&str]) -> Map<String, Value> {
        let comparison = self.comparison.as_ref();
        let cells = comparison.map(|it| json::figures(it, &self.plan)).unwrap_or_default();
        let ratios = comparison.map(|it| json::ratios(it, &self.plan)).unwrap_or_default();
        let samples: Vec<Value> =
            comparison.into_iter().flat_map(|it| &it.samples).map(json::sample).collect();
        let steered: Option<&Vec<Steered>> = comparison.map(|it| &it.steered);
        let members = json!({
            "machine": self.machine,
            "rounds": self.plan.rounds,
            "pinning": self.plan.cores.to_string(),
            "comparison": cells,
            "ratios": ratios,
            "steered": steered,
            "resident": comparison.map(json::resident),
            "prefixes": self.prefixes,
            "policies": self.policies,
            "memory": self.crowd,
            "workloads": self.workloads,
            "connections": self.connections,
            "node": self.node,
            "curves": self.curves,
            "hop": self.hop,
            "streams": self.streams,
            "observing": self.observing,
            "targets": promises::with_remarks(&self.targets, &self.machine),
            "notes": self.notes,
            "figures": figures,
            "samples": samples,
        });
        members.as_object().cloned().unwrap_or_default()
    }
}

/// A figure as a cell of a table shows it: the median, and a word where the middle half makes it doubtful.
fn show(spread: Option<Spread>) -> String {
    match spread {
        None => "–".to_owned(),
        Some(spread) if spread.is_wide() => format!("{:.1} (wide)", spread.median),
        Some(spread) => format!("{:.1}", spread.median),
    }
}

fn memory_table(crowd: &Crowd) -> Table {
    let mut table = Table::with_head(["state", "resident", "per connection"]);
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    table.add(vec!["idle".to_owned(), megabytes(crowd.idle_bytes)]);
    table.add(vec![
        format!("{} idle connections", crowd.connections),
        megabytes(crowd.crowded_bytes),
        format!("{:.1} KiB", crowd.bytes_per_connection() / 1024.0),
    ]);
    table
}
