//! A client that writes what it is told and keeps what it gets, byte by byte: the script `raw.py`, many connections at once.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use sidestep_tests::{Place, patience};

use super::script::Script;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ended {
    /// The other side closed in order.
    Closed,
    /// The other side reset it.
    Reset,
    /// Nothing came any more, and the client left.
    Quiet,
}

/// What a connection does.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// What is written, with pauses between.
    pub(super) pieces: Vec<Vec<u8>>,
    /// How long the pauses are.
    pub(super) pause: Duration,
    /// For how long nothing may come before the client leaves.
    pub(super) quiet: Duration,
    /// Whether the client ends its half after the last piece.
    pub(super) half_close: bool,
}

impl Plan {
    /// Everything at once, and then patience.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        let quiet = Duration::from_secs(5);
        Self { pieces: vec![bytes], pause: Duration::ZERO, quiet, half_close: false }
    }

    /// One byte at a time.
    pub(super) fn dripping(bytes: &[u8], pause: Duration) -> Self {
        Self { pieces: bytes.iter().map(|&byte| vec![byte]).collect(), pause, ..Self::of(Vec::new()) }
    }

    /// The same with another patience.
    pub(super) fn quiet(mut self, quiet: Duration) -> Self {
        self.quiet = quiet;
        self
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) bytes: Vec<u8>,
    pub(super) ended: Ended,
    /// From the connection's beginning to its end.
    pub(super) took: Duration,
}

/// The client, in a pod.
pub(super) struct Raw {
    script: Script,
    next: Cell<u64>,
}

#[derive(Deserialize)]
struct Told {
    id: u64,
    heard: String,
    ended: Ended,
    took: f64,
}

impl Raw {
    /// Starts it.
    pub(super) fn start(place: Place<'_>) -> Self {
        Self { script: Script::start(place, "raw.py", ""), next: Cell::new(0) }
    }

    /// Runs one connection to its end.
    pub(super) fn exchange(&self, to: SocketAddr, plan: &Plan) -> Heard {
        let id = self.begin(to, plan);
        self.end(id)
    }

    /// Begins a connection; its number is for [`Self::end`].
    pub(super) fn begin(&self, to: SocketAddr, plan: &Plan) -> u64 {
        let id = self.next.get();
        self.next.set(id + 1);
        let pieces: Vec<String> = plan.pieces.iter().map(|piece| hex(piece)).collect();
        let line = json!({
            "id": id, "to": to.to_string(), "pieces": pieces, "pause": plan.pause.as_secs_f64(),
            "quiet": plan.quiet.as_secs_f64(), "half_close": plan.half_close,
        });
        self.script.0.say(&line.to_string());
        id
    }

    /// Waits for a connection's end.
    pub(super) fn end(&self, id: u64) -> Heard {
        let told = self.script.0.line_within(patience() * 3, "the end of an exchange", |line| {
            serde_json::from_str::<Told>(line).ok().filter(|told| told.id == id)
        });
        Heard { bytes: unhex(&told.heard), ended: told.ended, took: Duration::from_secs_f64(told.took) }
    }
}

/// A GET for a path.
pub(super) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: web\r\n\r\n").into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from twice as many hexadecimal digits.
pub(super) fn unhex(text: &str) -> Vec<u8> {
    let byte =
        |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    text.as_bytes()
        .chunks(2)
        .map(|pair| byte(pair).unwrap_or_else(|| panic!("not hexadecimal: {text}")))
        .collect()
}
