//! Connections that stand in a proxy: what each weighs, and what further ones pay for them.

use anyhow::{Result, ensure};
use serde::Serialize;

use super::ladder::Ladder;
use super::line::Line;
use super::{Curve, SEATING, requests, round_trips};
use crate::bench::crowd::{CONNECTIONS, Crowd, Hall, Standing};
use crate::bench::flags::Extent;
use crate::bench::mode::Mode;
use crate::bench::pair::serve;
use crate::bench::seating::{Cores, Hop, Role, seat};
use crate::bench::table::Table;
use crate::bench::work::Work;
use crate::lab::{Lab, Program};

/// How many connections stand, each number in a proxy of its own.
const SIZES: [usize; 4] = [1, 100, 1_000, CONNECTIONS];
/// How many when there is little time.
const FEWER_SIZES: [usize; 3] = [1, 1_000, CONNECTIONS];

/// What standing connections cost.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Connections {
    /// What further connections find.
    pub(crate) latency: Ladder,
    /// What the proxy weighs, by number of connections.
    pub(crate) weights: Vec<Crowd>,
}

/// A proxy with its connections, and a server for more of them.
struct Occupied {
    // In this order: the connections end before the proxy is told to.
    _standing: Standing,
    server: Program,
    hall: Hall,
    crowd: Crowd,
}

/// Measures all sizes in interleaved rounds, everything on one core.
pub(crate) fn measure(lab: &Lab, extent: Extent, rounds: usize, cores: Cores) -> Result<Connections> {
    let sizes: &[usize] = match extent {
        Extent::Smoke | Extent::Quick => &FEWER_SIZES,
        Extent::Full => &SIZES,
    };
    let halls: Vec<Occupied> = sizes.iter().map(|&size| Occupied::fill(lab, size)).collect::<Result<_>>()?;
    let mut found =
        Connections { weights: halls.iter().map(|hall| hall.crowd).collect(), ..Connections::default() };
    for round in 0..rounds {
        for occupied in &halls {
            lab.patience().check()?;
            occupied.sample(cores, round, &mut found.latency)?;
        }
    }
    Ok(found)
}

impl Occupied {
    fn fill(lab: &Lab, size: usize) -> Result<Self> {
        let hall = Hall::open(lab, &format!("c{size}-"), Mode::RelayEbpf)?;
        let at = [Work::Request, Work::PingPong].map(|work| hall.server().v4(work.port()));
        let server = serve(lab, hall.server(), &at)?;
        let (standing, weighed) = hall.weigh(lab, size)?;
        Ok(Self { _standing: standing, server, hall, crowd: weighed.near })
    }

    fn sample(&self, cores: Cores, round: usize, into: &mut Ladder) -> Result<()> {
        let core = |role| SEATING.core(cores, role, Hop::Relay);
        seat(self.server.pid(), core(Role::Server))?;
        seat(self.hall.sidecar()?.pid(), core(Role::Proxy))?;
        let (client, at) = (self.hall.client(), |work: Work| self.hall.server().v4(work.port()));
        let mut found = requests(client, at(Work::Request), core(Role::Client))?;
        found.extend(round_trips(client, at(Work::PingPong), core(Role::Client))?);
        into.add(round, self.crowd.connections, found);
        let steered = self.hall.steered()?;
        ensure!(steered > self.crowd.steered, "further connections were not steered to the proxy");
        Ok(())
    }
}

impl Connections {
    /// What each connection adds to the proxy's resident memory, in bytes, and how straight the line is.
    pub(crate) fn line(&self) -> Option<Line> {
        let points = self.weights.iter().map(|it| (it.connections as f64, it.crowded_bytes as f64));
        Line::through(&points.collect::<Vec<_>>())
    }

    /// The proxy with the most connections.
    pub(crate) fn crowd(&self) -> Option<Crowd> {
        self.weights.last().copied()
    }

    /// Latency and memory over the number of connections.
    pub(crate) fn curves(&self) -> Vec<Curve> {
        let points = self.weights.iter().map(|it| (it.connections as f64, it.crowded_bytes as f64 / 1e6));
        vec![
            self.latency.curve("Latency of further connections", "connections that stand"),
            Curve {
                title: "Resident memory of the proxy".to_owned(),
                x_label: "connections that stand".to_owned(),
                y_label: "MB".to_owned(),
                series: vec![("resident".to_owned(), points.collect())],
            },
        ]
    }

    /// Latency and memory by number of connections.
    pub(crate) fn tables(&self) -> Vec<(String, Table)> {
        vec![
            (
                "Further connections beside those that stand, one core, µs".to_owned(),
                self.latency.table("connections that stand"),
            ),
            ("Resident memory of the proxy with connections that stand".to_owned(), self.memory()),
        ]
    }

    fn memory(&self) -> Table {
        let mut table =
            Table::with_head(["connections", "before", "with them", "the line says", "per connection"]);
        let line = self.line();
        let megabytes = |bytes: f64| format!("{:.1} MB", bytes / 1e6);
        for crowd in &self.weights {
            let expected = line.map(|line| line.base + line.slope * crowd.connections as f64);
            table.add(vec![
                crowd.connections.to_string(),
                megabytes(crowd.idle_bytes as f64),
                megabytes(crowd.crowded_bytes as f64),
                expected.map_or_else(String::new, megabytes),
                format!("{:.1} KiB", crowd.bytes_per_connection() / 1024.0),
            ]);
        }
        if let Some(line) = line {
            table.add(vec![
                format!("each one more; at most {:.1} % from the line", line.largest_deviation * 100.0),
                String::new(),
                String::new(),
                String::new(),
                format!("{:.1} KiB", line.slope / 1024.0),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_by_the_connection_is_on_a_line() {
        let crowd = |connections: usize| Crowd {
            idle_bytes: 6_000_000,
            crowded_bytes: 6_000_000 + 10_240 * connections as u64,
            connections,
            steered: connections as u64,
        };
        let connections =
            Connections { weights: [1, 100, 8_000].map(crowd).to_vec(), ..Connections::default() };
        let line = connections.line().unwrap();
        assert!((line.slope - 10_240.0).abs() < 1e-3 && line.largest_deviation < 1e-9, "{line:?}");
        assert_eq!(connections.crowd().unwrap().connections, 8_000);
        assert!(connections.memory().to_string().contains("10.0 KiB"));
    }
}
