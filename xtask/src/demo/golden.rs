//! The three numbers that people watch, read from the metrics that Istio's dashboards know: rate, errors, duration.

use std::time::Duration;

use anyhow::{Context, Result};

const REQUESTS: &str = "istio_requests_total";
const BUCKETS: &str = "istio_request_duration_milliseconds_bucket";

/// What one side reports.
#[derive(Debug)]
pub(super) struct Golden<'a> {
    /// Name, labels, value.
    samples: Vec<(&'a str, &'a str, f64)>,
    reporter: &'a str,
}

impl<'a> Golden<'a> {
    /// Reads the text format of Prometheus.
    pub(super) fn of(text: &'a str, reporter: &'a str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (name, rest) = line.split_once('{')?;
            let (labels, value) = rest.rsplit_once('}')?;
            Some((name, labels, value.trim().parse().ok()?))
        });
        Self { samples: samples.collect(), reporter }
    }

    /// How many requests were answered with a status.
    pub(super) fn requests(&self, status: u16) -> f64 {
        let label = format!("response_code=\"{status}\"");
        self.own(REQUESTS).filter(|(labels, _)| labels.contains(&label)).map(|(_, value)| value).sum()
    }

    /// All three, in words.
    pub(super) fn told(&self, elapsed: Duration) -> Result<String> {
        let all: f64 = self.own(REQUESTS).map(|(_, value)| value).sum();
        let failed: f64 =
            self.own(REQUESTS).filter(|(labels, _)| is_error(labels)).map(|(_, value)| value).sum();
        let [p50, p99] = [0.5, 0.99].map(|share| self.quantile(share));
        let percent = 100.0 * failed / all;
        let rate = all / elapsed.as_secs_f64();
        let (p50, p99) = (p50.context("no durations")?, p99.context("no durations")?);
        Ok(format!(
            "rate {rate:.0}/s, errors {percent:.0} % ({failed} of {all}), duration p50 ≤ {p50} ms, p99 ≤ {p99} ms"
        ))
    }

    /// The upper end of the bucket that this share of all durations is in or below.
    fn quantile(&self, share: f64) -> Option<f64> {
        let mut sums: Vec<(f64, f64)> = Vec::new();
        for (labels, value) in self.own(BUCKETS) {
            let end: f64 = labels.split("le=\"").nth(1)?.split('"').next()?.parse().ok()?;
            match sums.iter_mut().find(|(other, _)| *other == end) {
                Some((_, sum)) => *sum += value,
                None => sums.push((end, value)),
            }
        }
        sums.sort_by(|left, right| left.0.total_cmp(&right.0));
        let all = sums.last()?.1;
        sums.into_iter().find(|(_, sum)| *sum >= share * all && all > 0.0).map(|(end, _)| end)
    }

    fn own(&self, name: &str) -> impl Iterator<Item = (&'a str, f64)> {
        let reporter = format!("reporter=\"{}\"", self.reporter);
        let own =
            self.samples.iter().filter(move |(own, labels, _)| *own == name && labels.contains(&reporter));
        own.map(|(_, labels, value)| (*labels, *value))
    }
}

fn is_error(labels: &str) -> bool {
    ["response_code=\"4", "response_code=\"5", "response_code=\"0"].iter().any(|label| labels.contains(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE istio_requests_total counter\n\
        istio_requests_total{reporter=\"source\",response_code=\"200\"} 18\n\
        istio_requests_total{reporter=\"source\",response_code=\"404\"} 2\n\
        istio_requests_total{reporter=\"destination\",response_code=\"200\"} 7\n\
        istio_request_duration_milliseconds_bucket{reporter=\"source\",le=\"0.5\"} 11\n\
        istio_request_duration_milliseconds_bucket{reporter=\"source\",le=\"5\"} 20\n\
        istio_request_duration_milliseconds_bucket{reporter=\"source\",le=\"+Inf\"} 20\n";

    #[test]
    fn the_three_numbers_are_those_of_one_side() {
        let golden = Golden::of(TEXT, "source");
        assert_eq!((golden.requests(200), golden.requests(404)), (18.0, 2.0));
        let told = golden.told(Duration::from_secs(2)).unwrap();
        assert_eq!(told, "rate 10/s, errors 10 % (2 of 20), duration p50 ≤ 0.5 ms, p99 ≤ 5 ms");
        assert!(Golden::of("", "source").told(Duration::from_secs(1)).is_err());
    }
}
