//! One workload, measured while more and more others stand on the same node.

use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use super::Curve;
use super::ladder::{Figure, Found, Ladder};
use super::line::Line;
use super::node::{self, Node, Weight};
use super::sample;
use crate::bench::flags::Extent;
use crate::bench::mode::Mode;
use crate::bench::pair::Pair;
use crate::bench::seating::Cores;
use crate::bench::setting::Setting;
use crate::bench::spread::Spread;
use crate::bench::table::Table;
use crate::lab::Lab;

/// The most workloads.
pub(crate) const MOST: usize = 250;

/// How many processes of one user may watch files (inotify(7)).
const INSTANCES: &str = "fs/inotify/max_user_instances";

/// How many workloads stand in turn.
const SIZES: [usize; 4] = [1, 10, 50, MOST];
/// How many when there is little time.
const FEWER_SIZES: [usize; 3] = [1, 50, MOST];
/// How many just to see that it works.
const FEWEST_SIZES: [usize; 2] = [1, 4];

/// What one workload pays for its neighbours.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Workloads {
    /// While all others have no connection.
    pub(crate) beside_idle: Ladder,
    /// While each of the others has one that stands.
    pub(crate) beside_connected: Ladder,
    /// What it takes to have them, by number of workloads.
    pub(crate) stops: Vec<Stop>,
    /// What a reader should know next to the figures.
    pub(crate) notes: Vec<String>,
}

/// The node with one number of workloads.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Stop {
    pub(crate) workloads: usize,
    /// Memory of all sidecars without connections, shared pages counted once, in bytes.
    pub(crate) idle_bytes: u64,
    /// The same with one connection in each.
    pub(crate) connected_bytes: u64,
    /// How much of one core the sidecars of the others use while none has a connection.
    pub(crate) others_load: f64,
    /// What the kernel keeps for all of them as BPF maps and programs, in bytes.
    pub(crate) kernel_bytes: u64,
    /// How many had not been there at the stop before.
    pub(crate) added: usize,
    /// How long it took to add them; the first was there already.
    pub(crate) adding_seconds: Option<f64>,
}

/// Climbs from one workload to [`MOST`], several times if there is time, and measures at each stop as often as is asked for. A
/// node holds one number of workloads at a time, so each climb ends where it began, and what was found on the way is
/// compared with the mean of both ends.
pub(crate) fn measure(lab: &Lab, extent: Extent, rounds: usize, cores: Cores) -> Result<Workloads> {
    let first = Pair::raise(lab, Mode::RelayEbpf)?;
    let (sizes, climbs): (&[usize], usize) = match extent {
        Extent::Smoke => (&FEWEST_SIZES, 1),
        Extent::Quick => (&FEWER_SIZES, 1),
        Extent::Full => (&SIZES, 3),
    };
    let samples = rounds.div_ceil(climbs);
    let mut found = Workloads::default();
    // Each sidecar watches its configuration, and they are all the same user's.
    let watches = Setting::at_least(INSTANCES, 4 * MOST as u64)?;
    found.notes.extend(watches.before().map(|before| {
        format!(
            "workloads: fs.inotify.max_user_instances was {before} and is raised for the measurement: with fewer than \
             one for each sidecar of a user, further sidecars do not start"
        )
    }));
    for climb in 0..climbs {
        let mut climber = Climber { lab, first: &first, samples, cores, node: Node::default() };
        node::settle(lab)?;
        let mut alone = climber.take()?;
        found.note(climber.weigh_alone()?);
        for &size in sizes.iter().filter(|size| **size > 1) {
            let stop = climber.stop(size, climb * samples, &mut found)?;
            found.note(stop);
        }
        climber.node = Node::default();
        node::settle(lab)?;
        for (before, after) in alone.iter_mut().zip(climber.take()?) {
            for (figure, value) in before {
                *value = f64::midpoint(*value, after.get(figure).copied().unwrap_or(*value));
            }
        }
        for (sample, found_alone) in alone.into_iter().enumerate() {
            let round = climb * samples + sample;
            found.beside_idle.add(round, 1, found_alone.clone());
            found.beside_connected.add(round, 1, found_alone);
        }
    }
    Ok(found)
}

/// Somebody on the way up.
struct Climber<'a> {
    lab: &'a Lab,
    first: &'a Pair,
    samples: usize,
    cores: Cores,
    node: Node,
}

impl Climber<'_> {
    /// What the first workload finds, again and again.
    fn take(&self) -> Result<Vec<Found>> {
        let each = (0..self.samples).map(|_| {
            self.lab.patience().check()?;
            sample(self.first, self.cores)
        });
        each.collect()
    }

    fn stop(&mut self, size: usize, first_round: usize, found: &mut Workloads) -> Result<Stop> {
        let others = size - 1;
        let added = others - self.node.len();
        let began = Instant::now();
        self.node.grow(self.lab, others).with_context(|| format!("raise {size} workloads"))?;
        let adding_seconds = began.elapsed().as_secs_f64();
        let (began, before) = (Instant::now(), self.node.cpu_ns()?);
        for (sample, idle) in self.take()?.into_iter().enumerate() {
            found.beside_idle.add(first_round + sample, size, idle);
        }
        let used = self.node.cpu_ns()?.saturating_sub(before) as f64 / 1e9;
        let others_load = used / began.elapsed().as_secs_f64();
        let idle = self.weigh()?;
        self.node.hold(self.lab).with_context(|| format!("connect {others} workloads"))?;
        for (sample, busy) in self.take()?.into_iter().enumerate() {
            found.beside_connected.add(first_round + sample, size, busy);
        }
        let connected = self.weigh()?;
        self.node.let_go();
        Ok(Stop {
            workloads: size,
            idle_bytes: idle.proportional,
            connected_bytes: connected.proportional,
            others_load,
            kernel_bytes: idle.kernel,
            added,
            adding_seconds: Some(adding_seconds),
        })
    }

    /// The stop before anybody else is there.
    fn weigh_alone(&self) -> Result<Stop> {
        let weight = self.weigh()?;
        Ok(Stop {
            workloads: 1,
            idle_bytes: weight.proportional,
            connected_bytes: weight.proportional,
            others_load: 0.0,
            kernel_bytes: weight.kernel,
            added: 1,
            adding_seconds: None,
        })
    }

    /// What all sidecars weigh, that of the first workload too.
    fn weigh(&self) -> Result<Weight> {
        let sidecar = self.first.sidecar().context("the first workload has no sidecar")?;
        let (first, others) = (node::weigh(sidecar)?, self.node.weigh()?);
        Ok(Weight {
            proportional: first.proportional + others.proportional,
            kernel: first.kernel + others.kernel,
        })
    }
}

