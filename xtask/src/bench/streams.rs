//! Thousands of streams in one tunnel that do nothing: what each weighs in either sidecar. Beside them, what a connection
//! weighs in either Envoy of a pair.

use anyhow::{Context, Result};
use serde::Serialize;

use super::crowd::{Crowd, Hall};
use super::mode::Mode;
use super::table::Table;
use crate::lab::Lab;

/// How many streams stand at once.
pub(crate) const STREAMS: usize = 10_000;
/// How many connections stand in Envoy: each is two descriptors of either Envoy's, and a handshake.
const CONNECTIONS: usize = 4_000;

/// What idle streams weigh.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Streams {
    /// By the way that carries them: ours first.
    pub(crate) ways: Vec<Idle>,
    /// What is left out, and why.
    #[serde(skip)]
    pub(crate) notes: Vec<String>,
}

/// What the two proxies of one way weigh.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Idle {
    pub(crate) mode: Mode,
    pub(crate) near: Crowd,
    pub(crate) far: Crowd,
}

/// Weighs both ways; one that fails is left out, and said.
pub(crate) fn measure(lab: &Lab) -> Result<Streams> {
    let mut streams = Streams::default();
    for (mode, count) in [(Mode::Tunnel, STREAMS), (Mode::EnvoyTlsIptables, CONNECTIONS)] {
        let weighed = weigh(lab, mode, count);
        lab.patience().check()?;
        match weighed {
            Ok(idle) => streams.ways.push(idle),
            Err(error) => {
                streams.notes.push(format!("idle streams: {} is left out: {error:#}", mode.title()));
            }
        }
    }
    Ok(streams)
}

fn weigh(lab: &Lab, mode: Mode, count: usize) -> Result<Idle> {
    let (_standing, weighed) = Hall::open(lab, &format!("i-{}-", mode.word()), mode)?.weigh(lab, count)?;
    let far = weighed.far.context("there is no proxy beside the server")?;
    Ok(Idle { mode, near: weighed.near, far })
}

impl Streams {
    /// Our own way.
    pub(crate) fn tunnel(&self) -> Option<&Idle> {
        self.ways.iter().find(|idle| idle.mode == Mode::Tunnel)
    }

    /// A row for each proxy.
    pub(crate) fn tables(&self) -> Vec<(String, Table)> {
        let head = ["proxy", "idle streams", "before", "with them", "each"];
        let mut table = Table::with_head(head);
        for Idle { mode, near, far } in &self.ways {
            for (crowd, whose) in [(near, "client"), (far, "server")] {
                let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
                table.add(vec![
                    format!("{}: the {whose}'s", mode.title()),
                    crowd.connections.to_string(),
                    megabytes(crowd.idle_bytes),
                    megabytes(crowd.crowded_bytes),
                    format!("{:.1} KiB", crowd.bytes_per_connection() / 1024.0),
                ]);
            }
        }
        vec![("Idle streams between two proxies, resident".to_owned(), table)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_proxy_of_a_way_has_a_row() {
        let crowd = |each: u64| Crowd {
            idle_bytes: 8_000_000,
            crowded_bytes: 8_000_000 + each * STREAMS as u64,
            connections: STREAMS,
            steered: STREAMS as u64,
        };
        let idle = Idle { mode: Mode::Tunnel, near: crowd(10_240), far: crowd(5_120) };
        let streams = Streams { ways: vec![idle], ..Streams::default() };
        let table = streams.tables()[0].1.to_string();
        assert!(table.contains("10.0 KiB") && table.contains("5.0 KiB"), "{table}");
        assert!(streams.tunnel().is_some() && Streams::default().tunnel().is_none());
    }
}
