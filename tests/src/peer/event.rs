//! What peers report, and tests read: one JSON object per line of standard output.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Something that a peer saw or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A listener stands.
    Listening {
        /// Where.
        address: SocketAddr,
    },
    /// A connection was accepted.
    Accepted {
        /// The peer's address as `accept()` returned it.
        returned: SocketAddr,
        /// The peer's address from `getpeername()`; absent when the peer was gone by then.
        peer: Option<SocketAddr>,
        /// Our address from `getsockname()`.
        local: SocketAddr,
    },
    /// An accepted connection has ended.
    Closed {
        /// The peer's address as `accept()` had returned it.
        returned: SocketAddr,
        /// Bytes read from it.
        bytes: u64,
        /// The errno it ended with, unless the peer closed.
        error: Option<String>,
    },
    /// The one connection of `connect` has ended, or was never made.
    Dialled(Dialled),
    /// A datagram was answered.
    Datagram {
        /// What the answer says.
        reply: String,
        /// Who answered, from `recvfrom()`.
        from: Option<SocketAddr>,
        /// `getpeername()` of the connected socket.
        peer: Option<SocketAddr>,
        /// The errno of the first call that failed.
        error: Option<String>,
    },
    /// A socket was made, or was not.
    Made {
        /// The errno that `socket()` failed with.
        error: Option<String>,
    },
    /// One round of `transfer` has ended.
    Transferred(Transferred),
    /// All connections of `hold` are up, or no more could be opened.
    Holding {
        /// How many are up.
        count: u64,
        /// The errno that stopped it.
        error: Option<String>,
    },
    /// `flood` has not been able to write for a while.
    Stalled {
        /// Bytes written so far.
        bytes: u64,
    },
    /// `flood` has written everything, or failed.
    Flooded {
        /// Bytes written.
        bytes: u64,
        /// The errno that stopped it.
        error: Option<String>,
    },
    /// `stall` has read to the end.
    Drained {
        /// Bytes read.
        bytes: u64,
        /// Where the stream first differed from what was sent, or the errno it ended with.
        fault: Option<String>,
    },
    /// `storm` is over.
    Stormed {
        /// Connections that got their answer.
        answered: u64,
        /// The others, by errno.
        failures: BTreeMap<String, u64>,
        /// From the first connect to the last close, in microseconds.
        elapsed_us: u64,
    },
    /// Round trips of `ping-pong`, in nanoseconds.
    Latencies {
        /// How many were measured.
        count: u64,
        /// The median.
        p50_ns: u64,
        /// The 99th percentile.
        p99_ns: u64,
    },
    /// A foreign proxy asked for the original destination of a connection.
    OriginalDestination {
        /// The peer's address as `accept()` returned it.
        returned: SocketAddr,
        /// What SO_ORIGINAL_DST or IP6T_SO_ORIGINAL_DST said.
        original: Option<SocketAddr>,
        /// The errno it failed with.
        error: Option<String>,
    },
}

/// How the one connection of `connect` went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialled {
    /// The errno that `connect()` failed with.
    pub refused: Option<String>,
    /// How long `connect()` took, in microseconds.
    pub connect_us: u64,
    /// `getpeername()` after `connect()`.
    pub peer: Option<SocketAddr>,
    /// `getsockname()` after `connect()`.
    pub local: Option<SocketAddr>,
    /// All that was read until the peer closed.
    pub read: String,
    /// From the end of `connect()` to the first byte read, in microseconds.
    pub first_byte_us: Option<u64>,
    /// The errno that sending or reading failed with.
    pub broken: Option<String>,
}

/// One round of `transfer`, as one side saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferred {
    /// Bytes written.
    pub sent: u64,
    /// Bytes read.
    pub received: u64,
    /// Where the stream first differed from what was sent, or the errno it ended with.
    pub fault: Option<String>,
}

impl Event {
    /// Prints the event. A reader that has gone away is not an error: nobody is left to be told.
    pub(crate) fn emit(&self) {
        if let Ok(mut line) = serde_json::to_vec(self) {
            line.push(b'\n');
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
        }
    }
}
