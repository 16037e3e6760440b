//! What is promised of one way compared with another.

use super::{Bound, Target, Unit, http};
use crate::bench::mode::Mode;
use crate::bench::rounds::{Comparison, Figure, Measure, Plan};
use crate::bench::seating::Seating;
use crate::bench::spread::Spread;
use crate::bench::way::Side;
use crate::bench::work::Work;

/// The foreign proxies that relay bytes without reading them, all behind iptables.
const FOREIGN: &[Mode] = &[Mode::EnvoyTcpIptables, Mode::HaproxyIptables, Mode::NginxIptables];
const OURS_BY_IPTABLES: &[Mode] = &[Mode::RelayIptables];
const NO_CAPTURE: &[Mode] = &[Mode::NoCapture];
const ENVOY_TCP: &[Mode] = &[Mode::EnvoyTcpIptables];
const ENVOY_HTTP: &[Mode] = &[Mode::EnvoyHttpIptables];
const ENVOY_TLS: &[Mode] = &[Mode::EnvoyTlsIptables];

/// What the proxy may weigh under load, in megabytes.
const MOST_RESIDENT: f64 = 10.0;
/// What either proxy of a tunnel may weigh after a run, in megabytes.
const MOST_RESIDENT_WITH_TUNNEL: f64 = 12.0;

/// One mode is to be so much better than the best of others.
pub(super) struct Promise {
    pub(super) what: &'static str,
    pub(super) mode: Mode,
    pub(super) references: &'static [Mode],
    pub(super) work: Work,
    pub(super) measure: Measure,
    pub(super) limit: (Bound, f64),
    pub(super) columns: Columns,
}

/// Where a promise is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Columns {
    /// In every column.
    Every,
    /// Where everything shares one core, and nothing but work is measured.
    OneCore,
}

use Bound::{AtLeast, AtMost};
use Columns::{Every, OneCore};
use Measure::{Added, Whole};

const PROMISES: [Promise; 24] = [
    ours("our relay, eBPF over iptables: added p50", Work::PingPong, Added(Figure::P50), 0.85),
    ours("our relay, eBPF over iptables: p50", Work::Request, Whole(Figure::P50), 0.85),
    ours("our relay, eBPF over iptables: proxy CPU", Work::Request, Whole(Figure::ProxyCpu), 0.80),
    direct(Work::PingPong, 1.03),
    direct(Work::Request, 1.10),
    foreign("added p50", Work::PingPong, Added(Figure::P50), (AtMost, 0.80)),
    foreign("added p50", Work::HttpOne, Added(Figure::P50), (AtMost, 0.80)),
    foreign("requests per second", Work::HttpMany, Whole(Figure::Rate), (AtLeast, 1.10)),
    foreign("proxy CPU", Work::HttpMany, Whole(Figure::ProxyCpu), (AtMost, 0.95)),
    Promise {
        what: "our relay, eBPF, over Envoy TCP: added p99",
        mode: Mode::RelayEbpf,
        references: ENVOY_TCP,
        work: Work::HttpOpenLoop,
        measure: Added(Figure::P99),
        limit: (AtMost, 0.50),
        columns: OneCore,
    },
    envoy(Mode::EnvoyTcpEbpf, ENVOY_TCP, Work::PingPong, Figure::P50, 1.00),
    envoy(Mode::EnvoyTcpEbpf, ENVOY_TCP, Work::PingPong, Figure::P99, 1.00),
    envoy(Mode::EnvoyTcpEbpf, ENVOY_TCP, Work::HttpMany, Figure::P50, 1.00),
    envoy(Mode::EnvoyTcpEbpf, ENVOY_TCP, Work::HttpMany, Figure::P99, 1.00),
    envoy(Mode::EnvoyTcpEbpf, ENVOY_TCP, Work::Request, Figure::P50, 0.90),
    envoy(Mode::EnvoyTcpEbpf, ENVOY_TCP, Work::Request, Figure::P99, 1.00),
    envoy(Mode::EnvoyHttpEbpf, ENVOY_HTTP, Work::HttpOne, Figure::P50, 1.00),
    envoy(Mode::EnvoyHttpEbpf, ENVOY_HTTP, Work::HttpOne, Figure::P99, 1.00),
    envoy(Mode::EnvoyHttpEbpf, ENVOY_HTTP, Work::HttpMany, Figure::P50, 1.00),
    envoy(Mode::EnvoyHttpEbpf, ENVOY_HTTP, Work::HttpMany, Figure::P99, 1.00),
    tunnel("our tunnel over Envoy mTLS: p50", Work::HttpOne, Figure::P50, (AtMost, 0.80), Every),
    tunnel(
        "our tunnel over Envoy mTLS: requests per second",
        Work::HttpMany,
        Figure::Rate,
        (AtLeast, 1.40),
        OneCore,
    ),
    tunnel(
        "our tunnel over Envoy mTLS: throughput",
        Work::BulkOneWay,
        Figure::Throughput,
        (AtLeast, 1.50),
        OneCore,
    ),
    tunnel("our tunnel over Envoy mTLS: p50", Work::Request, Figure::P50, (AtMost, 0.50), OneCore),
];

