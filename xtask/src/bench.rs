//! `bench`: what capture costs, on this machine, in this run.
//!
//! Modes ([`mode`]), kinds of work ([`work`]) and who sits on which core ([`seating`]) are the axes; [`rounds`] walks
//! them interleaved, [`prefixes`], [`policies`] and [`crowd`] look at verdicts and memory, [`target`] holds the figures against what was
//! promised, [`report`] tells. Figures of different runs, let alone machines, are never compared.

mod account;
mod chart;
mod crowd;
mod document;
mod flags;
mod foreign;
mod growth;
mod hop;
mod machine;
mod mode;
mod node;
mod observing;
mod pair;
mod policies;
mod prefixes;
mod progress;
mod report;
mod rounds;
mod seating;
mod setting;
mod spread;
mod streams;
mod table;
mod target;
mod way;
mod work;

use std::fs;

use anyhow::{Context, Result};

use self::flags::Measurement;
use self::growth::connections::{self, Connections};
use self::growth::workloads::{self, Workloads};
use self::machine::Machine;
use self::node::NodeFigures;
use self::observing::Observing;
use self::policies::Policies;
use self::prefixes::Prefixes;
use self::progress::Progress;
use self::report::Report;
use self::streams::Streams;
use self::target::Standing;
use crate::build::{self, Arch, Linkage, Profile};
use crate::build_ebpf;
use crate::lab::{self, Lab};
use crate::process::find_program;
use crate::setup;
use crate::workspace::Workspace;

pub(crate) use self::flags::Flags;
pub(crate) use self::mode::Mode;
pub(crate) use self::report::latency_table;
pub(crate) use self::rounds::{Comparison, Figure, Measure, Plan, Steered, compare};
pub(crate) use self::seating::{Cores, Seating};
pub(crate) use self::work::{Part, Work};

/// Measures, tells on stdout, and writes the report. A missed target is part of the report, not a failure of the run.
pub(crate) fn run(workspace: &Workspace, flags: &Flags) -> Result<()> {
    lab::require_root("bench")?;
    // What it cannot get is said by the modes that miss it.
    setup::prepare_bench(workspace)?;
    let sidestep = match &flags.binary {
        Some(built) => fs::canonicalize(built).with_context(|| format!("find {}", built.display()))?,
        None => {
            build_ebpf::run(workspace, &build_ebpf::Flags::default())?;
            // What ships: the static release binary.
            build::sidestep(workspace, Profile::Release, Linkage::Static(Arch::host()?))?
        }
    };
    let plan = flags.plan(Cores::of_this_machine()?);
    let machine = Machine::look(workspace, &sidestep);
    let lab = Lab::open("sidestep-bench", sidestep)?;
    let mut report = Report::new(machine, plan);
    let measured = measure(&lab, flags, &mut report);
    // Whatever ended it: what was measured until then is told.
    if let Err(error) = &measured {
        report.notes.push(format!("the run ended before its time: {error:#}"));
    }
    report.machine.look_again();
    println!("{}", report.markdown());
    let out = flags.out.clone().unwrap_or_else(|| workspace.artifact("bench"));
    report.write(&out)?;
    let count = |standing| report.targets.iter().filter(|target| target.standing == standing).count();
    println!(
        "bench: {} targets met, {} missed, {} not measured; {}",
        count(Standing::Met),
        count(Standing::Missed),
        count(Standing::NotMeasured),
        out.join("report.html").display()
    );
    measured
}

