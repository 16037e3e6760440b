//! Where the hop goes: what one round trip, and one connection with a request, make of everybody on the way, step by
//! step.
//!
//! Four sources, each by itself, for each of them would disturb the others: the kernel's books, a clock
//! that looks where everybody is ([`samples`]), a count of system calls ([`calls`]) and the statistics of our BPF
//! programs ([`programs`]). What the machine does not have is left out and said.

mod calls;
mod play;
mod programs;
mod samples;
mod step;
mod tell;

use anyhow::{Context, Result};
use serde::Serialize;

use self::calls::Counting;
use self::play::{Played, SEATING, others, play};
use self::programs::STATISTICS;
use self::samples::Recording;
use self::step::Step;
use super::mode::Mode;
use super::pair::Pair;
use super::seating::{Cores, Role};
use super::setting::Setting;
use super::spread::Spread;
use super::work::Work;
use crate::lab::Lab;
use crate::lab::peer::Account;
use crate::process::find_program;

/// The ways that are compared, the reference first.
const MODES: [Mode; 3] = [Mode::NoCapture, Mode::RelayEbpf, Mode::RelayIptables];

/// How many of a process's heaviest functions are kept.
const HEAVIEST: usize = 25;

/// Where the hop goes.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Hop {
    /// Each way of each kind of work.
    pub(crate) passages: Vec<Passage>,
    /// What is left out, and why.
    pub(crate) notes: Vec<String>,
}

/// One kind of work on one way.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Passage {
    pub(crate) mode: Mode,
    #[serde(serialize_with = "tell::work_word")]
    pub(crate) work: Work,
    /// Median of the operation, in microseconds.
    pub(crate) p50_us: Option<Spread>,
    /// What each role used for it.
    pub(crate) roles: Vec<Used>,
    /// What the proxy called, by name; per operation.
    pub(crate) calls: Vec<Per>,
    /// What our programs ran, by name; runs per operation.
    pub(crate) programs: Vec<Program>,
}

/// What one role used for an operation.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Used {
    #[serde(serialize_with = "tell::role_word")]
    pub(crate) role: Role,
    /// Time on the processor, in microseconds.
    pub(crate) cpu_us: Option<Spread>,
    /// How often it waited. Unknown where threads end with their connection.
    pub(crate) waits: Option<Spread>,
    /// How often it had to let others run. Unknown where threads end with their connection.
    pub(crate) preemptions: Option<Spread>,
    /// The processor's time by step, in microseconds; empty if nobody could look.
    pub(crate) steps: Vec<(Step, f64)>,
    /// The same by innermost function.
    pub(crate) functions: Vec<(String, f64)>,
}

/// How often something happens in an operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Per {
    pub(crate) name: String,
    pub(crate) times: f64,
}

/// A BPF program's part in an operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// Runs per operation.
    pub(crate) runs: f64,
    /// Nanoseconds per run, those of the statistics themselves included.
    pub(crate) ns_per_run: f64,
}

/// What is looked at: a message on a connection that stands, and a connection from its beginning to its end.
const WORKS: [Work; 2] = [Work::PingPong, Work::Request];

/// Looks at every way in turn.
pub(crate) fn measure(lab: &Lab, rounds: usize, cores: Cores) -> Result<Hop> {
    let mut pairs = Vec::new();
    let mut notes = Vec::new();
    for mode in MODES {
        match Pair::raise(lab, mode) {
            Ok(pair) => pairs.push(pair),
            Err(error) => {
                lab.patience().check()?;
                notes.push(format!("hop: {} is left out: {error:#}", mode.title()));
            }
        }
    }
    let ways: Vec<(&Pair, Work)> =
        WORKS.into_iter().flat_map(|work| pairs.iter().map(move |pair| (pair, work))).collect();
    let mut runs: Vec<Vec<Played>> = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for ((pair, work), runs) in ways.iter().zip(&mut runs) {
            lab.patience().check()?;
            runs.push(play(pair, *work, count(*work), cores)?);
        }
    }
    let mut passages = Vec::new();
    for ((pair, work), runs) in ways.iter().zip(&runs) {
        passages.push(Passage {
            mode: pair.mode(),
            work: *work,
            p50_us: Spread::of(runs.iter().map(Played::p50_us)),
            roles: roles(pair, *work, runs),
            calls: Vec::new(),
            programs: Vec::new(),
        });
    }
    for (tool, source) in SOURCES {
        let seen = match find_program(tool) {
            None => {
                Err(anyhow::anyhow!("there is no `{tool}` on this machine; `cargo xtask setup` installs it"))
            }
            Some(_) => ways.iter().zip(&mut passages).try_for_each(|((pair, _), passage)| {
                lab.patience().check()?;
                source(lab, cores, pair, passage)
            }),
        };
        lab.patience().check()?;
        if let Err(error) = seen {
            notes.push(format!("hop: what {tool} would tell is left out: {error:#}"));
        }
    }
    Ok(Hop { passages, notes })
}

