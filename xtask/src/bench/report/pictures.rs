//! The charts of a comparison: one look for a mode in all of them.

use super::super::chart::{Bar, Chart, Group, Lines, Scale, Series};
use super::super::mode::Mode;
use super::super::rounds::{Comparison, Figure, Plan};
use super::super::seating::Seating;
use super::super::spread::Spread;
use super::super::work::Work;
use crate::lab::peer::Latencies;

/// Between two points of a curve, on the axis that shares are stretched over.
const STEP: f64 = 0.12;
/// Where a curve begins, and where it ends at the latest.
const FROM: f64 = 0.01;
/// See [`FROM`].
const TO: f64 = 0.9999;
/// A curve ends where fewer operations than these were slower: one or two are an accident.
const FEW: f64 = 5.0;

/// A picture of bars: one group for each kind of work, one bar for each mode.
pub(super) struct Picture {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    label: &'static str,
    works: &'static [Work],
    of: fn(&Comparison, Mode, Work, Seating) -> Option<Spread>,
    of_reference: OfReference,
}

/// Whether no capture has a bar of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfReference {
    /// It does the same as the others.
    Shown,
    /// It adds nothing, and has no proxy.
    LeftOut,
}

pub(super) const PICTURES: [Picture; 5] = [
    Picture {
        name: "added",
        title: "Latency added to the median",
        label: "µs more than no capture",
        works: &[Work::PingPong, Work::PingPongLarge, Work::Request, Work::HttpOne],
        of: |comparison, mode, work, seating| comparison.added(mode, work, seating, Figure::P50),
        of_reference: OfReference::LeftOut,
    },
    Picture {
        name: "http-rate",
        title: "HTTP requests per second, closed loop",
        label: "requests per second",
        works: &[Work::HttpOne, Work::HttpMany, Work::HttpCrowd],
        of: |comparison, mode, work, seating| comparison.figure(mode, work, seating, Figure::Rate),
        of_reference: OfReference::Shown,
    },
    Picture {
        name: "throughput",
        title: "Bulk throughput on one connection",
        label: "Gbit/s",
        works: &[Work::BulkOneWay, Work::BulkBothWays],
        of: |comparison, mode, work, seating| comparison.figure(mode, work, seating, Figure::Throughput),
        of_reference: OfReference::Shown,
    },
    Picture {
        name: "proxy-cpu",
        title: "Processor time of all proxies in the way",
        label: "µs per operation",
        works: &[Work::PingPong, Work::Request, Work::HttpMany],
        of: |comparison, mode, work, seating| comparison.figure(mode, work, seating, Figure::ProxyCpu),
        of_reference: OfReference::LeftOut,
    },
    Picture {
        name: "memory",
        title: "Most resident memory of the proxy beside the client",
        label: "MB",
        works: &[Work::HttpMany, Work::HttpCrowd],
        of: |comparison, mode, work, seating| comparison.figure(mode, work, seating, Figure::PeakRss),
        of_reference: OfReference::LeftOut,
    },
];

impl Picture {
    pub(super) fn draw(&self, title: &str, comparison: &Comparison, plan: &Plan, seating: Seating) -> Chart {
        let works = self.works.iter().filter(|work| plan.turns.contains(&(**work, seating)));
        let groups = works.map(|&work| {
            let bars = plan.modes.iter().filter_map(|&mode| {
                let Spread { lower, median, upper, .. } = (self.of)(comparison, mode, work, seating)?;
                let bar = Bar { name: mode.title().to_owned(), value: median, low: lower, high: upper };
                (mode != Mode::NoCapture || self.of_reference == OfReference::Shown).then_some(bar)
            });
            Group { name: capitalised(work.title()), bars: bars.collect() }
        });
        in_order(Chart::groups(title, self.label, groups.collect()))
    }
}

/// How many operations took no longer than how long, mode by mode.
pub(super) fn latency(comparison: &Comparison, plan: &Plan, work: Work, seating: Seating) -> Chart {
    let points =
        |mode| comparison.histogram(mode, work, seating).map(|times| curve(&times)).unwrap_or_default();
    let series =
        plan.modes.iter().map(|&mode| Series { name: mode.title().to_owned(), points: points(mode) });
    let lines = Lines {
        title: format!("Latency of {}, {}", work.title(), seating.title()),
        x_label: format!("time of one {}, µs", work.operation()),
        y_label: format!("{}s that took no longer", work.operation()),
        x_scale: Scale::Log,
        y_scale: Scale::Share,
        series: series.collect(),
        order: Vec::new(),
    };
    in_order(Chart::lines(lines))
}

/// The medians of each round, in their order: a machine that had other things to do for a while shows it here.
pub(super) fn rounds(comparison: &Comparison, plan: &Plan, work: Work, seating: Seating) -> Chart {
    let points = |mode| {
        let samples = comparison.samples.iter();
        let of_mode = samples.filter(move |it| (it.mode, it.work, it.seating) == (mode, work, seating));
        of_mode.map(|it| ((it.round + 1) as f64, it.answer.whole.quantile(0.5) as f64 / 1e3)).collect()
    };
    let series =
        plan.modes.iter().map(|&mode| Series { name: mode.title().to_owned(), points: points(mode) });
    let lines = Lines {
        title: format!("{} round by round, {}", capitalised(work.title()), seating.title()),
        x_label: "round".to_owned(),
        y_label: "p50, µs".to_owned(),
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        series: series.collect(),
        order: Vec::new(),
    };
    in_order(Chart::lines(lines))
}

/// Points at even distances on the axis that they are shown on.
fn curve(times: &Latencies) -> Vec<(f64, f64)> {
    let place = |share: f64| (share / (1.0 - share)).ln();
    let last = TO.min(1.0 - FEW / times.count() as f64);
    let steps = ((place(last) - place(FROM)) / STEP).floor();
    // A handful of operations makes no curve.
    if !steps.is_finite() || steps < 1.0 {
        return Vec::new();
    }
    let shares = (0..=steps as usize).map(|step| 1.0 / (1.0 + (-(place(FROM) + step as f64 * STEP)).exp()));
    shares.chain([last]).map(|share| (times.quantile(share) as f64 / 1e3, share)).collect()
}

fn in_order(chart: Chart) -> Chart {
    chart.in_order(Mode::ALL.map(Mode::title))
}

/// A title at the beginning of a line.
pub(super) fn capitalised(title: &str) -> String {
    let mut letters = title.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_from_the_fastest_to_the_last_that_is_no_accident() {
        let times = Latencies::of((1..=1_000).map(|it| it * 1_000)).unwrap();
        let points = curve(&times);
        let (fastest, share) = points.first().copied().unwrap();
        assert!((share - 0.01).abs() < 1e-9 && (fastest - 10.0).abs() < 2.0, "{fastest} {share}");
        let (slowest, share) = points.last().copied().unwrap();
        assert!((share - 0.995).abs() < 1e-9 && (slowest - 995.0).abs() < 2.0, "{slowest} {share}");
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
    }

    #[test]
    fn a_handful_of_operations_makes_no_curve() {
        assert_eq!(curve(&Latencies::of([1_000; 4]).unwrap()), []);
        assert_eq!(curve(&Latencies::of([1_000]).unwrap()), []);
    }

    #[test]
    fn a_title_begins_with_a_capital() {
        assert_eq!(capitalised("bulk, one way"), "Bulk, one way");
        assert_eq!(capitalised("HTTP"), "HTTP");
        assert_eq!(capitalised(""), "");
    }
}
