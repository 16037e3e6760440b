//! Where the operations that count begin and end, for the client itself and for whoever watches it.

use std::io::{self, Write as _};
use std::time::Instant;

use anyhow::{Context, Result};

use super::account::Account;

/// Said by a client that is warm, before the first operation that counts.
pub(super) const WARM: &str = "warm";

/// What a client does before the first operation that counts.
pub(super) type Ready = fn() -> Result<()>;

/// Says that this client is warm, and waits for a line, or the end, of its input.
pub(super) fn wait_for_the_word() -> Result<()> {
    let mut output = io::stdout();
    writeln!(output, "{WARM}").and_then(|()| output.flush()).context("say that the client is warm")?;
    io::stdin().read_line(&mut String::new()).context("wait for the word to go on").map(drop)
}

/// Operations that count, under way.
#[derive(Debug)]
pub(super) struct Counted {
    began: Instant,
    before: Account,
}

/// What they took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    pub(super) seconds: f64,
    pub(super) account: Account,
}

impl Counted {
    pub(super) fn begin(ready: Ready) -> Result<Self> {
        ready()?;
        let before = Account::of_this_process()?;
        Ok(Self { began: Instant::now(), before })
    }

    pub(super) fn end(self) -> Result<Effort> {
        let seconds = self.began.elapsed().as_secs_f64();
        Ok(Effort { seconds, account: Account::of_this_process()?.since(self.before) })
    }
}

pub(super) fn nanoseconds_since(began: Instant) -> u64 {
    // Overflows after 584 years.
    began.elapsed().as_nanos() as u64
}