const fn ours(what: &'static str, work: Work, measure: Measure, limit: f64) -> Promise {
    let (mode, references) = (Mode::RelayEbpf, OURS_BY_IPTABLES);
    Promise { what, mode, references, work, measure, limit: (AtMost, limit), columns: Every }
}

const fn direct(work: Work, limit: f64) -> Promise {
    Promise {
        what: "verdict direct over no capture: p50",
        mode: Mode::Direct,
        references: NO_CAPTURE,
        work,
        measure: Whole(Figure::P50),
        limit: (AtMost, limit),
        columns: Every,
    }
}

/// Our relay against the best of the foreign ones.
const fn foreign(what: &'static str, work: Work, measure: Measure, limit: (Bound, f64)) -> Promise {
    Promise { what, mode: Mode::RelayEbpf, references: FOREIGN, work, measure, limit, columns: OneCore }
}

/// The same Envoy behind our capture and behind iptables.
const fn envoy(mode: Mode, references: &'static [Mode], work: Work, figure: Figure, limit: f64) -> Promise {
    let what = match (mode, figure) {
        (Mode::EnvoyHttpEbpf, Figure::P99) => "Envoy HTTP, our eBPF over iptables: p99",
        (Mode::EnvoyHttpEbpf, _) => "Envoy HTTP, our eBPF over iptables: p50",
        (_, Figure::P99) => "Envoy TCP, our eBPF over iptables: p99",
        _ => "Envoy TCP, our eBPF over iptables: p50",
    };
    Promise { what, mode, references, work, measure: Whole(figure), limit: (AtMost, limit), columns: OneCore }
}

/// Two proxies of ours against two Envoys, mutual TLS between either two.
const fn tunnel(
    what: &'static str,
    work: Work,
    figure: Figure,
    limit: (Bound, f64),
    columns: Columns,
) -> Promise {
    Promise { what, mode: Mode::Tunnel, references: ENVOY_TLS, work, measure: Whole(figure), limit, columns }
}

/// Every promise about what the plan measures.
pub(crate) fn of_comparison(comparison: &Comparison, plan: &Plan) -> Vec<Target> {
    let mut targets = Vec::new();
    let planned = |mode: &Mode| plan.modes.contains(mode);
    let promises = PROMISES.iter().chain(&http::PROMISES);
    for promise in promises.filter(|promise| planned(&promise.mode)) {
        for seating in plan.seatings().filter(|seating| promise.is_for(*seating)) {
            if plan.turns.contains(&(promise.work, seating)) {
                targets.push(promise.held_against(comparison, seating));
            }
        }
    }
    let (mode, seating) = (Mode::RelayEbpf, Seating::OneCore);
    if planned(&mode) && plan.turns.contains(&(Work::HttpMany, seating)) {
        let found = comparison.figure(mode, Work::HttpMany, seating, Figure::PeakRss);
        let what = format!("our relay, eBPF: peak resident memory ({})", Work::HttpMany.title());
        targets.push(Target::at_most(what, MOST_RESIDENT, Unit::Megabytes, found));
    }
    if planned(&Mode::HttpTunnel) && plan.turns.contains(&(Work::HttpMany, seating)) {
        targets.push(http::of_pair(comparison, seating));
    }
    if planned(&Mode::Tunnel) && !plan.turns.is_empty() {
        for (side, whose) in [(Side::Near, "client"), (Side::Far, "server")] {
            let found = Spread::of(comparison.resident(Mode::Tunnel, side));
            let what = format!("our tunnel: the {whose}'s sidecar after all rounds, resident");
            targets.push(Target::at_most(what, MOST_RESIDENT_WITH_TUNNEL, Unit::Megabytes, found));
        }
    }
    targets
}

impl Promise {
    fn is_for(&self, seating: Seating) -> bool {
        self.columns == Every || seating == Seating::OneCore
    }

    fn held_against(&self, comparison: &Comparison, seating: Seating) -> Target {
        let found: Option<Spread> =
            comparison.ratio(self.mode, self.references, self.work, seating, self.measure);
        let subject = if self.references == FOREIGN {
            format!("our relay, eBPF, over the best foreign relay: {}", self.what)
        } else {
            self.what.to_owned()
        };
        let what = format!("{subject} ({}, {})", self.work.title(), seating.title());
        let (bound, limit) = self.limit;
        Target::new(what, bound, (limit, Unit::Times), found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Standing;
    use super::*;
    use crate::bench::seating::Cores;

    #[test]
    fn what_was_not_measured_is_listed_all_the_same() {
        let plan = |works: &[Work]| Plan {
            modes: Mode::ALL.to_vec(),
            turns: Seating::ALL
                .into_iter()
                .flat_map(|seating| works.iter().map(move |&work| (work, seating)))
                .collect(),
            rounds: 1,
            cores: Cores::of_this_machine().unwrap(),
        };
        let targets = of_comparison(&Comparison::default(), &plan(&Work::ALL));
        let everywhere = PROMISES.iter().filter(|promise| promise.columns == Every).count();
        // And what three proxies weigh and two cost.
        assert_eq!(targets.len(), PROMISES.len() + everywhere + http::PROMISES.len() + 4);
        assert!(targets.iter().all(|target| target.standing == Standing::NotMeasured));
        assert!(of_comparison(&Comparison::default(), &plan(&[])).is_empty());
    }
}
