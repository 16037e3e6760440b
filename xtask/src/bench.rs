//! `bench`: what capture costs, on this machine, in this run.
//!
//! Modes ([`mode`]), kinds of work ([`work`]) and who sits on which core ([`seating`]) are the axes; [`rounds`] walks
//! them interleaved, [`prefixes`] and [`crowd`] look at verdicts and memory, [`target`] holds the figures against what was
//! promised, [`report`] tells. Figures of different runs, let alone machines, are never compared.

mod crowd;
mod growth;
mod hop;
mod machine;
mod mode;
mod pair;
mod prefixes;
mod report;
mod rounds;
mod seating;
mod setting;
mod spread;
mod table;
mod target;
mod work;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;

use self::growth::connections::{self, Connections};
use self::growth::workloads::{self, Breadth, Workloads};
use self::machine::Machine;
use self::prefixes::Prefixes;
use self::report::Report;
use self::target::Standing;
use crate::build::{self, Arch, Linkage, Profile};
use crate::build_ebpf;
use crate::lab::{self, Lab};
use crate::process::find_program;
use crate::workspace::Workspace;

pub(crate) use self::mode::Mode;
pub(crate) use self::report::latency_table;
pub(crate) use self::rounds::{Comparison, Plan, Steered, compare};
pub(crate) use self::seating::{Cores, Seating};
pub(crate) use self::work::{Part, Work};

/// Rounds of a quick run.
const QUICK_ROUNDS: usize = 11;
/// Rounds of a run that has time.
const ROUNDS: usize = 31;

/// What to measure and where to tell it.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Fewer rounds: under four minutes
    #[arg(long)]
    quick: bool,
    /// How many interleaved rounds [default: 31, or 11 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Only these measurements
    #[arg(long, value_enum, value_name = "NAME", num_args = 1..)]
    only: Vec<Measurement>,
    /// Where to put report.json and report.md [default: target/bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Something that can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// Round trips on one connection, in every mode
    PingPong,
    /// Connections of one request each, in every mode
    ConnectRequestClose,
    /// Verdicts with few and with many prefixes
    Prefixes,
    /// What a sidecar weighs
    Memory,
    /// How many connections few local ports allow
    Ports,
    /// One workload beside up to 250 others
    Workloads,
    /// Further connections beside up to 8,000 that stand
    Connections,
    /// Where the hop goes, step by step
    Hop,
}

impl Flags {
    fn measures(&self, measurement: Measurement) -> bool {
        self.only.is_empty() || self.only.contains(&measurement)
    }

    fn rounds(&self) -> usize {
        let default = if self.quick { QUICK_ROUNDS } else { ROUNDS };
        self.rounds.map_or(default, usize::from)
    }

    fn breadth(&self) -> Breadth {
        if self.quick { Breadth::Few } else { Breadth::All }
    }

