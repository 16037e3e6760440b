//! What was promised, held against what was measured. A miss stays visible as a miss.

mod comparison;
mod http;

use std::fmt;

use serde::Serialize;

use super::crowd::{CONNECTIONS, Crowd, FEW_PORTS, WITH_FEW_PORTS};
use super::growth::connections::Connections;
use super::growth::workloads::{MOST, Workloads};
use super::node::{self, NodeFigures};
use super::policies::{self, Policies};
use super::prefixes::{FEW, MANY, Prefixes};
use super::spread::Spread;
use super::streams::{STREAMS, Streams};

pub(crate) use comparison::of_comparison;
pub(crate) use http::of_observing;

/// One promise and its figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Target {
    /// What is measured.
    pub(crate) what: String,
    /// The side of the limit that was promised.
    pub(crate) bound: Bound,
    /// Where the promise ends.
    pub(crate) limit: f64,
    /// What both are counted in.
    pub(crate) unit: Unit,
    /// What was found; absent if it could not be measured.
    pub(crate) found: Option<Spread>,
    /// How it stands.
    pub(crate) standing: Standing,
}

/// Which side of a limit is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    /// Not more.
    AtMost,
    /// Not less.
    AtLeast,
}

/// What a figure is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    /// A ratio within one run.
    Times,
    /// Millionths of a second.
    Microseconds,
    /// Thousandths of a second.
    Milliseconds,
    /// 1,000,000 bytes.
    Megabytes,
    /// 1,024 bytes.
    Kibibytes,
    /// Connections at one time.
    Connections,
    /// Things that are counted: descriptors, maps, threads.
    Objects,
}

/// Whether a promise was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Standing {
    /// The median is within the limit.
    Met,
    /// It is not.
    Missed,
    /// There is no figure; the notes say why.
    NotMeasured,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::NotMeasured => "not measured",
        })
    }
}

impl Target {
    fn at_most(what: String, limit: f64, unit: Unit, found: Option<Spread>) -> Self {
        Self::new(what, Bound::AtMost, (limit, unit), found)
    }

    fn new(what: String, bound: Bound, (limit, unit): (f64, Unit), found: Option<Spread>) -> Self {
        let is_good = |median: f64| match bound {
            Bound::AtMost => median <= limit,
            Bound::AtLeast => median >= limit,
        };
        let standing = match found {
            None => Standing::NotMeasured,
            Some(spread) if is_good(spread.median) => Standing::Met,
            Some(_) => Standing::Missed,
        };
        Self { what, bound, limit, unit, found, standing }
    }

    /// The promise, in this target's unit.
    pub(crate) fn show_limit(&self) -> String {
        let sign = match self.bound {
            Bound::AtMost => '≤',
            Bound::AtLeast => '≥',
        };
        format!("{sign} {}", self.show(self.limit))
    }

    /// A figure in this target's unit.
    pub(crate) fn show(&self, figure: f64) -> String {
        match self.unit {
            Unit::Times => format!("{figure:.2}×"),
            Unit::Microseconds => format!("{figure:.1} µs"),
            Unit::Milliseconds => format!("{figure:.0} ms"),
            Unit::Megabytes => format!("{figure:.1} MB"),
            Unit::Kibibytes => format!("{figure:.1} KiB"),
            Unit::Connections | Unit::Objects => format!("{figure:.0}"),
        }
    }
}

/// The promises about verdicts.
pub(crate) fn of_prefixes(prefixes: Option<&Prefixes>) -> Vec<Target> {
    let target = |what, found| {
        Target::at_most(format!("{what}: {MANY} prefixes over {FEW}"), 1.15, Unit::Times, found)
    };
    vec![
        target("connect with verdict direct", prefixes.and_then(|it| it.direct_ratio)),
        target("connect with verdict deny", prefixes.and_then(|it| it.denied_ratio)),
        target("ping-pong through the relay", prefixes.and_then(|it| it.ping_pong_ratio)),
    ]
}

/// The promises about policies.
pub(crate) fn of_policies(policies: Option<&Policies>) -> Vec<Target> {
    let flat = |what, found| {
        let what = format!("{what}: {} policies over {}", policies::MANY, policies::FEW);
        Target::at_most(what, 1.15, Unit::Times, found)
    };
    let many = |what: &str| format!("{what} {} policies", policies::MANY);
    let growth = policies.and_then(Policies::growth).map(|bytes| bytes as f64 / 1e6);
    vec![
        flat("connect that a policy denies in the kernel", policies.and_then(|it| it.denied_ratio)),
        flat("connect-request-close that policies let in", policies.and_then(|it| it.allowed_ratio)),
        Target::at_most(many("memory of"), 20.0, Unit::Megabytes, Spread::of(growth)),
        Target::at_most(
            many("from rename to effect, 100 ms of quiet included:"),
            300.0,
            Unit::Milliseconds,
            policies.and_then(Policies::reload_ms),
        ),
    ]
}

