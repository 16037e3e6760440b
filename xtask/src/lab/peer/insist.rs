//! A client that goes on whatever happens: connections of one request each until its input ends, and what became of them.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::effort::nanoseconds_since;
use super::{MESSAGE, SILENCE, errno_name};

/// What became of connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// How many had their answer.
    pub(crate) answered: u64,
    /// How many did not, by what went wrong.
    pub(crate) failed: BTreeMap<String, u64>,
    /// The longest that an answer took, connect included, in nanoseconds.
    pub(crate) longest_ns: u64,
}

impl Tally {
    fn add(&mut self, visit: io::Result<()>, took: u64) {
        match visit {
            Ok(()) => {
                self.answered += 1;
                self.longest_ns = self.longest_ns.max(took);
            }
            Err(error) => *self.failed.entry(errno_name(&error)).or_default() += 1,
        }
    }

    /// Both together.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.answered += other.answered;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        for (why, count) in &other.failed {
            *self.failed.entry(why.clone()).or_default() += count;
        }
        self
    }

    /// How many had no answer.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// Connects until standard input ends, then says what became of it.
pub(super) fn insist(to: SocketAddr, pause: Duration) -> Result<()> {
    let over = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&over);
    thread::spawn(move || {
        // An error is an end too.
        _ = io::stdin().read_to_end(&mut Vec::new());
        noted.store(true, Ordering::Relaxed);
    });
    let mut tally = Tally::default();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        tally.add(visit(to), nanoseconds_since(began));
        thread::sleep(pause);
    }
    println!("{}", serde_json::to_string(&tally).context("write the tally")?);
    Ok(())
}

fn visit(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.write_all(&[b'r'; MESSAGE])?;
    stream.read_exact(&mut [0; MESSAGE])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_counted_by_its_errno() {
        let refused = || Err(io::Error::from_raw_os_error(nix::libc::ECONNREFUSED));
        let mut tally = Tally::default();
        tally.add(Ok(()), 7);
        tally.add(refused(), 9);
        tally.add(refused(), 9);
        let sum = tally.clone().and(&tally);
        assert_eq!((sum.answered, sum.failures(), sum.longest_ns), (2, 4, 7));
        assert_eq!(sum.failed.get("ECONNREFUSED"), Some(&4));
    }
}
