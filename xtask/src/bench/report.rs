//! The outcome of a run, for people (Markdown, and the same on the terminal) and for programs (JSON).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::crowd::Crowd;
use super::growth::Curve;
use super::growth::connections::Connections;
use super::growth::workloads::Workloads;
use super::hop::Hop;
use super::machine::Machine;
use super::mode::Mode;
use super::prefixes::{FEW, MANY, Prefixes};
use super::rounds::{Comparison, Figure, Plan, Steered};
use super::seating::Seating;
use super::spread::Spread;
use super::table::Table;
use super::target::Target;
use super::work::Work;

/// Everything there is to tell of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    pub(crate) comparison: Option<Comparison>,
    pub(crate) prefixes: Option<Prefixes>,
    pub(crate) crowd: Option<Crowd>,
    pub(crate) workloads: Option<Workloads>,
    pub(crate) connections: Option<Connections>,
    pub(crate) hop: Option<Hop>,
    pub(crate) curves: Vec<Curve>,
    /// Further tables with their titles.
    pub(crate) sections: Vec<(String, Table)>,
    pub(crate) targets: Vec<Target>,
    /// What a reader should know next to the figures.
    pub(crate) notes: Vec<String>,
}

/// One mode's figures for one kind of work in one column; all in microseconds.
#[derive(Debug, Serialize)]
struct Cell {
    mode: &'static str,
    seating: &'static str,
    work: &'static str,
    p50_us: Option<Spread>,
    p99_us: Option<Spread>,
    connect_p50_us: Option<Spread>,
}

impl Report {
    /// Writes report.json and report.md into a directory.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let json = serde_json::to_string_pretty(&self.json()).context("write the report as JSON")?;
        for (name, text) in [("report.json", json + "\n"), ("report.md", self.markdown())] {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// The report as text.
    pub(crate) fn markdown(&self) -> String {
        let Machine { date, kernel, cpu, cores, sidestep, commit, load_before, load_after } = &self.machine;
        let mut text = format!(
            "# Bench\n\n\
             {date}, Linux {kernel}, {cpu} ({cores} cores), {sidestep} at {commit}, {rounds} interleaved rounds, \
             pinned to {pinning}, load average {load_before:.2} before and {load_after:.2} after.\n",
            rounds = self.plan.rounds,
            pinning = self.plan.cores,
        );
        if let Some(comparison) = &self.comparison {
            for &seating in &self.plan.seatings {
                section(&mut text, &format!("Latency, {}, µs", seating.title()));
                _ = write!(text, "{}", latency_table(comparison, &self.plan, seating));
            }
        }
        if let Some(prefixes) = &self.prefixes {
            section(&mut text, "Verdict cost, one core, connect p50, µs");
            _ = write!(text, "{}", prefixes_table(prefixes));
        }
        if let Some(crowd) = &self.crowd {
            section(&mut text, "Memory of one sidecar, resident");
            _ = write!(text, "{}", memory_table(crowd));
        }
        for (title, table) in &self.sections {
            section(&mut text, title);
            _ = write!(text, "{table}");
        }
        section(&mut text, "Targets");
        _ = write!(text, "{}", targets_table(&self.targets));
        if !self.notes.is_empty() {
            section(&mut text, "Notes");
            for note in &self.notes {
                _ = writeln!(text, "- {note}");
            }
        }
        text
    }

    fn json(&self) -> Value {
        let comparison = self.comparison.as_ref();
        let cells: Vec<Cell> = comparison.map(|it| cells(it, &self.plan)).unwrap_or_default();
        let samples: Vec<Value> = comparison.into_iter().flat_map(|it| &it.samples).map(sample).collect();
        let steered: Option<&Vec<Steered>> = comparison.map(|it| &it.steered);
        json!({
            "machine": self.machine,
            "rounds": self.plan.rounds,
            "pinning": self.plan.cores.to_string(),
            "latency": cells,
            "steered": steered,
            "prefixes": self.prefixes,
            "memory": self.crowd,
            "workloads": self.workloads,
            "connections": self.connections,
            "curves": self.curves,
            "hop": self.hop,
            "targets": self.targets,
            "notes": self.notes,
            "samples": samples,
        })
    }
}

/// The rows of [`Mode`]s for one column: also what a demonstration shows.
pub(crate) fn latency_table(comparison: &Comparison, plan: &Plan, seating: Seating) -> Table {
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

fn section(text: &mut String, title: &str) {
    _ = writeln!(text, "\n## {title}\n");
}

fn show(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| format!("{:.1}", spread.median))
}

fn prefixes_table(prefixes: &Prefixes) -> Table {
    let (few, many) = (format!("{FEW} prefixes"), format!("{MANY} prefixes"));
    let mut table = Table::with_head(["verdict", &few, &many, "ratio"]);
    for (verdict, [few, many], ratio) in [
        ("direct", prefixes.direct_us, prefixes.direct_ratio),
        ("deny", prefixes.denied_us, prefixes.denied_ratio),
    ] {
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{:.2}×", ratio.median));
        table.add(vec![verdict.to_owned(), show(few), show(many), ratio]);
    }
    table
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

fn targets_table(targets: &[Target]) -> Table {
    let mut table = Table::with_head(["target", "limit", "found", "middle half", ""]);
    for target in targets {
        let found = target.found.map_or_else(|| "–".to_owned(), |found| target.show(found.median));
        let half = target.found.filter(|found| found.of > 1).map_or_else(String::new, |found| {
            format!("{} – {}", target.show(found.lower), target.show(found.upper))
        });
        table.add(vec![target.what.clone(), target.show_limit(), found, half, target.standing.to_string()]);
    }
    table
}

fn cells(comparison: &Comparison, plan: &Plan) -> Vec<Cell> {
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

fn sample(sample: &super::rounds::Sample) -> Value {
    json!({
        "round": sample.round,
        "mode": sample.mode.word(),
        "seating": sample.seating.word(),
        "work": sample.work.word(),
        "whole": sample.answer.whole,
        "connect": sample.answer.connect,
    })
}
