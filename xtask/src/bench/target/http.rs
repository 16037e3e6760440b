//! What is promised of requests that a sidecar of ours reads, compared with what Envoy does with them that logs, counts and
//! traces as many.

use super::comparison::{Columns, Promise};
use super::{Bound, Target, Unit};
use crate::bench::mode::Mode;
use crate::bench::observing::{DESTINATIONS, Observing};
use crate::bench::rounds::{Comparison, Figure, Measure};
use crate::bench::seating::Seating;
use crate::bench::spread::Spread;
use crate::bench::work::Work;

use Bound::{AtLeast, AtMost};
use Measure::{Added, Whole};

const ENVOY: &[Mode] = &[Mode::EnvoyObservedIptables];
const ENVOY_PAIR: &[Mode] = &[Mode::EnvoyObservedTlsIptables];

/// What both proxies of a pair may spend on a request, in microseconds.
const MOST_OF_A_PAIR: f64 = 38.0;
/// What a sidecar that observes requests may weigh when it does nothing, in megabytes.
const MOST_IDLE: f64 = 14.0;
/// What it may keep of a thousand destinations, in megabytes.
const MOST_OF_DESTINATIONS: f64 = 8.0;

/// One mode over another.
pub(super) const PROMISES: [Promise; 8] = [
    per_second("our HTTP over Envoy HTTP: requests per second of CPU", Work::HttpOne, 1.80),
    per_second("our HTTP over Envoy HTTP: requests per second of CPU", Work::HttpMany, 1.80),
    ours("our HTTP over Envoy HTTP: added p50", Work::HttpOne, Added(Figure::P50), (AtMost, 0.60)),
    ours("our HTTP over Envoy HTTP: p99", Work::HttpOpenLoop, Whole(Figure::P99), (AtMost, 0.60)),
    per_second("our HTTP over Envoy HTTP: requests per second of CPU", Work::Http2, 1.50),
    per_second("our HTTP over Envoy HTTP: calls per second of CPU", Work::Grpc, 1.50),
    ours("our HTTP over Envoy HTTP: peak memory", Work::HttpCrowd, Whole(Figure::PeakRss), (AtMost, 0.50)),
    Promise {
        what: "our HTTP tunnel over Envoy HTTP mTLS: CPU of both proxies",
        mode: Mode::HttpTunnel,
        references: ENVOY_PAIR,
        work: Work::HttpMany,
        measure: Whole(Figure::ProxyCpu),
        limit: (AtMost, 0.70),
        columns: Columns::OneCore,
    },
];

/// How much our sidecar gets done in a second of processor time, against Envoy's.
const fn per_second(what: &'static str, work: Work, times: f64) -> Promise {
    ours(what, work, Whole(Figure::PerCpuSecond), (AtLeast, times))
}

/// Our sidecar against Envoy's.
const fn ours(what: &'static str, work: Work, measure: Measure, limit: (Bound, f64)) -> Promise {
    let (mode, references, columns) = (Mode::HttpEbpf, ENVOY, Columns::OneCore);
    Promise { what, mode, references, work, measure, limit, columns }
}

/// What a request through a tunnel may cost, whatever it costs others.
pub(super) fn of_pair(comparison: &Comparison, seating: Seating) -> Target {
    let found = comparison.figure(Mode::HttpTunnel, Work::HttpMany, seating, Figure::ProxyCpu);
    let what = format!("our HTTP tunnel: CPU of both proxies ({})", Work::HttpMany.title());
    Target::at_most(what, MOST_OF_A_PAIR, Unit::Microseconds, found)
}

/// The promises about the memory of a sidecar that observes requests.
pub(crate) fn of_observing(observing: Option<&Observing>) -> Vec<Target> {
    let megabytes = |bytes: Option<u64>| Spread::of(bytes.map(|bytes| bytes as f64 / 1e6));
    let target = |what, limit, bytes| Target::at_most(what, limit, Unit::Megabytes, megabytes(bytes));
    vec![
        target(
            "idle sidecar with HTTP, traces and metrics, resident".to_owned(),
            MOST_IDLE,
            observing.map(|it| it.idle_bytes),
        ),
        target(
            format!("what it keeps of {DESTINATIONS} destinations, resident"),
            MOST_OF_DESTINATIONS,
            observing.map(Observing::growth),
        ),
    ]
}
