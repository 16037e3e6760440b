//! Where the operations that count begin and end, for the client itself and for whoever watches it.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

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

/// How much counts: so many operations, or as many of them as begin in that time. A slow way gets fewer of them and not
/// more time than others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) count: usize,
    pub(super) within: Option<Duration>,
}

impl Limit {
    /// So many, however long they take.
    pub(super) fn of(count: usize) -> Self {
        Self { count, within: None }
    }

    /// Whether another operation may begin when so many have since `began`; the first always may.
    pub(super) fn allows(self, done: usize, began: Instant) -> bool {
        let has_time = || self.within.is_none_or(|within| began.elapsed() < within);
        done < self.count && (done == 0 || has_time())
    }
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

    pub(super) fn began(&self) -> Instant {
        self.began
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_operation_is_always_allowed_and_more_while_there_is_time() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let long_ago = now.checked_sub(Duration::from_secs(1)).unwrap();
        let limit = |within| Limit { count: 3, within: Some(within) };
        assert!(limit(hour).allows(2, now) && !limit(hour).allows(3, now));
        assert!(limit(Duration::ZERO).allows(0, long_ago) && !limit(Duration::ZERO).allows(1, long_ago));
        assert!(Limit::of(3).allows(2, long_ago) && !Limit::of(0).allows(0, now));
    }
}
