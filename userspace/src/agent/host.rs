//! What a process has once, however many workloads it serves.

use std::sync::Arc;

use anyhow::{Context, Result};

use crate::agent::register::{Register, Serves};
use crate::proxy::{Room, Threads, Workers};
use crate::sys::descriptors;

/// Threads that connections are relayed on at most: what serving a workload is expected to take of a machine.
const WORKERS: usize = 2;

/// The host of one or many instances.
pub(super) struct Host {
    threads: Threads,
    room: Option<Arc<Room>>,
    /// Who is served, for whoever asks.
    pub(super) register: Arc<Register>,
}

impl Host {
    /// Starts the threads, with nobody to serve yet. The limit on descriptors is what it will be.
    pub(super) fn start(serves: Serves) -> Result<Arc<Self>> {
        let threads = Threads::start(workers()).context("start the threads that relay")?;
        let room = match serves {
            Serves::Node => {
                let limit = descriptors::limit().context("ask for the limit on descriptors")?;
                Some(Room::new(limit, descriptors::open))
            }
            Serves::Command | Serves::Pod => None,
        };
        Ok(Arc::new(Self { threads, room, register: Register::new(serves) }))
    }

    /// What the instances share, if there may be many.
    pub(super) fn room(&self) -> Option<Arc<Room>> {
        self.room.clone()
    }

    /// Where the connections of one more instance live. What they keep of connections to upstreams is that instance's alone.
    pub(super) fn workers(&self) -> Workers {
        self.threads.workers()
    }
}

/// As many threads as the machine has cores: on one core a second one would only cost wake-ups.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS)
}
