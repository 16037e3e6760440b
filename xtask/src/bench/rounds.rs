//! Interleaved rounds: every mode once, then every mode again, so that whatever the machine does besides hits all of
//! them alike, and ratios are taken within a round.

mod comparison;
mod figure;
mod pace;
#[cfg(test)]
mod testing;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::account::Measured;
use super::mode::Mode;
use super::pair::Pair;
use super::seating::{Cores, Seating};
use super::way::Side;
use super::work::Work;
use crate::lab::Lab;
use crate::lab::peer::{Account, Answer};

pub(crate) use comparison::Comparison;
pub(crate) use figure::{Better, Figure, Measure};
pub(crate) use pace::Pace;
#[cfg(test)]
pub(crate) use testing::sample as ping_pong;

/// What is to be compared.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) modes: Vec<Mode>,
    /// What is done in each round, where.
    pub(crate) turns: Vec<(Work, Seating)>,
    pub(crate) rounds: usize,
    pub(crate) cores: Cores,
}

impl Plan {
    /// The columns that anything is done in.
    pub(crate) fn seatings(&self) -> impl Iterator<Item = Seating> {
        let used = |seating: &Seating| self.turns.iter().any(|(_, own)| own == seating);
        Seating::ALL.into_iter().filter(used)
    }

    /// What is done in one column.
    pub(crate) fn works(&self, seating: Seating) -> impl Iterator<Item = Work> {
        self.turns.iter().filter(move |(_, own)| *own == seating).map(|&(work, _)| work)
    }
}

/// One sample: many operations of one client run.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) mode: Mode,
    pub(crate) work: Work,
    pub(crate) seating: Seating,
    pub(crate) answer: Answer,
    /// What the proxy beside the client spent on it, all its processes together; nothing without one.
    pub(crate) proxy: Account,
    /// The same beside the server.
    pub(crate) far_proxy: Account,
    pub(crate) server: Account,
    /// See [`Measured`].
    pub(crate) softirq_ns: Option<u64>,
    /// See [`Measured`].
    pub(crate) proxy_peak_rss: Option<u64>,
    /// See [`Measured`].
    pub(crate) far_proxy_peak_rss: Option<u64>,
}

/// What the proxies of a mode had resident when all rounds were over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resident {
    pub(crate) mode: Mode,
    pub(crate) side: Side,
    pub(crate) bytes: u64,
}

/// The evidence that a mode's connections went the mode's way.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Steered {
    pub(crate) mode: &'static str,
    /// Connections that clients made.
    pub(crate) made: u64,
    /// Connections that the mode's own counters saw.
    pub(crate) steered: u64,
}

impl Sample {
    fn of(measured: Measured, round: usize, mode: Mode, (work, seating): (Work, Seating)) -> Self {
        let Measured { answer, proxy, far_proxy, server, softirq_ns, proxy_peak_rss, far_proxy_peak_rss } =
            measured;
        Self {
            round,
            mode,
            work,
            seating,
            answer,
            proxy,
            far_proxy,
            server,
            softirq_ns,
            proxy_peak_rss,
            far_proxy_peak_rss,
        }
    }
}

/// Runs the rounds, and puts what they find into `comparison`, which holds it also if the rest fails. A mode that fails is
/// left out from then on, and said.
pub(crate) fn compare(
    lab: &Lab,
    plan: &Plan,
    comparison: &mut Comparison,
    mut on_round: impl FnMut(usize),
) -> Result<()> {
    let mut pairs = Vec::new();
    for &mode in plan.modes.iter().filter(|mode| plan.turns.iter().any(|&(work, _)| mode.can(work))) {
        match Pair::raise(lab, mode) {
            Ok(pair) => pairs.push(pair),
            Err(error) => {
                lab.patience().check()?;
                comparison.absent.push((mode, format!("{error:#}")));
            }
        }
    }
    for &(_, seating) in plan.turns.iter().filter(|(work, _)| *work == Work::HttpOpenLoop) {
        lab.patience().check()?;
        let pace = Pace::set(&pairs, seating, plan.cores);
        comparison.paces.push(pace.context("find out how many requests can be served")?);
    }
    let before: Vec<Option<u64>> = pairs.iter().map(Pair::steered).collect::<Result<_>>()?;
    let mut standing: Vec<(Pair, Option<u64>)> = pairs.into_iter().zip(before).collect();
    for round in 0..plan.rounds {
        for &turn in &plan.turns {
            let mut failed = Vec::new();
            for (pair, _) in standing.iter().filter(|(pair, _)| pair.mode().can(turn.0)) {
                pair.forget_connections()?;
                let measured = pair.measure(turn.0, turn.1, plan.cores, comparison.rate(turn.1));
                lab.patience().check()?;
                let mode = pair.mode();
                match measured {
                    Ok(measured) => comparison.samples.push(Sample::of(measured, round, mode, turn)),
                    Err(error) => failed.push((mode, format!("{error:#}"))),
                }
            }
            standing.retain(|(pair, _)| failed.iter().all(|(mode, _)| *mode != pair.mode()));
            comparison.absent.append(&mut failed);
        }
        on_round(round);
    }
    if standing.is_empty() {
        let reasons = comparison.absent.iter().map(|(mode, why)| format!("{}: {why}", mode.title()));
        bail!("no mode could be measured: {}", reasons.collect::<Vec<_>>().join("; "));
    }
    for (pair, before) in &standing {
        for side in Side::ALL {
            let bytes = pair.resident_bytes(side)?;
            comparison.resident.extend(bytes.map(|bytes| Resident { mode: pair.mode(), side, bytes }));
        }
        if let (Some(before), Some(after)) = (before, pair.steered()?) {
            let mode = pair.mode();
            let made = comparison.connections(mode);
            comparison.steered.push(Steered { mode: mode.word(), made, steered: after - before });
        }
    }
    Ok(())
}
