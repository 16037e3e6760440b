//! Interleaved rounds: every mode once, then every mode again, so that whatever the machine does besides hits all of
//! them alike, and ratios are taken within a round.

use anyhow::{Result, bail};
use serde::Serialize;

use super::mode::Mode;
use super::pair::Pair;
use super::seating::{Cores, Seating};
use super::spread::Spread;
use super::work::Work;
use crate::lab::Lab;
use crate::lab::peer::Answer;

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

/// Everything that was sampled.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) samples: Vec<Sample>,
    pub(crate) steered: Vec<Steered>,
    /// Modes that could not be measured, or not to the end, and why.
    pub(crate) absent: Vec<(Mode, String)>,
}

/// Which figure of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Median of the whole operation.
    P50,
    /// 99th percentile of the whole operation.
    P99,
    /// Median of the connect alone.
    Connect,
}

impl Sample {
    fn nanoseconds(&self, figure: Figure) -> Option<f64> {
        let whole = self.answer.whole;
        let nanoseconds = match figure {
            Figure::P50 => whole.p50_ns,
            Figure::P99 => whole.p99_ns,
            Figure::Connect => self.answer.connect?.p50_ns,
        };
        Some(nanoseconds as f64)
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
    let before: Vec<Option<u64>> = pairs.iter().map(Pair::steered).collect::<Result<_>>()?;
    let mut standing: Vec<(Pair, Option<u64>)> = pairs.into_iter().zip(before).collect();
    for round in 0..plan.rounds {
        on_round(round);
        for &(work, seating) in &turns(plan) {
            let mut failed = Vec::new();
            for (pair, _) in standing.iter().filter(|(pair, _)| pair.mode().can(work)) {
                pair.forget_connections()?;
                let answer = pair.measure(work, seating, plan.cores);
                lab.patience().check()?;
                let mode = pair.mode();
                match answer {
                    Ok(answer) => {
                        comparison.samples.push(Sample { round, mode, work, seating, answer });
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

impl Comparison {
    /// How many connections a mode's clients have made.
    fn connections(&self, mode: Mode) -> u64 {
        let samples = self.samples.iter().filter(|sample| sample.mode == mode);
        samples.map(|sample| sample.answer.connections as u64).sum()
    }

    fn one(&self, round: usize, mode: Mode, work: Work, seating: Seating, figure: Figure) -> Option<f64> {
        let found = self.samples.iter().find(|sample| {
            (sample.round, sample.mode, sample.work, sample.seating) == (round, mode, work, seating)
        });
        found?.nanoseconds(figure)
    }

    fn rounds(&self) -> std::ops::Range<usize> {
        0..self.samples.iter().map(|sample| sample.round + 1).max().unwrap_or(0)
    }

    /// A figure over all rounds, in microseconds.
    pub(crate) fn microseconds(
        &self,
        mode: Mode,
        work: Work,
        seating: Seating,
        figure: Figure,
    ) -> Option<Spread> {
        let figures = self.rounds().filter_map(|round| self.one(round, mode, work, seating, figure));
        Spread::of(figures).map(|spread| spread.scaled(1e-3))
    }

    /// The medians of `mode` over those of `reference`, round by round.
    pub(crate) fn ratio(&self, mode: Mode, reference: Mode, work: Work, seating: Seating) -> Option<Spread> {
        let at = |round, mode| self.one(round, mode, work, seating, Figure::P50);
        Spread::of(self.rounds().filter_map(|round| Some(at(round, mode)? / at(round, reference)?)))
    }

    /// What `mode` adds to no capture over what `reference` adds to it, round by round. None where the reference adds
    /// nothing that can be told from noise in most rounds.
    pub(crate) fn added_ratio(
        &self,
        mode: Mode,
        reference: Mode,
        work: Work,
        seating: Seating,
    ) -> Option<Spread> {
        let at = |round, mode| self.one(round, mode, work, seating, Figure::P50);
        let ratios = self.rounds().filter_map(|round| {
            let nothing = at(round, Mode::NoCapture)?;
            let added = at(round, reference)? - nothing;
            (added > 0.0).then_some((at(round, mode)? - nothing) / added)
        });
        Spread::of(ratios).filter(|spread| spread.of * 2 > self.rounds().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::peer::Latencies;

    fn sample(round: usize, mode: Mode, p50_ns: u64) -> Sample {
        let whole =
            Latencies { count: 10, fastest_ns: 1, p50_ns, p99_ns: 2 * p50_ns, slowest_ns: 3 * p50_ns };
        let answer = Answer { outcome: Answer::CONNECTED.to_owned(), connections: 1, whole, connect: None };
        Sample { round, mode, work: Work::PingPong, seating: Seating::OneCore, answer }
    }

    fn comparison(samples: Vec<Sample>) -> Comparison {
        Comparison { samples, ..Comparison::default() }
    }

    #[test]
    fn what_is_added_is_compared_within_a_round() {
        // A busy second round: everything takes twice as long, and no ratio changes.
        let comparison = comparison(vec![
            sample(0, Mode::NoCapture, 10_000),
            sample(0, Mode::RelayEbpf, 26_000),
            sample(0, Mode::RelayIptables, 30_000),
            sample(1, Mode::NoCapture, 20_000),
            sample(1, Mode::RelayEbpf, 52_000),
            sample(1, Mode::RelayIptables, 60_000),
        ]);
        let seat = Seating::OneCore;
        let added =
            comparison.added_ratio(Mode::RelayEbpf, Mode::RelayIptables, Work::PingPong, seat).unwrap();
        assert_eq!((added.lower, added.median, added.upper), (0.8, 0.8, 0.8));
        let whole = comparison.ratio(Mode::RelayEbpf, Mode::NoCapture, Work::PingPong, seat).unwrap();
        assert_eq!(whole.median, 2.6);
    }

    #[test]
    fn nothing_is_compared_with_an_addition_that_is_none() {
        let comparison = comparison(vec![
            sample(0, Mode::NoCapture, 10_000),
            sample(0, Mode::RelayEbpf, 9_000),
            sample(0, Mode::RelayIptables, 9_500),
        ]);
        let added =
            comparison.added_ratio(Mode::RelayEbpf, Mode::RelayIptables, Work::PingPong, Seating::OneCore);
        assert_eq!(added, None);
    }

    #[test]
    fn a_figure_is_in_microseconds_over_all_rounds() {
        let comparison = comparison(vec![sample(0, Mode::Direct, 1_000), sample(1, Mode::Direct, 3_000)]);
        let at = |figure| comparison.microseconds(Mode::Direct, Work::PingPong, Seating::OneCore, figure);
        assert_eq!(at(Figure::P50).unwrap().median, 2.0);
        assert_eq!(at(Figure::P99).unwrap().median, 4.0);
        assert_eq!(at(Figure::Connect), None);
    }
}
