//! Samples of all rounds, summed up and compared.

use super::{Better, Figure, Measure, Pace, Resident, Sample, Steered};
use crate::bench::mode::Mode;
use crate::bench::seating::Seating;
use crate::bench::spread::Spread;
use crate::bench::way::Side;
use crate::bench::work::Work;
use crate::lab::peer::Latencies;

/// Everything that was sampled.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) samples: Vec<Sample>,
    pub(crate) steered: Vec<Steered>,
    /// What the proxies weigh after the last round.
    pub(crate) resident: Vec<Resident>,
    /// The rates of the open loop, one for each column; none if there was no open loop.
    pub(crate) paces: Vec<Pace>,
    /// Modes that could not be measured, or not to the end, and why.
    pub(crate) absent: Vec<(Mode, String)>,
}

impl Comparison {
    /// How many connections a mode's clients have made.
    pub(super) fn connections(&self, mode: Mode) -> u64 {
        let samples = self.samples.iter().filter(|sample| sample.mode == mode);
        samples.map(|sample| sample.answer.connections as u64).sum()
    }

    /// The rate of the open loop in one column, in requests per second.
    pub(super) fn rate(&self, seating: Seating) -> Option<f64> {
        self.paces.iter().find(|pace| pace.seating == seating).map(|pace| pace.rate)
    }

    /// What a mode's proxy on one side had resident after the last round, in megabytes.
    pub(crate) fn resident(&self, mode: Mode, side: Side) -> Option<f64> {
        let found = self.resident.iter().find(|it| (it.mode, it.side) == (mode, side));
        found.map(|it| it.bytes as f64 / 1e6)
    }

    fn of(&self, mode: Mode, work: Work, seating: Seating) -> impl Iterator<Item = &Sample> {
        let wanted = (mode, work, seating);
        self.samples.iter().filter(move |sample| (sample.mode, sample.work, sample.seating) == wanted)
    }

    fn one(&self, round: usize, mode: Mode, work: Work, seating: Seating, figure: Figure) -> Option<f64> {
        self.of(mode, work, seating).find(|sample| sample.round == round)?.figure(figure)
    }

    fn rounds(&self) -> std::ops::Range<usize> {
        0..self.samples.iter().map(|sample| sample.round + 1).max().unwrap_or(0)
    }

    /// A figure over all rounds, in its unit.
    pub(crate) fn figure(&self, mode: Mode, work: Work, seating: Seating, figure: Figure) -> Option<Spread> {
        Spread::of(self.of(mode, work, seating).filter_map(|sample| sample.figure(figure)))
    }

    /// The times of all rounds together.
    pub(crate) fn histogram(&self, mode: Mode, work: Work, seating: Seating) -> Option<Latencies> {
        let mut each = self.of(mode, work, seating).map(|sample| &sample.answer.whole);
        let mut all = each.next()?.clone();
        each.for_each(|others| all.add(others));
        Some(all)
    }

    /// How late the open loop's own client was, in microseconds: the 99th percentile of each round. Where it is not far
    /// below the latencies, those are the client's.
    pub(crate) fn lag(&self, mode: Mode, seating: Seating) -> Option<Spread> {
        let lags = self.of(mode, Work::HttpOpenLoop, seating).filter_map(|it| it.answer.lag.as_ref());
        Spread::of(lags.map(|lag| lag.quantile(0.99) as f64 / 1e3))
    }

    /// A figure of `mode` over the best that one of `references` has, round by round. Where the references have nothing to
    /// compare with in most rounds (they add no more than noise does), there is none.
    pub(crate) fn ratio(
        &self,
        mode: Mode,
        references: &[Mode],
        work: Work,
        seating: Seating,
        measure: Measure,
    ) -> Option<Spread> {
        let at = |round, mode| self.measured(round, mode, work, seating, measure);
        let ratios = self.rounds().filter_map(|round| {
            let of_references = references.iter().filter_map(|&reference| at(round, reference));
            let best = match measure.figure().better() {
                Better::Less => of_references.min_by(f64::total_cmp),
                Better::More => of_references.max_by(f64::total_cmp),
            };
            Some(at(round, mode)? / best.filter(|best| *best > 0.0)?)
        });
        Spread::of(ratios).filter(|spread| spread.of * 2 > self.rounds().len())
    }

    /// What a mode adds to no capture, round by round.
    pub(crate) fn added(&self, mode: Mode, work: Work, seating: Seating, figure: Figure) -> Option<Spread> {
        let measure = Measure::Added(figure);
        Spread::of(self.rounds().filter_map(|round| self.measured(round, mode, work, seating, measure)))
    }

