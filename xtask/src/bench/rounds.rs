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
use super::work::Work;
use crate::lab::Lab;
use crate::lab::peer::{Account, Answer};

pub(crate) use comparison::Comparison;
pub(crate) use figure::Figure;
pub(crate) use pace::Pace;

/// What is to be compared.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) modes: Vec<Mode>,
    pub(crate) works: Vec<Work>,
    pub(crate) seatings: Vec<Seating>,
    pub(crate) rounds: usize,
    pub(crate) cores: Cores,
}

/// One sample: many operations of one client run.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) mode: Mode,
    pub(crate) work: Work,
    pub(crate) seating: Seating,
    pub(crate) answer: Answer,
    /// What the proxy spent on it, all its processes together; nothing without one.
    pub(crate) proxy: Account,
    pub(crate) server: Account,
    /// See [`Measured`].
    pub(crate) softirq_ns: Option<u64>,
    /// See [`Measured`].
    pub(crate) proxy_peak_rss: Option<u64>,
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
        let Measured { answer, proxy, server, softirq_ns, proxy_peak_rss } = measured;
        Self { round, mode, work, seating, answer, proxy, server, softirq_ns, proxy_peak_rss }
    }
}

/// Runs the rounds. A mode that fails is left out from then on, and said.
pub(crate) fn compare(lab: &Lab, plan: &Plan, mut on_round: impl FnMut(usize)) -> Result<Comparison> {
    let mut comparison = Comparison::default();
    let mut pairs = Vec::new();
    for &mode in plan.modes.iter().filter(|mode| plan.works.iter().any(|&work| mode.can(work))) {
        match Pair::raise(lab, mode) {
            Ok(pair) => pairs.push(pair),
            Err(error) => {
                lab.patience().check()?;
                comparison.absent.push((mode, format!("{error:#}")));
            }
        }
    }
    if plan.works.contains(&Work::HttpOpenLoop) {
        for &seating in &plan.seatings {
            lab.patience().check()?;
            let pace = Pace::set(&pairs, seating, plan.cores);
            comparison.paces.push(pace.context("find out how many requests can be served")?);
        }
    }
    let before: Vec<Option<u64>> = pairs.iter().map(Pair::steered).collect::<Result<_>>()?;
    let mut standing: Vec<(Pair, Option<u64>)> = pairs.into_iter().zip(before).collect();
    for round in 0..plan.rounds {
        on_round(round);
        for &(work, seating) in &turns(plan) {
            let mut failed = Vec::new();
            for (pair, _) in standing.iter().filter(|(pair, _)| pair.mode().can(work)) {
                pair.forget_connections()?;
                let measured = pair.measure(work, seating, plan.cores, comparison.rate(seating));
                lab.patience().check()?;
                let mode = pair.mode();
                match measured {
                    Ok(measured) => {
                        comparison.samples.push(Sample::of(measured, round, mode, (work, seating)));
                    }
                    Err(error) => failed.push((mode, format!("{error:#}"))),
                }
            }
            standing.retain(|(pair, _)| failed.iter().all(|(mode, _)| *mode != pair.mode()));
            comparison.absent.append(&mut failed);
        }
    }
    if standing.is_empty() {
        let reasons = comparison.absent.iter().map(|(mode, why)| format!("{}: {why}", mode.title()));
        bail!("no mode could be measured: {}", reasons.collect::<Vec<_>>().join("; "));
    }
    for (pair, before) in &standing {
        if let (Some(before), Some(after)) = (before, pair.steered()?) {
            let mode = pair.mode();
            let made = comparison.connections(mode);
            comparison.steered.push(Steered { mode: mode.word(), made, steered: after - before });
        }
    }
    Ok(comparison)
}

fn turns(plan: &Plan) -> Vec<(Work, Seating)> {
    let pairs = plan.works.iter().flat_map(|&work| plan.seatings.iter().map(move |&seating| (work, seating)));
    pairs.collect()
}
