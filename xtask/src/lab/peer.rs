//! The programs that play the app's part in a workload: `cargo xtask peer …`, not for people.
//!
//! Plain blocking sockets and as little else as possible: what they cost themselves is in every figure. They know
//! nothing of the product. What they find out is one line of JSON, an [`Answer`].

mod client;
mod crowd;
mod server;

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::process::capture;

pub(crate) use crowd::standing;

/// Bytes of a message; requests, answers and pings are all as long.
const MESSAGE: usize = 64;

/// Bytes a server or client gives up waiting for after this long: nothing in a lab takes longer.
const SILENCE: Duration = Duration::from_secs(10);

/// A program that plays the app's part.
#[derive(Args)]
pub(crate) struct Flags {
    /// The only core to run on
    #[arg(long)]
    core: Option<usize>,
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Echo on one address, and answer one request per connection on another
    Serve { echo: SocketAddr, answer: SocketAddr },
    /// Echo once on each connection and keep it open, for ever
    Collect { listen: Vec<SocketAddr> },
    /// Send a message and wait for its echo, again and again
    PingPong { to: SocketAddr, count: usize },
    /// Connect, ask, read the answer, close, again and again
    Request { to: SocketAddr, count: usize },
    /// Connect and close, again and again
    Connect { to: SocketAddr, count: usize },
    /// Open connections, exchange one message on each, say so, keep them for ever
    Hold { count: usize, to: Vec<SocketAddr> },
}

/// Plays a part.
pub(crate) fn play(flags: Flags) -> Result<()> {
    if let Some(core) = flags.core {
        pin(Pid::from_raw(0), core)?;
    }
    match flags.part {
        Part::Serve { echo, answer } => server::serve(echo, answer),
        Part::Collect { listen } => crowd::collect(&listen),
        Part::PingPong { to, count } => client::ping_pong(to, count).and_then(|answer| answer.print()),
        Part::Request { to, count } => client::request(to, count).and_then(|answer| answer.print()),
        Part::Connect { to, count } => client::connect(to, count).and_then(|answer| answer.print()),
        Part::Hold { count, to } => crowd::hold(count, &to),
    }
}

/// What a client found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// How the connects ended: `connected`, or the name of the errno.
    pub(crate) outcome: String,
    /// How many connections were tried, those before the ones that count too.
    pub(crate) connections: usize,
    /// One round trip; one connection from connect to close; one connect.
    pub(crate) whole: Latencies,
    /// The connect alone, where that is not the whole.
    pub(crate) connect: Option<Latencies>,
}

impl Answer {
    /// The outcome of connects that worked.
    pub(crate) const CONNECTED: &'static str = "connected";

    fn print(&self) -> Result<()> {
        println!("{}", serde_json::to_string(self).context("write the answer")?);
        Ok(())
    }

    /// Runs a client and reads its answer.
    pub(crate) fn of(client: &mut Command) -> Result<Self> {
        let text = capture(client)?;
        serde_json::from_str(&text).with_context(|| format!("expected a peer's answer, found {text:?}"))
    }
}

/// What many operations took, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Latencies {
    /// How many operations.
    pub(crate) count: usize,
    /// The fastest.
    pub(crate) fastest_ns: u64,
    /// The median.
    pub(crate) p50_ns: u64,
    /// 99 of 100 were not slower.
    pub(crate) p99_ns: u64,
    /// The slowest.
    pub(crate) slowest_ns: u64,
}

impl Latencies {
    /// Sums up; there must be at least one.
    fn of(mut each: Vec<u64>) -> Result<Self> {
        each.sort_unstable();
        let at = |percent: usize| each.get(each.len() * percent / 100).or(each.last()).copied();
        let [fastest_ns, p50_ns, p99_ns, slowest_ns] = [0, 50, 99, 100].map(at);
        let missing = "expected at least one operation, found none";
        Ok(Self {
            count: each.len(),
            fastest_ns: fastest_ns.context(missing)?,
            p50_ns: p50_ns.context(missing)?,
            p99_ns: p99_ns.context(missing)?,
            slowest_ns: slowest_ns.context(missing)?,
        })
    }
}

/// Restricts a thread to one core; process 0 is the calling thread.
pub(crate) fn pin(thread: Pid, core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core).with_context(|| format!("name core {core}"))?;
    sched_setaffinity(thread, &cores).with_context(|| format!("run on core {core}"))
}

/// Allows this process as many descriptors as it may ever have.
fn lift_descriptor_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit on descriptors")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("lift the limit on descriptors")
}

/// What an error is called in errno(3).
fn errno_name(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.kind().to_string(), |raw| format!("{:?}", Errno::from_raw(raw)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_summed_up_whatever_their_order() {
        let latencies = Latencies::of((1..=200).rev().collect()).unwrap();
        let expected = Latencies { count: 200, fastest_ns: 1, p50_ns: 101, p99_ns: 199, slowest_ns: 200 };
        assert_eq!(latencies, expected);
        assert!(Latencies::of(Vec::new()).is_err());
    }

    #[test]
    fn an_error_is_called_by_its_errno() {
        let refused = std::io::Error::from_raw_os_error(nix::libc::ECONNREFUSED);
        assert_eq!(errno_name(&refused), "ECONNREFUSED");
        assert_eq!(
            errno_name(&std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
            "unexpected end of file"
        );
    }
}
