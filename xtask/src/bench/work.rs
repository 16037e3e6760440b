//! What clients do while they are measured.

use std::fmt;
use std::net::SocketAddr;
use std::process::Command;

use crate::lab::peer::Service;
use crate::lab::{Pod, this_program};

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// 64 bytes there and back on one connection.
    PingPong,
    /// 16 KiB there and back on one connection.
    PingPongLarge,
    /// Connect, 64 bytes there, 64 bytes back, close.
    Request,
    /// The same, eight at a time.
    ShortConnections,
    /// Very many bytes on one connection, from client to server.
    BulkOneWay,
    /// As many, half of them from server to client at the same time.
    BulkBothWays,
    /// HTTP requests on one connection, each after the answer to the one before.
    HttpOne,
    /// The same on 32 connections at once.
    HttpMany,
    /// The same on 256 connections at once.
    HttpCrowd,
    /// HTTP requests at a fixed rate, whatever becomes of those before.
    HttpOpenLoop,
    /// HTTP/2 requests on four connections, eight at a time on each.
    Http2,
    /// Unary gRPC calls, as many at a time.
    Grpc,
}

/// Bytes of a bulk transfer, all directions together.
const BULK: usize = 128 * 1024 * 1024;
/// Bytes of a large message.
const LARGE: usize = 16 * 1024;
/// How many short connections are open at a time.
const SHORT_AT_ONCE: usize = 8;
/// How long the operations of one sample may begin.
const WITHIN: &str = "150ms";
/// How long requests are due in an open loop, in seconds.
const OPEN_LOOP: f64 = 0.2;
/// Connections of HTTP/2, and requests under way on each: 32 at a time, as of HTTP/1.1.
const HTTP2: [usize; 2] = [4, 8];

impl Work {
    /// All of it.
    pub(crate) const ALL: [Self; 12] = [
        Self::PingPong,
        Self::PingPongLarge,
        Self::Request,
        Self::ShortConnections,
        Self::BulkOneWay,
        Self::BulkBothWays,
        Self::HttpOne,
        Self::HttpMany,
        Self::HttpCrowd,
        Self::HttpOpenLoop,
        Self::Http2,
        Self::Grpc,
    ];

    /// What is promised of a tunnel, in the order of [`Self::ALL`].
    pub(crate) const TUNNEL: [Self; 4] = [Self::Request, Self::BulkOneWay, Self::HttpOne, Self::HttpMany];

