//! Figures by size, round by round. It knows nothing of what is large.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::Curve;
use crate::bench::spread::Spread;
use crate::bench::table::Table;

/// What a client can find, all in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Figure {
    /// Median of a connect through the proxy.
    Connect,
    /// Median of a connect past the proxy, by a rule that says so.
    Direct,
    /// Median of a connect that a rule denies.
    Denied,
    /// Median from connect to close.
    Request,
    /// 99th percentile from connect to close.
    RequestP99,
    /// Median of a round trip.
    PingPong,
    /// 99th percentile of a round trip.
    PingPongP99,
}

impl Figure {
    /// All of them.
    const ALL: [Self; 7] = [
        Self::Connect,
        Self::Direct,
        Self::Denied,
        Self::Request,
        Self::RequestP99,
        Self::PingPong,
        Self::PingPongP99,
    ];

    /// What tables call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Connect => "connect p50",
            Self::Direct => "direct connect p50",
            Self::Denied => "denied connect p50",
            Self::Request => "connect-request-close p50",
            Self::RequestP99 => "connect-request-close p99",
            Self::PingPong => "ping-pong p50",
            Self::PingPongP99 => "ping-pong p99",
        }
    }

    /// A tail is drawn by nobody: it would press the medians flat.
    fn is_median(self) -> bool {
        !matches!(self, Self::RequestP99 | Self::PingPongP99)
    }
}

/// What was found at one size in one round.
pub(crate) type Found = BTreeMap<Figure, f64>;

/// Figures of several sizes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ladder {
    /// By round and size.
    rounds: Vec<BTreeMap<usize, Found>>,
}

impl Ladder {
    /// Takes in what was found. Whatever is compared with it has to be of the same round.
    pub(crate) fn add(&mut self, round: usize, size: usize, found: Found) {
        if self.rounds.len() <= round {
            self.rounds.resize_with(round + 1, BTreeMap::new);
        }
        self.rounds[round].insert(size, found);
    }

    /// The sizes, the smallest first.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        let mut sizes: Vec<usize> = self.rounds.iter().flat_map(BTreeMap::keys).copied().collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn one(round: &BTreeMap<usize, Found>, size: usize, figure: Figure) -> Option<f64> {
        round.get(&size)?.get(&figure).copied()
    }

    /// A figure over all rounds, in microseconds.
    pub(crate) fn microseconds(&self, size: usize, figure: Figure) -> Option<Spread> {
        let figures = self.rounds.iter().filter_map(|round| Self::one(round, size, figure));
        Spread::of(figures).map(|spread| spread.scaled(1e-3))
    }

    /// One size over another, round by round.
    pub(crate) fn ratio(&self, size: usize, over: usize, figure: Figure) -> Option<Spread> {
        let ratios = self
            .rounds
            .iter()
            .filter_map(|round| Some(Self::one(round, size, figure)? / Self::one(round, over, figure)?));
        Spread::of(ratios)
    }

    /// The largest size over the smallest, where there are two.
    pub(crate) fn growth(&self, figure: Figure) -> Option<Spread> {
        match self.sizes()[..] {
            [smallest, .., largest] => self.ratio(largest, smallest, figure),
            _ => None,
        }
    }

    fn figures(&self) -> Vec<Figure> {
        let found = |figure: &Figure| {
            self.rounds.iter().flat_map(BTreeMap::values).any(|found| found.contains_key(figure))
        };
        Figure::ALL.into_iter().filter(found).collect()
    }

    /// A row per size: medians in microseconds, and each over the smallest size.
    pub(crate) fn table(&self, what: &str) -> Table {
        let figures = self.figures();
        let mut head = vec![what.to_owned()];
        for figure in &figures {
            head.push(figure.title().to_owned());
            if figure.is_median() {
                head.push("×".to_owned());
            }
        }
        let mut table = Table::with_columns(head);
        let sizes = self.sizes();
        for &size in &sizes {
            let mut row = vec![size.to_string()];
            for &figure in &figures {
                row.push(show(self.microseconds(size, figure), 1));
                if figure.is_median() {
                    row.push(show(sizes.first().and_then(|&first| self.ratio(size, first, figure)), 2));
                }
            }
            table.add(row);
        }
        table
    }

    /// The medians over the sizes, in microseconds.
    pub(crate) fn curve(&self, title: &str, x_label: &str) -> Curve {
        let medians = self.figures().into_iter().filter(|figure| figure.is_median());
        let series = medians.map(|figure| {
            let points = self
                .sizes()
                .into_iter()
                .filter_map(|size| Some((size as f64, self.microseconds(size, figure)?.median)));
            (figure.title().to_owned(), points.collect())
        });
        Curve {
            title: title.to_owned(),
            x_label: x_label.to_owned(),
            y_label: "µs".to_owned(),
            series: series.collect(),
        }
    }
}

/// Every size and figure summed up.
impl Serialize for Ladder {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Rung {
            size: usize,
            figure: Figure,
            microseconds: Option<Spread>,
            over_smallest: Option<Spread>,
        }
        let sizes = self.sizes();
        let rungs =
            sizes.iter().flat_map(|&size| self.figures().into_iter().map(move |figure| (size, figure)));
        to.collect_seq(rungs.map(|(size, figure)| Rung {
            size,
            figure,
            microseconds: self.microseconds(size, figure),
            over_smallest: sizes.first().and_then(|&first| self.ratio(size, first, figure)),
        }))
    }
}

fn show(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| format!("{:.digits$}", spread.median))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder() -> Ladder {
        let mut ladder = Ladder::default();
        // A busy second round: everything takes twice as long, and no ratio changes.
        for (round, pace) in [1.0, 2.0].into_iter().enumerate() {
            for (size, connect) in [(1, 20_000.0), (10, 22_000.0), (250, 25_000.0)] {
                ladder.add(round, size, Found::from([(Figure::Connect, pace * connect)]));
            }
        }
        ladder
    }

    #[test]
    fn sizes_are_compared_within_a_round() {
        let growth = ladder().growth(Figure::Connect).unwrap();
        assert_eq!((growth.lower, growth.median, growth.upper), (1.25, 1.25, 1.25));
        assert_eq!(ladder().growth(Figure::PingPong), None);
    }

    #[test]
    fn one_size_is_no_growth() {
        let mut ladder = Ladder::default();
        ladder.add(0, 1, Found::from([(Figure::Connect, 1.0)]));
        assert_eq!(ladder.growth(Figure::Connect), None);
    }

    #[test]
    fn a_curve_has_a_point_per_size() {
        let curve = ladder().curve("Connect", "workloads");
        let expected = vec![(1.0, 30.0), (10.0, 33.0), (250.0, 37.5)];
        assert_eq!(curve.series, [("connect p50".to_owned(), expected)]);
    }

    #[test]
    fn a_table_has_a_row_per_size() {
        let text = ladder().table("workloads").to_string();
        assert!(text.contains("| 250       |        37.5 | 1.25 |"), "{text}");
    }
}