    /// How often the node is filled with workloads.
    fn climbs(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    /// Rounds of what is not compared as closely as the modes are.
    fn few_rounds(&self) -> usize {
        self.rounds().div_ceil(4)
    }

    fn works(&self) -> Vec<Work> {
        let wanted = |work: &Work| {
            self.measures(match work {
                Work::PingPong => Measurement::PingPong,
                Work::Request => Measurement::ConnectRequestClose,
            })
        };
        Work::ALL.into_iter().filter(wanted).collect()
    }
}

/// Measures, tells on stdout, and writes the report. A missed target is part of the report, not a failure of the run.
pub(crate) fn run(workspace: &Workspace, flags: &Flags) -> Result<()> {
    lab::require_root("bench")?;
    build_ebpf::run(workspace, &build_ebpf::Flags::default())?;
    // What ships: the static release binary.
    let sidestep = build::sidestep(workspace, Profile::Release, Linkage::Static(Arch::host()?))?;
    let cores = Cores::of_this_machine()?;
    let plan = Plan {
        modes: Mode::ALL.to_vec(),
        works: flags.works(),
        seatings: cores.seatings(),
        rounds: flags.rounds(),
        cores,
    };
    let machine = Machine::look(workspace, &sidestep);
    let lab = Lab::open("sidestep-bench", sidestep)?;
    let report = measure(&lab, flags, plan, machine)?;
    println!("{}", report.markdown());
    let out = flags.out.clone().unwrap_or_else(|| workspace.artifact("bench"));
    report.write(&out)?;
    let count = |standing| report.targets.iter().filter(|target| target.standing == standing).count();
    println!(
        "bench: {} targets met, {} missed, {} not measured; {}",
        count(Standing::Met),
        count(Standing::Missed),
        count(Standing::NotMeasured),
        out.join("report.md").display()
    );
    Ok(())
}

fn measure(lab: &Lab, flags: &Flags, plan: Plan, machine: Machine) -> Result<Report> {
    let mut report = Report {
        machine,
        plan,
        comparison: None,
        prefixes: None,
        crowd: None,
        workloads: None,
        connections: None,
        hop: None,
        curves: Vec::new(),
        sections: Vec::new(),
        targets: Vec::new(),
        notes: Vec::new(),
    };
    report.notes.extend(report.machine.warning());
    if !report.plan.works.is_empty() {
        measure_latency(lab, &mut report)?;
    }
    if flags.measures(Measurement::Prefixes) {
        let began = begin("prefixes");
        let measured = prefixes::measure(lab, flags.breadth(), report.plan.rounds, report.plan.cores);
        report.prefixes = report.unless_failed(lab, "prefixes", measured)?;
        report.sections.extend(report.prefixes.iter().flat_map(Prefixes::tables));
        report.curves.extend(report.prefixes.iter().flat_map(Prefixes::curves));
        report.targets.extend(target::of_prefixes(report.prefixes.as_ref()));
        end(began);
    }
    if flags.measures(Measurement::Workloads) {
        let began = begin("workloads");
        let samples = report.plan.rounds.div_ceil(flags.climbs());
        let measured = workloads::measure(lab, flags.breadth(), flags.climbs(), samples, report.plan.cores);
        report.workloads = report.unless_failed(lab, "workloads", measured)?;
        report.sections.extend(report.workloads.iter().flat_map(Workloads::tables));
        report.notes.extend(report.workloads.iter().flat_map(|it| it.notes.iter().cloned()));
        report.curves.extend(report.workloads.iter().flat_map(Workloads::curves));
        report.targets.extend(target::of_workloads(report.workloads.as_ref()));
        end(began);
    }
    if flags.measures(Measurement::Connections) {
        let began = begin("connections");
        let measured = connections::measure(lab, flags.breadth(), report.plan.rounds, report.plan.cores);
        report.connections = report.unless_failed(lab, "connections", measured)?;
        report.sections.extend(report.connections.iter().flat_map(Connections::tables));
        report.curves.extend(report.connections.iter().flat_map(Connections::curves));
        report.targets.extend(target::of_connections(report.connections.as_ref()));
        end(began);
    }
    if flags.measures(Measurement::Memory) {
        let began = begin("memory");
        // The same connections need not be opened twice.
        report.crowd = match report.connections.as_ref().and_then(Connections::crowd) {
            Some(crowd) => Some(crowd),
            None => {
                let measured = crowd::weigh(lab);
                report.unless_failed(lab, "memory", measured)?
            }
        };
        report.targets.extend(target::of_memory(report.crowd.as_ref()));
        end(began);
    }
    if flags.measures(Measurement::Ports) {
        let began = begin("ports");
        let measured = crowd::count_with_few_ports(lab);
        let standing = report.unless_failed(lab, "ports", measured)?;
        report.targets.push(target::of_ports(standing));
        end(began);
    }
    if flags.measures(Measurement::Hop) {
        let began = begin("hop");
        let measured = hop::measure(lab, flags.few_rounds(), report.plan.cores);
        if let Some(hop) = report.unless_failed(lab, "hop", measured)? {
            report.sections.extend(hop.tables());
            report.notes.extend(hop.notes.iter().cloned());
            report.hop = Some(hop);
        }
        end(began);
    }
    report.machine.look_again();
    Ok(report)
}

fn measure_latency(lab: &Lab, report: &mut Report) -> Result<()> {
    let began = begin("latency");
    let rounds = report.plan.rounds;
    let comparison = compare(lab, &report.plan, |round| eprint!(" {}/{rounds}", round + 1))
        .context("compare the modes")?;
    end(began);
    for &seating in &report.plan.seatings {
        report.targets.extend(target::of_latency(&comparison, &report.plan.works, seating));
    }
    report.notes.extend(notes(&comparison));
    report.comparison = Some(comparison);
    Ok(())
}

impl Report {
    /// A measurement that failed costs its own figures, not those of the others; an interruption ends the run.
    fn unless_failed<T>(&mut self, lab: &Lab, what: &str, measured: Result<T>) -> Result<Option<T>> {
        lab.patience().check()?;
        match measured {
            Ok(measured) => Ok(Some(measured)),
            Err(error) => {
                self.notes.push(format!("{what} could not be measured: {error:#}"));
                Ok(None)
            }
        }
    }
}

/// What has to be known to believe a comparison.
pub(crate) fn notes(comparison: &Comparison) -> Vec<String> {
    let absent = comparison.absent.iter();
    let mut notes: Vec<String> =
        absent.map(|(mode, why)| format!("{} is left out: {why}", mode.title())).collect();
    for Steered { mode, made, steered } in &comparison.steered {
        notes.push(match steered < made {
            false => {
                format!("{mode}: all of {made} connections were steered, by its own counters ({steered})")
            }
            true => {
                format!("{mode}: only {steered} of {made} connections were steered: its figures flatter it")
            }
        });
    }
    if find_program("conntrack").is_none() {
        notes.push(
            "iptables: tracked connections were not flushed between rounds, there is no `conntrack` on this machine"
                .to_owned(),
        );
    }
    notes
}

fn begin(what: &str) -> Instant {
    eprint!("bench: {what}");
    Instant::now()
}

fn end(began: Instant) {
    eprintln!(" ({:.0} s)", began.elapsed().as_secs_f64());
}
