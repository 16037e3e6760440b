//! Round trips of small messages on one connection to a plain echo.

use std::io::{Read, Write};
use std::time::Instant;

use anyhow::Context;
use clap::Args;

use super::Event;
use super::socket::Target;

#[derive(Debug, Args)]
pub(super) struct PingPong {
    #[command(flatten)]
    target: Target,
    /// Bytes of a message
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Round trips to measure
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// Round trips before measuring
    #[arg(long, default_value_t = 100)]
    warm_up: usize,
}

impl PingPong {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (mut stream, _) = self.target.dial(&[]).0.context("connect")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let message = vec![b'p'; self.size];
        let mut answer = vec![0; self.size];
        let mut trips = Vec::with_capacity(self.count);
        for trip in 0..self.warm_up + self.count {
            let began = Instant::now();
            stream.write_all(&message).context("write")?;
            stream.read_exact(&mut answer).context("read")?;
            if trip >= self.warm_up {
                trips.push(u64::try_from(began.elapsed().as_nanos())?);
            }
        }
        trips.sort_unstable();
        let at = |percent: usize| trips.get((trips.len() * percent / 100).min(trips.len().saturating_sub(1)));
        let (p50_ns, p99_ns) = (at(50).copied().unwrap_or(0), at(99).copied().unwrap_or(0));
        Event::Latencies { count: trips.len() as u64, p50_ns, p99_ns }.emit();
        Ok(())
    }
}
