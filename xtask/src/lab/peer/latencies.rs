//! How long many operations took: an HDR histogram, kept as the values it has recorded.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Significant decimal digits of a value that are kept: it is right to one part in a thousand.
const DIGITS: u8 = 3;

/// What at least one operation took, in nanoseconds.
///
/// An array of counters takes 90 kB even for a few hundred different values, and a long run takes thousands of samples:
/// only the counters that are not zero are kept. Their values are those of the histogram's buckets, the same for
/// everybody, so that histograms of different processes and rounds can be added up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(crate) struct Latencies {
    /// How often a value was found; never empty.
    counts: BTreeMap<u64, u64>,
}

/// The quantiles that people ask for, and the mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) min_ns: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p90_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
    pub(crate) max_ns: u64,
    pub(crate) mean_ns: u64,
}

impl Latencies {
    /// Records all of them; there must be at least one.
    pub(crate) fn of(each: impl IntoIterator<Item = u64>) -> Result<Self> {
        let mut histogram = Histogram::<u64>::new(DIGITS).context("make a histogram")?;
        for nanoseconds in each {
            histogram.record(nanoseconds).with_context(|| format!("record {nanoseconds} ns"))?;
        }
        let recorded = histogram.iter_recorded();
        recorded.map(|step| (step.value_iterated_to(), step.count_at_value())).collect::<Vec<_>>().try_into()
    }

    /// How many operations.
    pub(crate) fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The time that this part of them, from 0 to 1, did not exceed.
    pub(crate) fn quantile(&self, part: f64) -> u64 {
        let rank = (part * self.count() as f64).ceil() as u64;
        let mut passed = 0;
        let mut values = self.counts.iter();
        let found = values.find(|(_, count)| {
            passed += **count;
            passed >= rank
        });
        found.map_or_else(|| self.max(), |(value, _)| *value)
    }

    /// The fastest.
    pub(crate) fn min(&self) -> u64 {
        self.counts.first_key_value().map_or(0, |(value, _)| *value)
    }

    /// The slowest.
    pub(crate) fn max(&self) -> u64 {
        self.counts.last_key_value().map_or(0, |(value, _)| *value)
    }

    /// Takes in what others took.
    pub(crate) fn add(&mut self, others: &Self) {
        for (value, count) in &others.counts {
            *self.counts.entry(*value).or_default() += count;
        }
    }

    /// The quantiles that people ask for.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            count: self.count(),
            min_ns: self.min(),
            p50_ns: self.quantile(0.5),
            p90_ns: self.quantile(0.9),
            p99_ns: self.quantile(0.99),
            p999_ns: self.quantile(0.999),
            max_ns: self.max(),
            mean_ns: self.mean(),
        }
    }

    fn mean(&self) -> u64 {
        let all: u128 =
            self.counts.iter().map(|(&value, &count)| u128::from(value) * u128::from(count)).sum();
        let mean = all / u128::from(self.count()).max(1);
        // It is not above the slowest.
        u64::try_from(mean).unwrap_or(u64::MAX)
    }
}

impl TryFrom<Vec<(u64, u64)>> for Latencies {
    type Error = anyhow::Error;

    fn try_from(recorded: Vec<(u64, u64)>) -> Result<Self> {
        ensure!(!recorded.is_empty(), "expected at least one operation, found none");
        Ok(Self { counts: recorded.into_iter().collect() })
    }
}

impl From<Latencies> for Vec<(u64, u64)> {
    fn from(latencies: Latencies) -> Self {
        latencies.counts.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_summed_up_whatever_their_order() {
        let latencies = Latencies::of((1..=1000).rev()).unwrap();
        let expected = Summary {
            count: 1000,
            min_ns: 1,
            p50_ns: 500,
            p90_ns: 900,
            p99_ns: 990,
            p999_ns: 999,
            max_ns: 1000,
            mean_ns: 500,
        };
        assert_eq!(latencies.summary(), expected);
        assert_eq!((latencies.quantile(0.0), latencies.quantile(1.0)), (1, 1000));
        assert!(Latencies::of([]).is_err());
    }

    #[test]
    fn long_latencies_are_right_to_three_digits() {
        let latencies = Latencies::of([1_234_567_890]).unwrap();
        let error = latencies.quantile(0.5).abs_diff(1_234_567_890);
        assert!(error < 1_234_568, "off by {error}");
    }

    #[test]
    fn adding_up_is_as_good_as_recording_together() {
        let spread = |from: u64, to: u64| (from..to).map(|it| it * it * 7);
        let mut parts = Latencies::of(spread(1, 900)).unwrap();
        parts.add(&Latencies::of(spread(500, 4_000)).unwrap());
        let together = Latencies::of(spread(1, 900).chain(spread(500, 4_000))).unwrap();
        assert_eq!(parts, together);
        assert_eq!(parts.count(), 899 + 3_500);
    }

    #[test]
    fn they_are_written_as_pairs_and_read_again() {
        let latencies = Latencies::of([5, 5, 7]).unwrap();
        let text = serde_json::to_string(&latencies).unwrap();
        assert_eq!(text, "[[5,2],[7,1]]");
        assert_eq!(serde_json::from_str::<Latencies>(&text).unwrap(), latencies);
        assert!(serde_json::from_str::<Latencies>("[]").is_err());
    }
}