impl Workloads {
    /// Keeps the last climb's stops.
    fn note(&mut self, stop: Stop) {
        self.stops.retain(|other| other.workloads != stop.workloads);
        self.stops.push(stop);
        self.stops.sort_by_key(|stop| stop.workloads);
    }

    /// The most workloads over one: a connect.
    pub(crate) fn connect_ratio(&self) -> Option<Spread> {
        self.beside_connected.growth(Figure::Connect)
    }

    /// The most workloads over one: a round trip.
    pub(crate) fn ping_pong_ratio(&self) -> Option<Spread> {
        self.beside_connected.growth(Figure::PingPong)
    }

    fn points(&self, of: impl Fn(&Stop) -> f64) -> Vec<(f64, f64)> {
        self.stops.iter().map(|stop| (stop.workloads as f64, of(stop))).collect()
    }

    /// Latency and memory over the number of workloads.
    pub(crate) fn curves(&self) -> Vec<Curve> {
        let megabytes =
            |name: &str, of: fn(&Stop) -> u64| (name.to_owned(), self.points(|stop| of(stop) as f64 / 1e6));
        vec![
            self.beside_connected.curve("Latency in one workload beside others", "workloads on the node"),
            Curve {
                title: "Memory of all sidecars of a node".to_owned(),
                x_label: "workloads on the node".to_owned(),
                y_label: "MB".to_owned(),
                series: vec![
                    megabytes("processes, idle", |stop| stop.idle_bytes),
                    megabytes("processes, one connection each", |stop| stop.connected_bytes),
                    megabytes("BPF maps and programs", |stop| stop.kernel_bytes),
                ],
            },
        ]
    }

    /// Latency beside idle and beside connected workloads, and memory.
    pub(crate) fn tables(&self) -> Vec<(String, Table)> {
        let title = |others| format!("One workload beside others, {others}, one core, µs");
        vec![
            (title("each of them with one idle connection"), self.beside_connected.table("workloads")),
            (title("none of them with a connection"), self.beside_idle.table("workloads")),
            ("Memory of all sidecars of a node".to_owned(), self.memory()),
        ]
    }

    fn memory(&self) -> Table {
        let mut table = Table::with_head([
            "workloads",
            "processes idle",
            "each",
            "with one connection each",
            "each",
            "BPF maps and programs",
            "each",
            "CPU of the others, idle",
            "added in",
        ]);
        for stop in &self.stops {
            let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
            let each = |bytes: u64| format!("{:.2} MB", bytes as f64 / 1e6 / stop.workloads as f64);
            let [idle, connected, kernel] = [stop.idle_bytes, stop.connected_bytes, stop.kernel_bytes]
                .map(|bytes| (megabytes(bytes), each(bytes)));
            let added = stop.adding_seconds.map(|seconds| format!("{} in {seconds:.1} s", stop.added));
            table.add(vec![
                stop.workloads.to_string(),
                idle.0,
                idle.1,
                connected.0,
                connected.1,
                kernel.0,
                kernel.1,
                format!("{:.2} % of a core", stop.others_load * 100.0),
                added.unwrap_or_default(),
            ]);
        }
        let slope = |of: fn(&Stop) -> u64| {
            let line = Line::through(&self.points(|stop| of(stop) as f64));
            line.map_or_else(String::new, |line| format!("{:.2} MB", line.slope / 1e6))
        };
        let (none, row) = (String::new, "each one more".to_owned());
        table.add(vec![
            row,
            none(),
            slope(|stop| stop.idle_bytes),
            none(),
            slope(|stop| stop.connected_bytes),
            none(),
            slope(|stop| stop.kernel_bytes),
        ]);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_by_workload() {
        let stop = |workloads: usize| Stop {
            workloads,
            idle_bytes: 4_000_000 + 1_000_000 * workloads as u64,
            connected_bytes: 4_000_000 + 1_100_000 * workloads as u64,
            others_load: 0.01,
            kernel_bytes: 800_000 * workloads as u64,
            added: workloads,
            adding_seconds: Some(2.0),
        };
        let mut workloads = Workloads::default();
        for size in [250, 1, 50, 50] {
            workloads.note(stop(size));
        }
        assert_eq!(workloads.stops.len(), 3);
        let text = workloads.memory().to_string();
        assert!(text.contains("254.0 MB") && text.contains("1.10 MB"), "{text}");
    }
}
