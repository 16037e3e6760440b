//! What a run is asked for.

use std::path::PathBuf;

use clap::ValueEnum;

use super::mode::Mode;
use super::rounds::Plan;
use super::seating::{Cores, Seating};
use super::work::Work;

/// What to measure and where to tell it.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Fewer rounds and sizes, and no work of which nothing is promised: at most six minutes
    #[arg(long)]
    quick: bool,
    /// Everything once and as briefly as it can be: to see that it works, the figures mean nothing
    #[arg(long, conflicts_with_all = ["quick", "rounds"])]
    smoke: bool,
    /// How many interleaved rounds [default: 31, or 7 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Only these measurements
    #[arg(long, value_enum, value_name = "NAME", num_args = 1..)]
    only: Vec<Measurement>,
    /// Measure this binary instead of building the one of this checkout
    #[arg(long, value_name = "FILE")]
    pub(super) binary: Option<PathBuf>,
    /// Where to put report.json, report.md, report.html and the charts [default: target/bench]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
}

/// How thorough a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extent {
    /// Just so that everything has happened.
    Smoke,
    /// Enough for a first judgement.
    Quick,
    /// Enough for a report that is kept.
    Full,
}

/// Something that can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Measurement {
    /// Round trips of small and large messages on one connection, in every mode
    PingPong,
    /// Connections of one request each, in every mode
    ConnectRequestClose,
    /// The same, several at a time
    ShortConnections,
    /// Very many bytes on one connection, one way and both ways, in every mode
    Bulk,
    /// HTTP/1.1 on few and on many connections and at a fixed rate, in every mode, HTTP/2 and gRPC in those that read it;
    /// alone, nothing but those
    Http,
    /// Mutual TLS between two proxies, ours and Envoy's: the work that is promised of it, and what idle streams weigh
    Tunnel,
    /// Verdicts with few and with many prefixes
    Prefixes,
    /// Connections to a workload with few and with many policies, and how long a change of them takes
    Policies,
    /// One workload beside up to 250 others
    Workloads,
    /// One agent that serves up to 250 pods, and a second one that takes them over
    Node,
    /// Further connections beside up to 8,000 that stand
    Connections,
    /// What a sidecar weighs
    Memory,
    /// How many connections few local ports allow
    Ports,
    /// Where the hop goes, step by step
    Hop,
}

impl Flags {
    pub(super) fn extent(&self) -> Extent {
        match (self.smoke, self.quick) {
            (true, _) => Extent::Smoke,
            (false, true) => Extent::Quick,
            (false, false) => Extent::Full,
        }
    }

    pub(super) fn measures(&self, measurement: Measurement) -> bool {
        self.only.is_empty() || self.only.contains(&measurement)
    }

    fn wants(&self, work: Work) -> bool {
        self.measures(measurement(work))
            || (self.measures(Measurement::Tunnel) && Work::TUNNEL.contains(&work))
    }

    /// Whether this is all that is asked for of the works that are compared.
    fn compares_alone(&self, measurement: Measurement) -> bool {
        let others = COMPARED.into_iter().filter(|other| *other != measurement);
        self.measures(measurement) && !others.into_iter().any(|other| self.measures(other))
    }

    /// The ways that are walked: all of them, unless all that is asked for is about few.
    fn modes(&self) -> Vec<Mode> {
        match () {
            () if self.compares_alone(Measurement::Tunnel) => Mode::TUNNELS.to_vec(),
            () if self.compares_alone(Measurement::Http) => Mode::HTTP.to_vec(),
            () => Mode::ALL.to_vec(),
        }
    }

    /// The comparison that is asked for.
    pub(super) fn plan(&self, cores: Cores) -> Plan {
        let default = match self.extent() {
            Extent::Smoke => 1,
            Extent::Quick => 7,
            Extent::Full => 31,
        };
        let wanted = Work::ALL.into_iter().filter(|work| self.wants(*work));
        let seatings = cores.seatings().into_iter();
        let turns = seatings.flat_map(|seating| wanted.clone().map(move |work| (work, seating)));
        // What crosses cores tells more of the machine than of us: a run that has little time asks it for latency alone.
        let has_time = |(work, seating): &(Work, Seating)| {
            if self.extent() == Extent::Quick && self.only.is_empty() && !work.is_promised() {
                return false;
            }
            self.extent() == Extent::Full
                || self.compares_alone(Measurement::Tunnel)
                || *seating == Seating::OneCore
                || matches!(work, Work::PingPong | Work::Request)
        };
        Plan {
            modes: self.modes(),
            turns: turns.filter(has_time).collect(),
            rounds: self.rounds.map_or(default, usize::from),
            cores,
        }
    }
}

/// What the ways are compared in.
const COMPARED: [Measurement; 6] = [
    Measurement::PingPong,
    Measurement::ConnectRequestClose,
    Measurement::ShortConnections,
    Measurement::Bulk,
    Measurement::Http,
    Measurement::Tunnel,
];

/// What has to be asked for to have a kind of work done.
fn measurement(work: Work) -> Measurement {
    match work {
        Work::PingPong | Work::PingPongLarge => Measurement::PingPong,
        Work::Request => Measurement::ConnectRequestClose,
        Work::ShortConnections => Measurement::ShortConnections,
        Work::BulkOneWay | Work::BulkBothWays => Measurement::Bulk,
        Work::HttpOne | Work::HttpMany | Work::HttpCrowd | Work::HttpOpenLoop | Work::Http2 | Work::Grpc => {
            Measurement::Http
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(only: &[Measurement]) -> Plan {
        let flags =
            Flags { quick: true, smoke: false, rounds: None, only: only.to_vec(), binary: None, out: None };
        flags.plan(Cores::of_this_machine().unwrap())
    }

    #[test]
    fn the_tunnel_alone_is_compared_with_what_it_has_to_beat() {
        let plan = plan(&[Measurement::Tunnel]);
        assert_eq!(plan.modes, Mode::TUNNELS);
        assert!(plan.works(Seating::OneCore).eq(Work::TUNNEL));
    }

    #[test]
    fn a_quick_run_leaves_out_what_nothing_is_promised_of_unless_it_is_asked_for() {
        let works = |plan: &Plan| plan.works(Seating::OneCore).collect::<Vec<_>>();
        assert!(works(&plan(&[])).into_iter().eq(Work::ALL.into_iter().filter(|work| work.is_promised())));
        assert_eq!(works(&plan(&[Measurement::Bulk])), [Work::BulkOneWay, Work::BulkBothWays]);
    }

    #[test]
    fn http_alone_is_compared_between_those_who_read_it() {
        let plan = plan(&[Measurement::Http, Measurement::Memory]);
        assert_eq!(plan.modes, Mode::HTTP);
        assert!(plan.works(Seating::OneCore).all(Work::is_http));
        assert!(plan.works(Seating::OneCore).any(Work::is_http2));
    }

    #[test]
    fn beside_other_work_the_tunnel_and_http_are_ways_of_many() {
        for only in [
            [].as_slice(),
            &[Measurement::Http, Measurement::Tunnel],
            &[Measurement::Tunnel, Measurement::PingPong],
        ] {
            assert_eq!(plan(only).modes, Mode::ALL, "{only:?}");
        }
        assert!(plan(&[Measurement::Memory]).turns.is_empty());
    }
}