/// The promises about neighbours.
pub(crate) fn of_workloads(workloads: Option<&Workloads>) -> Vec<Target> {
    let target = |what, found| {
        Target::at_most(format!("{what}: {MOST} workloads on the node over one"), 1.10, Unit::Times, found)
    };
    vec![
        target("connect", workloads.and_then(Workloads::connect_ratio)),
        target("ping-pong", workloads.and_then(Workloads::ping_pong_ratio)),
    ]
}

/// The promises about the agent of a node.
pub(crate) fn of_node(node: Option<&NodeFigures>) -> Vec<Target> {
    let target = |what: &str, limit, unit, of: fn(&NodeFigures) -> Option<Spread>| {
        Target::at_most(format!("{what}, {} pods on the node", node::MOST), limit, unit, node.and_then(of))
    };
    vec![
        target("the agent idle, resident", 60.0, Unit::Megabytes, NodeFigures::resident),
        target("each further pod, resident in the agent", 0.2, Unit::Megabytes, NodeFigures::each),
        target("from told of a pod to serving it", 50.0, Unit::Milliseconds, NodeFigures::start),
        target("ADD of the CNI plugin, p99", 30.0, Unit::Milliseconds, NodeFigures::add_p99),
        target("connect, over that of a pod alone", 1.10, Unit::Times, NodeFigures::connect_ratio),
        target(
            &format!("{} pods a minute come and go: objects that stay", node::PER_MINUTE),
            0.0,
            Unit::Objects,
            NodeFigures::leaked_objects,
        ),
        target("memory that stays of them", 1.0, Unit::Megabytes, NodeFigures::leaked_memory),
        target("take-over by a second agent", 2000.0, Unit::Milliseconds, NodeFigures::takeover),
        target("connections not answered meanwhile", 0.0, Unit::Connections, NodeFigures::refused),
    ]
}

/// The promise about connections that stand.
pub(crate) fn of_connections(connections: Option<&Connections>) -> Vec<Target> {
    let line = connections.and_then(Connections::line);
    let found = Spread::of(line.map(|line| 1.0 + line.largest_deviation));
    let what = "memory by number of connections, at its farthest from a straight line".to_owned();
    vec![Target::at_most(what, 1.10, Unit::Times, found)]
}

/// The promises about memory.
pub(crate) fn of_memory(crowd: Option<&Crowd>) -> Vec<Target> {
    let found = |bytes: Option<f64>, unit: f64| Spread::of(bytes.map(|bytes| bytes / unit));
    vec![
        Target::at_most(
            "idle sidecar, resident".to_owned(),
            10.0,
            Unit::Megabytes,
            found(crowd.map(|it| it.idle_bytes as f64), 1e6),
        ),
        Target::at_most(
            format!("each of {CONNECTIONS} idle captured connections, resident in the proxy"),
            12.0,
            Unit::Kibibytes,
            found(crowd.map(Crowd::bytes_per_connection), 1024.0),
        ),
    ]
}

/// The promises about streams that do nothing.
pub(crate) fn of_streams(streams: Option<&Streams>) -> Vec<Target> {
    let tunnel = streams.and_then(Streams::tunnel);
    let target = |whose, crowd: Option<Crowd>| {
        let what = format!("each of {STREAMS} idle streams, resident in the {whose}'s sidecar");
        let found = Spread::of(crowd.map(|crowd| crowd.bytes_per_connection() / 1024.0));
        Target::at_most(what, 16.0, Unit::Kibibytes, found)
    };
    vec![target("client", tunnel.map(|idle| idle.near)), target("server", tunnel.map(|idle| idle.far))]
}

/// The promise about few local ports.
pub(crate) fn of_ports(standing: Option<usize>) -> Target {
    let what = format!("connections through the proxy from {FEW_PORTS} local ports");
    let found = Spread::of(standing.map(|standing| standing as f64));
    Target::new(what, Bound::AtLeast, (WITH_FEW_PORTS as f64, Unit::Connections), found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_at_the_limit_meets_it_and_one_above_does_not() {
        let target = |figure| Target::at_most(String::new(), 0.90, Unit::Times, Spread::of(figure)).standing;
        assert_eq!(target(Some(0.90)), Standing::Met);
        assert_eq!(target(Some(0.901)), Standing::Missed);
        assert_eq!(target(None), Standing::NotMeasured);
        assert_eq!(of_ports(Some(WITH_FEW_PORTS)).standing, Standing::Met);
        assert_eq!(of_ports(Some(WITH_FEW_PORTS - 1)).standing, Standing::Missed);
    }

    #[test]
    fn what_was_not_measured_is_listed_all_the_same() {
        let growth = of_workloads(None)
            .into_iter()
            .chain(of_connections(None))
            .chain(of_node(None))
            .chain(of_streams(None))
            .chain(of_observing(None));
        let mut targets =
            of_prefixes(None).into_iter().chain(of_policies(None)).chain(of_memory(None)).chain(growth);
        assert!(targets.all(|target| target.standing == Standing::NotMeasured));
    }
}