    /// What tables call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::PingPong => "ping-pong 64 B",
            Self::PingPongLarge => "ping-pong 16 KiB",
            Self::Request => "connect-request-close",
            Self::ShortConnections => "short connections, 8 at a time",
            Self::BulkOneWay => "bulk, one way",
            Self::BulkBothWays => "bulk, both ways",
            Self::HttpOne => "HTTP, 1 connection",
            Self::HttpMany => "HTTP, 32 connections",
            Self::HttpCrowd => "HTTP, 256 connections",
            Self::HttpOpenLoop => "HTTP at a fixed rate",
            Self::Http2 => "HTTP/2, 4 connections with 8 requests each",
            Self::Grpc => "gRPC unary, 4 connections with 8 calls each",
        }
    }

    /// What fields call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::PingPong => "ping-pong",
            Self::PingPongLarge => "ping-pong-large",
            Self::Request => "connect-request-close",
            Self::ShortConnections => "short-connections",
            Self::BulkOneWay => "bulk-one-way",
            Self::BulkBothWays => "bulk-both-ways",
            Self::HttpOne => "http-one",
            Self::HttpMany => "http-many",
            Self::HttpCrowd => "http-crowd",
            Self::HttpOpenLoop => "http-open-loop",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }

    /// What one operation is.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::PingPong | Self::PingPongLarge => "round trip",
            Self::Request | Self::ShortConnections => "connection",
            Self::BulkOneWay | Self::BulkBothWays => "MiB",
            Self::HttpOne | Self::HttpMany | Self::HttpCrowd | Self::HttpOpenLoop | Self::Http2 => "request",
            Self::Grpc => "call",
        }
    }

    /// Whether a proxy that speaks nothing but HTTP can take part.
    pub(crate) fn is_http(self) -> bool {
        matches!(self.service(), Service::Http | Service::Http2)
    }

    /// Whether HTTP/2 is what has to be spoken.
    pub(crate) fn is_http2(self) -> bool {
        self.service() == Service::Http2
    }

    /// Whether anything is promised of it.
    pub(crate) fn is_promised(self) -> bool {
        !matches!(self, Self::PingPongLarge | Self::ShortConnections | Self::BulkBothWays)
    }

    /// The server's port for it.
    pub(crate) fn port(self) -> u16 {
        self.service().port()
    }

    fn service(self) -> Service {
        match self {
            Self::PingPong | Self::PingPongLarge => Service::Echo,
            Self::Request => Service::Answer,
            Self::ShortConnections => Service::AnswerMany,
            Self::BulkOneWay | Self::BulkBothWays => Service::Bulk,
            Self::HttpOne | Self::HttpMany | Self::HttpCrowd | Self::HttpOpenLoop => Service::Http,
            Self::Http2 | Self::Grpc => Service::Http2,
        }
    }

    /// How often it is done at most for one sample, or how many bytes go there in bulk: enough for its time on a short way,
    /// and few enough connections that their ports have not all been used when the next round begins.
    fn count(self, rate: f64) -> usize {
        match self {
            Self::PingPong | Self::PingPongLarge | Self::HttpOne => 4_000,
            Self::Request => 600,
            Self::ShortConnections => 1_000,
            Self::BulkOneWay => BULK,
            Self::BulkBothWays => BULK / 2,
            Self::HttpMany | Self::HttpCrowd | Self::Http2 | Self::Grpc => 6_000,
            Self::HttpOpenLoop => (rate * OPEN_LOOP) as usize,
        }
    }

    /// How many connections carry HTTP requests.
    fn connections(self) -> usize {
        match self {
            Self::HttpMany | Self::HttpOpenLoop => 32,
            Self::HttpCrowd => 256,
            Self::Http2 | Self::Grpc => HTTP2[0],
            _ => 1,
        }
    }

    /// The client that does it, in the app's place of `pod`. An open loop needs its rate, in requests per second;
    /// without one its client fails and says so.
    pub(crate) fn client(self, pod: &Pod, to: SocketAddr, core: Option<usize>, rate: Option<f64>) -> Command {
        let rate = rate.unwrap_or(f64::NAN);
        let mut command = self.part().client(pod, to, self.count(rate), core);
        let mut flag = |name: &str, value: String| {
            command.args([name, &value]);
        };
        match self {
            Self::PingPongLarge => flag("--size", LARGE.to_string()),
            Self::ShortConnections => flag("--at-once", SHORT_AT_ONCE.to_string()),
            Self::BulkBothWays => flag("--back", self.count(rate).to_string()),
            Self::HttpOpenLoop => flag("--rate", rate.to_string()),
            Self::Http2 => flag("--streams", HTTP2[1].to_string()),
            Self::Grpc => {
                flag("--streams", HTTP2[1].to_string());
                flag("--speech", "grpc".to_owned());
            }
            _ => {}
        }
        flag("--within", WITHIN.to_owned());
        if self.is_http() {
            flag("--connections", self.connections().to_string());
        }
        command
    }

    /// What the client plays, whatever its flags.
    pub(crate) fn part(self) -> Part {
        match self {
            Self::PingPong | Self::PingPongLarge => Part::PingPong,
            Self::Request => Part::Request,
            Self::ShortConnections => Part::Short,
            Self::BulkOneWay | Self::BulkBothWays => Part::Bulk,
            Self::HttpOne | Self::HttpMany | Self::HttpCrowd | Self::HttpOpenLoop => Part::Http,
            Self::Http2 | Self::Grpc => Part::Http2,
        }
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
    /// Connections of one request each, many at a time.
    Short,
    /// HTTP/1.1 requests.
    Http,
    /// HTTP/2 requests.
    Http2,
    /// Bytes on one connection.
    Bulk,
}

impl Part {
    /// The client that plays it `count` times, or with as many bytes, in the app's place of `pod`.
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
            Self::Short => "short",
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Bulk => "bulk",
        })
    }
}
