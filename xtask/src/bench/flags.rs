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
    /// Fewer rounds and sizes: at most six minutes
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
    /// HTTP on few and on many connections and at a fixed rate, in every mode
    Http,
    /// Verdicts with few and with many prefixes
    Prefixes,
    /// One workload beside up to 250 others
    Workloads,
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

    /// The comparison that is asked for.
    pub(super) fn plan(&self, cores: Cores) -> Plan {
        let default = match self.extent() {
            Extent::Smoke => 1,
            Extent::Quick => 7,
            Extent::Full => 31,
        };
        let wanted = Work::ALL.into_iter().filter(|work| self.measures(measurement(*work)));
        let seatings = cores.seatings().into_iter();
        let turns = seatings.flat_map(|seating| wanted.clone().map(move |work| (work, seating)));
        // What crosses cores tells more of the machine than of us: a run that has little time asks it for latency alone.
        let has_time = |(work, seating): &(Work, Seating)| {
            self.extent() == Extent::Full
                || *seating == Seating::OneCore
                || matches!(work, Work::PingPong | Work::Request)
        };
        Plan {
            modes: Mode::ALL.to_vec(),
            turns: turns.filter(has_time).collect(),
            rounds: self.rounds.map_or(default, usize::from),
            cores,
        }
    }
}

/// What has to be asked for to have a kind of work done.
fn measurement(work: Work) -> Measurement {
    match work {
        Work::PingPong | Work::PingPongLarge => Measurement::PingPong,
        Work::Request => Measurement::ConnectRequestClose,
        Work::ShortConnections => Measurement::ShortConnections,
        Work::BulkOneWay | Work::BulkBothWays => Measurement::Bulk,
        Work::HttpOne | Work::HttpMany | Work::HttpCrowd | Work::HttpOpenLoop => Measurement::Http,
    }
}
