//! The account of the hop as tables.

use serde::Serializer;

use super::{Hop, Passage, Step, Used};
use crate::bench::mode::Mode;
use crate::bench::seating::Role;
use crate::bench::spread::Spread;
use crate::bench::table::Table;
use crate::bench::work::Work;

/// What happens less often than this is no part of an operation.
const RARE: f64 = 0.02;
/// How many functions a table shows.
const FUNCTIONS: usize = 12;

impl Hop {
    /// Every table with its title.
    pub(crate) fn tables(&self) -> Vec<(String, Table)> {
        let mut tables = Vec::new();
        for work in Work::ALL {
            let passages: Vec<&Passage> = self.passages.iter().filter(|it| it.work == work).collect();
            if passages.is_empty() {
                continue;
            }
            let title = work.title();
            tables.push((
                format!("Where the hop goes: {title}, one core, µs of CPU per operation"),
                steps(&passages),
            ));
            tables.push((format!("Who uses what: {title}, one core, per operation"), accounts(&passages)));
        }
        tables.push(("System calls of the proxy per operation".to_owned(), self.calls()));
        tables.push(("Our BPF programs".to_owned(), self.programs()));
        tables.push(("The proxy's heaviest functions, µs per operation".to_owned(), self.functions()));
        tables
    }

    fn with_proxy(&self) -> Vec<&Passage> {
        self.passages.iter().filter(|passage| passage.mode != Mode::NoCapture).collect()
    }

    fn calls(&self) -> Table {
        let passages = self.with_proxy();
        let mut table = headed("system call", passages.iter().map(|it| column(it)));
        let often = passages.iter().flat_map(|it| &it.calls).filter(|call| call.times >= RARE);
        let mut names: Vec<&str> = Vec::new();
        for call in often {
            if !names.contains(&call.name.as_str()) {
                names.push(&call.name);
            }
        }
        for name in names {
            let times = passages.iter().map(|it| it.calls.iter().find(|call| call.name == name));
            let shown = times.map(|call| call.map_or_else(none, |call| format!("{:.2}", call.times)));
            table.add(std::iter::once(name.to_owned()).chain(shown).collect());
        }
        let sums = passages.iter().map(|it| it.calls.iter().map(|call| call.times).sum::<f64>());
        table.add(std::iter::once("all".to_owned()).chain(sums.map(|sum| format!("{sum:.2}"))).collect());
        table
    }

    fn programs(&self) -> Table {
        let mut table =
            Table::with_head(["work", "program", "runs per operation", "ns per run", "ns per operation"]);
        for passage in &self.passages {
            for program in passage.programs.iter().filter(|program| program.runs >= RARE) {
                table.add(vec![
                    passage.work.title().to_owned(),
                    program.name.clone(),
                    format!("{:.2}", program.runs),
                    format!("{:.0}", program.ns_per_run),
                    format!("{:.0}", program.runs * program.ns_per_run),
                ]);
            }
        }
        table
    }

    fn functions(&self) -> Table {
        let mut table = Table::with_head(["work", "capture", "function", "µs"]);
        for passage in self.with_proxy() {
            let proxy = passage.roles.iter().find(|used| used.role == Role::Proxy);
            for (name, microseconds) in
                proxy.into_iter().flat_map(|used| used.functions.iter().take(FUNCTIONS))
            {
                table.add(vec![
                    passage.work.title().to_owned(),
                    passage.mode.word().to_owned(),
                    format!("`{name}`"),
                    format!("{microseconds:.2}"),
                ]);
            }
        }
        table
    }
}

/// One column for those who talk, one for the proxy between them.
fn steps(passages: &[&Passage]) -> Table {
    let mut columns: Vec<(String, Vec<&Used>)> = Vec::new();
    for passage in passages {
        let (proxy, ends): (Vec<&Used>, Vec<&Used>) =
            passage.roles.iter().partition(|used| used.role == Role::Proxy);
        columns.push((format!("{}: client and server", passage.mode.title()), ends));
        if !proxy.is_empty() {
            columns.push((format!("{}: proxy", passage.mode.title()), proxy));
        }
    }
    let mut table = headed("step", columns.iter().map(|(title, _)| title.clone()));
    for step in Step::ALL {
        let shown = columns.iter().map(|(_, used)| {
            let steps = used.iter().flat_map(|used| &used.steps).filter(|(of, _)| *of == step);
            format!("{:.2}", steps.map(|(_, microseconds)| microseconds).sum::<f64>())
        });
        table.add(std::iter::once(step.title().to_owned()).chain(shown).collect());
    }
    let sums = columns.iter().map(|(_, used)| {
        let cpu = used.iter().filter_map(|used| used.cpu_us);
        format!("{:.2}", cpu.map(|spread| spread.median).sum::<f64>())
    });
    table.add(std::iter::once("all".to_owned()).chain(sums).collect());
    table
}

fn accounts(passages: &[&Passage]) -> Table {
    let mut table = Table::with_head([
        "way",
        "p50 µs",
        "CPU client µs",
        "CPU server µs",
        "CPU proxy µs",
        "CPU all µs",
        "waits of the proxy",
        "preemptions of the proxy",
        "waits of the server",
    ]);
    for passage in passages {
        let used = |role| passage.roles.iter().find(|used| used.role == role);
        let cpu = |role| used(role).and_then(|used| used.cpu_us);
        let all: f64 = passage.roles.iter().filter_map(|used| used.cpu_us).map(|cpu| cpu.median).sum();
        table.add(vec![
            passage.mode.title().to_owned(),
            show(passage.p50_us),
            show(cpu(Role::Client)),
            show(cpu(Role::Server)),
            show(cpu(Role::Proxy)),
            format!("{all:.2}"),
            show(used(Role::Proxy).and_then(|used| used.waits)),
            show(used(Role::Proxy).and_then(|used| used.preemptions)),
            show(used(Role::Server).and_then(|used| used.waits)),
        ]);
    }
    table
}

fn column(passage: &Passage) -> String {
    format!("{}, {}", passage.work.word(), passage.mode.word())
}

fn headed(first: &str, others: impl Iterator<Item = String>) -> Table {
    Table::with_columns(std::iter::once(first.to_owned()).chain(others).collect())
}

fn show(spread: Option<Spread>) -> String {
    spread.map_or_else(none, |spread| format!("{:.2}", spread.median))
}

fn none() -> String {
    "–".to_owned()
}

pub(super) fn work_word<S: Serializer>(work: &Work, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(work.word())
}

pub(super) fn role_word<S: Serializer>(role: &Role, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match role {
        Role::Client => "client",
        Role::Server => "server",
        Role::Proxy => "proxy",
        Role::FarProxy => "far proxy",
    })
}