fn measure(lab: &Lab, flags: &Flags, report: &mut Report) -> Result<()> {
    let others = [
        Measurement::Prefixes,
        Measurement::Policies,
        Measurement::Workloads,
        Measurement::Node,
        Measurement::Connections,
        Measurement::Memory,
        Measurement::Ports,
        Measurement::Hop,
        Measurement::Tunnel,
        Measurement::Http,
    ];
    let others = others.into_iter().filter(|&other| flags.measures(other)).count();
    let (extent, cores) = (flags.extent(), report.plan.cores);
    let rounds = if report.plan.turns.is_empty() { 0 } else { report.plan.rounds };
    // Rounds of what is not compared as closely as the modes are.
    let few_rounds = report.plan.rounds.div_ceil(4);
    let mut progress = Progress::of((rounds + others) as u64)?;
    if rounds > 0 {
        progress.phase("the ways compared");
        let mut comparison = Comparison::default();
        let compared = compare(lab, &report.plan, &mut comparison, |_| progress.step());
        report.take(comparison);
        report.unless_failed(lab, "the comparison", compared)?;
    }
    if flags.measures(Measurement::Prefixes) {
        progress.phase("prefixes");
        let measured = prefixes::measure(lab, extent, report.plan.rounds, cores);
        report.prefixes = report.unless_failed(lab, "prefixes", measured)?;
        report.sections.extend(report.prefixes.iter().flat_map(Prefixes::tables));
        report.curves.extend(report.prefixes.iter().flat_map(Prefixes::curves));
        report.targets.extend(target::of_prefixes(report.prefixes.as_ref()));
        progress.step();
    }
    if flags.measures(Measurement::Policies) {
        progress.phase("policies");
        let measured = policies::measure(lab, extent, few_rounds, cores);
        report.policies = report.unless_failed(lab, "policies", measured)?;
        report.sections.extend(report.policies.iter().flat_map(Policies::tables));
        report.curves.extend(report.policies.iter().flat_map(Policies::curves));
        report.targets.extend(target::of_policies(report.policies.as_ref()));
        progress.step();
    }
    if flags.measures(Measurement::Workloads) {
        progress.phase("workloads");
        let measured = workloads::measure(lab, extent, report.plan.rounds, cores);
        report.workloads = report.unless_failed(lab, "workloads", measured)?;
        report.sections.extend(report.workloads.iter().flat_map(Workloads::tables));
        report.notes.extend(report.workloads.iter().flat_map(|it| it.notes.iter().cloned()));
        report.curves.extend(report.workloads.iter().flat_map(Workloads::curves));
        report.targets.extend(target::of_workloads(report.workloads.as_ref()));
        progress.step();
    }
    if flags.measures(Measurement::Node) {
        progress.phase("one agent for all pods");
        let measured = node::measure(lab, extent, report.plan.rounds, cores);
        report.node = report.unless_failed(lab, "the agent of a node", measured)?;
        report.sections.extend(report.node.iter().flat_map(NodeFigures::tables));
        report.notes.extend(report.node.iter().flat_map(|it| it.notes.iter().cloned()));
        report.curves.extend(report.node.iter().flat_map(NodeFigures::curves));
        report.targets.extend(target::of_node(report.node.as_ref()));
        progress.step();
    }
    if flags.measures(Measurement::Connections) {
        progress.phase("connections");
        let measured = connections::measure(lab, extent, report.plan.rounds, cores);
        report.connections = report.unless_failed(lab, "connections", measured)?;
        report.sections.extend(report.connections.iter().flat_map(Connections::tables));
        report.curves.extend(report.connections.iter().flat_map(Connections::curves));
        report.targets.extend(target::of_connections(report.connections.as_ref()));
        progress.step();
    }
    if flags.measures(Measurement::Memory) {
        progress.phase("memory");
        // The same connections need not be opened twice.
        report.crowd = match report.connections.as_ref().and_then(Connections::crowd) {
            Some(crowd) => Some(crowd),
            None => {
                let measured = crowd::weigh(lab);
                report.unless_failed(lab, "memory", measured)?
            }
        };
        report.targets.extend(target::of_memory(report.crowd.as_ref()));
        progress.step();
    }
    if flags.measures(Measurement::Ports) {
        progress.phase("ports");
        let measured = crowd::count_with_few_ports(lab);
        let standing = report.unless_failed(lab, "ports", measured)?;
        report.targets.push(target::of_ports(standing));
        progress.step();
    }
    if flags.measures(Measurement::Tunnel) {
        progress.phase("idle streams");
        let measured = streams::measure(lab);
        report.streams = report.unless_failed(lab, "idle streams", measured)?;
        report.sections.extend(report.streams.iter().flat_map(Streams::tables));
        report.notes.extend(report.streams.iter().flat_map(|it| it.notes.iter().cloned()));
        report.targets.extend(target::of_streams(report.streams.as_ref()));
        progress.step();
    }
    if flags.measures(Measurement::Http) {
        progress.phase("what observing weighs");
        let measured = observing::weigh(lab);
        report.observing = report.unless_failed(lab, "what observing weighs", measured)?;
        report.sections.extend(report.observing.iter().flat_map(Observing::tables));
        report.targets.extend(target::of_observing(report.observing.as_ref()));
        progress.step();
    }
    if flags.measures(Measurement::Hop) {
        progress.phase("where the hop goes");
        let measured = hop::measure(lab, few_rounds, report.plan.cores);
        if let Some(hop) = report.unless_failed(lab, "where the hop goes", measured)? {
            report.sections.extend(hop.tables());
            report.notes.extend(hop.notes.iter().cloned());
            report.hop = Some(hop);
        }
        progress.step();
    }
    Ok(())
}

impl Report {
    /// Takes a comparison over, be it whole or not.
    fn take(&mut self, comparison: Comparison) {
        self.targets.extend(target::of_comparison(&comparison, &self.plan));
        self.notes.extend(notes(&comparison));
        self.comparison = Some(comparison);
    }

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
