//! What clients do while they are measured.

use std::fmt;
use std::net::SocketAddr;
use std::process::Command;

use crate::lab::{Pod, this_program};

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// 64 bytes there and back on one connection.
    PingPong,
    /// Connect, 64 bytes there, 64 bytes back, close.
    Request,
}

impl Work {
    /// All of it.
    pub(crate) const ALL: [Self; 2] = [Self::PingPong, Self::Request];

    /// What tables call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::PingPong => "ping-pong 64 B",
            Self::Request => "connect-request-close",
        }
    }

    /// What fields call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::PingPong => "ping-pong",
            Self::Request => "connect-request-close",
        }
    }

    /// How often it is done for one sample: a tenth of a second or two, and few enough connections that their ports
    /// have not all been used when the next round begins.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::PingPong => 4_000,
            Self::Request => 600,
        }
    }

    /// The server's port for it.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::PingPong => 7001,
            Self::Request => 7002,
        }
    }

    /// The client that does it, in the app's place of `pod`.
    pub(crate) fn client(self, pod: &Pod, to: SocketAddr, core: Option<usize>) -> Command {
        let part = match self {
            Self::PingPong => Part::PingPong,
            Self::Request => Part::Request,
        };
        part.client(pod, to, self.count(), core)
    }
}

/// The parts of the peer program that measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Round trips on one connection.
    PingPong,
    /// Connections of one request each.
    Request,
    /// Connects and nothing else.
    Connect,
}

impl Part {
    /// The client that plays it `count` times, in the app's place of `pod`.
    pub(crate) fn client(self, pod: &Pod, to: SocketAddr, count: usize, core: Option<usize>) -> Command {
        let mut command = pod.app(this_program());
        command.arg("peer");
        if let Some(core) = core {
            command.arg("--core").arg(core.to_string());
        }
        command.arg(self.to_string()).arg(to.to_string()).arg(count.to_string());
        command
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PingPong => "ping-pong",
            Self::Request => "request",
            Self::Connect => "connect",
        })
    }
}