    fn measured(
        &self,
        round: usize,
        mode: Mode,
        work: Work,
        seating: Seating,
        measure: Measure,
    ) -> Option<f64> {
        let whole = self.one(round, mode, work, seating, measure.figure())?;
        match measure {
            Measure::Whole(_) => Some(whole),
            Measure::Added(figure) => Some(whole - self.one(round, Mode::NoCapture, work, seating, figure)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::sample;
    use super::*;

    fn comparison(samples: Vec<Sample>) -> Comparison {
        Comparison { samples, ..Comparison::default() }
    }

    #[test]
    fn what_is_added_is_compared_within_a_round() {
        // A busy second round: everything takes twice as long, and no ratio changes.
        let comparison = comparison(vec![
            sample(0, Mode::NoCapture, 500),
            sample(0, Mode::RelayEbpf, 820),
            sample(0, Mode::RelayIptables, 900),
            sample(1, Mode::NoCapture, 1_000),
            sample(1, Mode::RelayEbpf, 1_640),
            sample(1, Mode::RelayIptables, 1_800),
        ]);
        let (seat, work, p50) = (Seating::OneCore, Work::PingPong, Figure::P50);
        let ratio = |reference, measure| {
            comparison.ratio(Mode::RelayEbpf, &[reference], work, seat, measure).unwrap()
        };
        let added = ratio(Mode::RelayIptables, Measure::Added(p50));
        assert!((added.lower - 0.8).abs() < 1e-9 && (added.upper - 0.8).abs() < 1e-9, "{added:?}");
        let whole = ratio(Mode::NoCapture, Measure::Whole(p50));
        assert!((whole.median - 1.64).abs() < 1e-9, "{whole:?}");
    }

    #[test]
    fn nothing_is_compared_with_an_addition_that_is_none() {
        let comparison = comparison(vec![
            sample(0, Mode::NoCapture, 1_000),
            sample(0, Mode::RelayEbpf, 900),
            sample(0, Mode::RelayIptables, 950),
        ]);
        let (seat, work) = (Seating::OneCore, Work::PingPong);
        let compare =
            |reference, measure| comparison.ratio(Mode::RelayEbpf, &[reference], work, seat, measure);
        assert_eq!(compare(Mode::RelayIptables, Measure::Added(Figure::P50)), None);
        assert_eq!(compare(Mode::NoCapture, Measure::Whole(Figure::ProxyCpu)), None);
    }

    #[test]
    fn the_best_of_several_is_chosen_anew_in_each_round() {
        let comparison = comparison(vec![
            sample(0, Mode::RelayEbpf, 500),
            sample(0, Mode::HaproxyIptables, 1_000),
            sample(0, Mode::NginxIptables, 2_000),
            sample(1, Mode::RelayEbpf, 500),
            sample(1, Mode::HaproxyIptables, 2_000),
            sample(1, Mode::NginxIptables, 1_000),
        ]);
        let foreign = [Mode::HaproxyIptables, Mode::NginxIptables, Mode::EnvoyTcpIptables];
        let ratio = |figure| {
            let (work, seat) = (Work::PingPong, Seating::OneCore);
            comparison.ratio(Mode::RelayEbpf, &foreign, work, seat, Measure::Whole(figure)).unwrap()
        };
        assert!((ratio(Figure::P50).upper - 0.5).abs() < 1e-9, "{:?}", ratio(Figure::P50));
        assert!((ratio(Figure::Rate).lower - 2.0).abs() < 1e-9, "{:?}", ratio(Figure::Rate));
    }

    #[test]
    fn a_figure_is_summed_up_over_all_rounds() {
        let comparison = comparison(vec![sample(0, Mode::Direct, 500), sample(1, Mode::Direct, 1_500)]);
        let at = |figure| comparison.figure(Mode::Direct, Work::PingPong, Seating::OneCore, figure);
        assert_eq!(at(Figure::P50).unwrap().median, 1.0);
        assert_eq!(at(Figure::P50).unwrap().of, 2);
        assert_eq!(at(Figure::Connect), None);
        assert_eq!(comparison.lag(Mode::Direct, Seating::OneCore), None);
    }

    #[test]
    fn times_of_all_rounds_are_one_histogram() {
        let comparison = comparison(vec![
            sample(0, Mode::Direct, 500),
            sample(1, Mode::Direct, 1_500),
            sample(1, Mode::NoCapture, 1),
        ]);
        let all = comparison.histogram(Mode::Direct, Work::PingPong, Seating::OneCore).unwrap();
        assert_eq!((all.count(), all.min(), all.max()), (20, 500, 1_500));
        assert_eq!(comparison.histogram(Mode::RelayEbpf, Work::PingPong, Seating::OneCore), None);
    }
}