/// How often an operation is done while somebody looks.
fn count(work: Work) -> usize {
    match work {
        Work::Request => 2_000,
        _ => 10_000,
    }
}

/// What the kernel's books say.
fn roles(pair: &Pair, work: Work, runs: &[Played]) -> Vec<Used> {
    let present = [Role::Client, Role::Server, Role::Proxy];
    let present = present.into_iter().filter(|role| *role != Role::Proxy || pair.sidecar_pid().is_some());
    let used = present.map(|role| {
        let per = |of: fn(Account) -> u64| {
            Spread::of(runs.iter().map(|run| of(run.account(role)) as f64 / run.operations()))
        };
        // A server's echoing threads end with their connection, and their switches are lost.
        let threads_live = role != Role::Server || work == Work::Request;
        Used {
            role,
            cpu_us: per(|account| account.cpu_ns).map(|spread| spread.scaled(1e-3)),
            waits: per(|account| account.voluntary_switches).filter(|_| threads_live),
            preemptions: per(|account| account.involuntary_switches).filter(|_| threads_live),
            steps: Vec::new(),
            functions: Vec::new(),
        }
    });
    used.collect()
}

/// Somebody who looks at a pair at work and adds to its passage.
type Source = fn(&Lab, Cores, &Pair, &mut Passage) -> Result<()>;

/// The tools that look, each at all passages before the next one does.
const SOURCES: [(&str, Source); 3] =
    [("perf", look_at_steps), ("strace", look_at_calls), ("bpftool", look_at_programs)];

fn look_at_steps(lab: &Lab, cores: Cores, pair: &Pair, passage: &mut Passage) -> Result<()> {
    let core = pair.seat(SEATING, cores)?;
    let recording = Recording::start(lab, core)?;
    let played = play(pair, passage.work, count(passage.work), cores);
    let samples = recording.end()?;
    let mut processes = others(pair);
    processes.push((Role::Client, played?.client()));
    for used in &mut passage.roles {
        let process = processes.iter().find(|(role, _)| *role == used.role).map(|(_, process)| *process);
        if let (Some(process), Some(cpu)) = (process, used.cpu_us) {
            let steps = Step::ALL.into_iter().map(|step| (step, samples.share(process, step) * cpu.median));
            used.steps = steps.collect();
            let heaviest = samples.heaviest(process, HEAVIEST).into_iter();
            used.functions = heaviest.map(|(name, share)| (name, share * cpu.median)).collect();
        }
    }
    Ok(())
}

fn look_at_calls(lab: &Lab, cores: Cores, pair: &Pair, passage: &mut Passage) -> Result<()> {
    let Some(proxy) = pair.sidecar_pid() else { return Ok(()) };
    let counting = Counting::start(lab, proxy)?;
    // Stopped at every call, the proxy is slow: fewer have to do.
    let played = play(pair, passage.work, count(passage.work) / 2, cores);
    let calls = counting.end()?;
    let operations = played?.seen();
    passage.calls =
        calls.into_iter().map(|(name, calls)| Per { name, times: calls as f64 / operations }).collect();
    Ok(())
}

fn look_at_programs(_: &Lab, cores: Cores, pair: &Pair, passage: &mut Passage) -> Result<()> {
    if pair.mode() != Mode::RelayEbpf {
        return Ok(());
    }
    let _kept =
        Setting::at_least(STATISTICS, 1).context("have the kernel keep statistics of BPF programs")?;
    let before = programs::of(pair.client_pod())?;
    let played = play(pair, passage.work, count(passage.work), cores)?;
    let after = programs::of(pair.client_pod())?;
    let runs = programs::between(&before, &after).into_iter();
    passage.programs = runs
        .map(|run| Program {
            name: run.name,
            runs: run.count as f64 / played.seen(),
            ns_per_run: run.nanoseconds as f64 / run.count as f64,
        })
        .collect();
    Ok(())
}
