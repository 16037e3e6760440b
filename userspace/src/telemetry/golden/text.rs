//! The golden metrics in Prometheus' text format, so much at a time.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Golden;
use super::labels::Labels;
use super::numbers::{BOUNDS, Connections, Histogram, Requests};

/// What a family counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Requests,
    Connections,
}

/// A family of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Requests,
    Duration,
    RequestBytes,
    ResponseBytes,
    Opened,
    Closed,
    Sent,
    Received,
}

/// Where in a family of a workload a writer is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position(usize);

impl Family {
    /// Every family, in the order in which they are written.
    pub(crate) const ALL: [Self; 8] = [
        Self::Requests,
        Self::Duration,
        Self::RequestBytes,
        Self::ResponseBytes,
        Self::Opened,
        Self::Closed,
        Self::Sent,
        Self::Received,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Requests => "istio_requests_total",
            Self::Duration => "istio_request_duration_milliseconds",
            Self::RequestBytes => "istio_request_bytes",
            Self::ResponseBytes => "istio_response_bytes",
            Self::Opened => "istio_tcp_connections_opened_total",
            Self::Closed => "istio_tcp_connections_closed_total",
            Self::Sent => "istio_tcp_sent_bytes_total",
            Self::Received => "istio_tcp_received_bytes_total",
        }
    }

    const fn help(self) -> &'static str {
        match self {
            Self::Requests => "Requests that are over.",
            Self::Duration => "Time from a request's head to the end of its answer.",
            Self::RequestBytes => "Bytes of requests' bodies.",
            Self::ResponseBytes => "Bytes of answers' bodies.",
            Self::Opened => "Connections that were carried without being looked into, counted when they end.",
            Self::Closed => "The same that have ended.",
            Self::Sent => "Bytes that they carried back to the side that connected, counted when they end.",
            Self::Received => "Bytes that they carried from the side that connected, counted when they end.",
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Requests | Self::Duration | Self::RequestBytes | Self::ResponseBytes => Kind::Requests,
            Self::Opened | Self::Closed | Self::Sent | Self::Received => Kind::Connections,
        }
    }

    /// Writes what stands before the samples.
    pub(crate) fn head(self, out: &mut String) {
        let (name, help) = (self.name(), self.help());
        let kind = match self {
            Self::Duration | Self::RequestBytes | Self::ResponseBytes => "histogram",
            _ => "counter",
        };
        let _infallible = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }
}

impl Golden {
    /// Whether there are samples of a family.
    pub(crate) fn has(&self, family: Family) -> bool {
        let (requests, connections) = &self.overflow;
        match family.kind() {
            Kind::Requests => self.requests.chains() > 0 || requests.count() > 0,
            Kind::Connections => self.connections.chains() > 0 || connections.count() > 0,
        }
    }

    /// Writes samples of `family` from `position` on, until `out` has grown to `enough` bytes: where to go on, or that
    /// there are no more.
    pub(crate) fn write(
        &self,
        family: Family,
        Position(from): Position,
        enough: usize,
        out: &mut String,
    ) -> ControlFlow<(), Position> {
        let chains = match family.kind() {
            Kind::Requests => self.requests.chains(),
            Kind::Connections => self.connections.chains(),
        };
        let mut sample = Sample { out, name: family.name(), labels: String::new() };
        for chain in from..=chains {
            if sample.out.len() >= enough {
                return ControlFlow::Continue(Position(chain));
            }
            match (family.kind(), chain == chains) {
                (Kind::Requests, false) => {
                    for (labels, requests) in self.requests.chain(chain) {
                        sample.of(|out| labels.write(&self.own, out));
                        sample.requests(family, requests);
                    }
                }
                (Kind::Connections, false) => {
                    for (labels, connections) in self.connections.chain(chain) {
                        sample.of(|out| labels.write(&self.own, out));
                        sample.connections(family, connections);
                    }
                }
                (kind, true) => self.write_overflow(kind, family, &mut sample),
            }
        }
        ControlFlow::Break(())
    }

    fn write_overflow(&self, kind: Kind, family: Family, sample: &mut Sample<'_>) {
        let (requests, connections) = &self.overflow;
        sample.of(|out| Labels::write_overflow(kind, out));
        match kind {
            Kind::Requests if requests.count() > 0 => sample.requests(family, requests),
            Kind::Connections if connections.count() > 0 => sample.connections(family, connections),
            Kind::Requests | Kind::Connections => {}
        }
    }
}

impl Requests {
    fn count(&self) -> u64 {
        self.duration.count()
    }
}

impl Connections {
    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Histogram {
    fn count(&self) -> u64 {
        self.cumulative()[BOUNDS.len()]
    }
}

/// Writes the samples of one set of labels after the other.
struct Sample<'a> {
    out: &'a mut String,
    name: &'static str,
    /// With a comma at their end.
    labels: String,
}

impl Sample<'_> {
    fn of(&mut self, labels: impl FnOnce(&mut String)) {
        self.labels.clear();
        labels(&mut self.labels);
    }

    fn requests(&mut self, family: Family, requests: &Requests) {
        match family {
            Family::Duration => self.histogram(&requests.duration),
            Family::RequestBytes => self.histogram(&requests.request_bytes),
            Family::ResponseBytes => self.histogram(&requests.answer_bytes),
            _ => self.line("", requests.count()),
        }
    }

    fn connections(&mut self, family: Family, connections: &Connections) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let value = match family {
            // Named from the view of the side that was dialled, as Envoy does.
            Family::Sent => load(&connections.received),
            Family::Received => load(&connections.sent),
            _ => connections.count(),
        };
        self.line("", value);
    }

    fn histogram(&mut self, histogram: &Histogram) {
        let (name, counts) = (self.name, histogram.cumulative());
        let labels = &self.labels;
        for (bound, count) in BOUNDS.iter().zip(counts) {
            let (whole, half) = (bound / 1000, if bound % 1000 == 0 { "" } else { ".5" });
            let _infallible = writeln!(self.out, "{name}_bucket{{{labels}le=\"{whole}{half}\"}} {count}");
        }
        let count = counts[BOUNDS.len()];
        let _infallible = writeln!(self.out, "{name}_bucket{{{labels}le=\"+Inf\"}} {count}");
        let sum = histogram.sum();
        let labels = labels.trim_end_matches(',');
        let _infallible = writeln!(self.out, "{name}_sum{{{labels}}} {}.{:03}", sum / 1000, sum % 1000);
        self.line("_count", count);
    }

    fn line(&mut self, suffix: &str, value: u64) {
        let (name, labels) = (self.name, self.labels.trim_end_matches(','));
        let _infallible = writeln!(self.out, "{name}{suffix}{{{labels}}} {value}");
    }
}

/// Writes a label with a comma behind it, its value escaped as the format demands.
pub(super) fn label(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    let mut rest = value;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'\n' => "\\n",
            b'"' => "\\\"",
            _ => "\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push_str("\",");
}
