//! What a process has once, however many workloads it serves.

use std::sync::Arc;

use anyhow::{Context, Result};

use crate::agent::register::{Register, Serves};
use crate::proxy::{Threads, Workers};

/// Threads that connections are relayed on at most: what serving a workload is expected to take of a machine.
const WORKERS: usize = 2;

/// The host of one or many instances.
pub(super) struct Host {
    threads: Threads,
    /// Who is served, for whoever asks.
    pub(super) register: Arc<Register>,
}

impl Host {
    /// Starts the threads, with nobody to serve yet.
    pub(super) fn start(serves: Serves) -> Result<Arc<Self>> {
        let threads = Threads::start(workers()).context("start the threads that relay")?;
        Ok(Arc::new(Self { threads, register: Register::new(serves) }))
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
