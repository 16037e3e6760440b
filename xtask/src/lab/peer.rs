//! The programs that play the app's part in a workload: `cargo xtask peer …`, not for people.
//!
//! Plain sockets and as little else as possible: what they cost themselves is in every figure. They know nothing of the
//! product. What they find out is one line of JSON, an [`Answer`].

mod account;
mod answer;
mod bulk;
mod client;
mod crowd;
mod effort;
mod http;
mod http2;
mod insist;
mod latencies;
mod many;
mod poller;
mod server;
mod service;
mod short;
#[cfg(test)]
mod testing;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

pub(crate) use account::{Account, nanoseconds};
pub(crate) use answer::Answer;
pub(crate) use crowd::standing;
pub(crate) use insist::Tally;
pub(crate) use latencies::Latencies;
pub(crate) use service::Service;

use bulk::Amounts;
use effort::{Limit, wait_for_the_word};
use http2::{AtOnce, Speech};

/// Bytes of a message; requests, answers and most pings are all as long.
const MESSAGE: usize = 64;

/// Operations before those that count: caches and branch predictors warm, the core awake.
const WARM_UP: usize = 50;

/// Bytes a server or client gives up waiting for after this long: nothing in a lab takes longer.
const SILENCE: Duration = Duration::from_secs(10);

/// A program that plays the app's part.
#[derive(Args)]
pub(crate) struct Flags {
    /// The only core to run on
    #[arg(long)]
    core: Option<usize>,
    /// How long operations that count may begin, where their number does not end them sooner
    #[arg(long, global = true)]
    within: Option<humantime::Duration>,
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Serve each address in the way that its port stands for
    Serve { listen: Vec<SocketAddr> },
    /// Echo once on each connection and keep it open, for ever
    Collect { listen: Vec<SocketAddr> },
    /// Open connections, exchange one message on each, say so, keep them for ever
    Hold { count: usize, to: Vec<SocketAddr> },
    /// Connect, ask, read the answer, close, again and again whatever becomes of it, and say what became of it all
    Insist {
        to: SocketAddr,
        /// Between two connections
        #[arg(long)]
        pause: humantime::Duration,
    },
    #[command(flatten)]
    Client(Client),
}

/// A part that measures.
#[derive(Subcommand)]
enum Client {
    /// Send a message and wait for its echo, again and again
    PingPong {
        to: SocketAddr,
        count: usize,
        /// Bytes of a message
        #[arg(long, default_value_t = MESSAGE)]
        size: usize,
    },
    /// Connect, ask, read the answer, close, again and again
    Request { to: SocketAddr, count: usize },
    /// Connect and close, again and again
    Connect { to: SocketAddr, count: usize },
    /// The same as `request`, many at a time
    Short {
        to: SocketAddr,
        count: usize,
        /// How many at a time
        #[arg(long)]
        at_once: usize,
    },
    /// Send very many bytes
    Bulk {
        to: SocketAddr,
        bytes: u64,
        /// Receive as many as that at the same time
        #[arg(long, default_value_t = 0)]
        back: u64,
    },
    /// Ask over HTTP on connections that stay open
    Http {
        to: SocketAddr,
        count: usize,
        #[arg(long)]
        connections: usize,
        /// Requests per second, be they answered or not; without it, each connection asks again when it has its answer
        #[arg(long)]
        rate: Option<f64>,
    },
    /// Ask each of these once over HTTP, on a connection of its own
    Tour { to: Vec<SocketAddr> },
    /// Ask over HTTP/2 on connections that stay open
    Http2 {
        to: SocketAddr,
        count: usize,
        #[arg(long)]
        connections: usize,
        /// Requests under way on each
        #[arg(long)]
        streams: usize,
        /// What is said
        #[arg(long, value_enum, default_value_t = Speech::Plain)]
        speech: Speech,
    },
}

/// Plays a part.
pub(crate) fn play(flags: Flags) -> Result<()> {
    if let Some(core) = flags.core {
        pin(Pid::from_raw(0), core)?;
    }
    match flags.part {
        Part::Serve { listen } => server::serve(&listen),
        Part::Collect { listen } => crowd::collect(&listen),
        Part::Hold { count, to } => crowd::hold(count, &to),
        Part::Insist { to, pause } => insist::insist(to, pause.into()),
        Part::Client(client) => client.measure(flags.within.map(Into::into))?.print(),
    }
}

impl Client {
    fn measure(self, within: Option<Duration>) -> Result<Answer> {
        let ready = wait_for_the_word;
        let limit = |count| Limit { count, within };
        match self {
            Self::PingPong { to, count, size } => client::ping_pong(to, size, limit(count), ready),
            Self::Request { to, count } => client::request(to, limit(count), ready),
            Self::Connect { to, count } => client::connect(to, limit(count), ready),
            Self::Short { to, count, at_once } => short::visit(to, at_once, limit(count), ready),
            Self::Bulk { to, bytes, back } => bulk::transfer(to, Amounts { there: bytes, back }, ready),
            Self::Http { to, count, connections, rate: None } => {
                http::closed_loop(to, connections, limit(count), ready)
            }
            Self::Http { to, count, connections, rate: Some(rate) } => {
                http::open_loop(to, connections, rate, count, ready)
            }
            Self::Tour { to } => http::tour(&to, ready),
            Self::Http2 { to, count, connections, streams, speech } => {
                let at_once = AtOnce { connections, streams };
                http2::closed_loop(to, at_once, speech, limit(count), ready)
            }
        }
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
    fn an_error_is_called_by_its_errno() {
        let refused = std::io::Error::from_raw_os_error(nix::libc::ECONNREFUSED);
        assert_eq!(errno_name(&refused), "ECONNREFUSED");
        assert_eq!(
            errno_name(&std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
            "unexpected end of file"
        );
    }
}
