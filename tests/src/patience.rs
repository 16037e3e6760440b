//! Waiting for something to become true, with a deadline and without guessing how long it takes.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long a condition may take to come true: `SIDESTEP_PATIENCE` seconds, 10 if it is not set.
///
/// # Panics
/// When the variable is set to something that is not a number of seconds.
#[must_use]
pub fn patience() -> Duration {
    let seconds = std::env::var("SIDESTEP_PATIENCE").map_or(10, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("SIDESTEP_PATIENCE is {text:?}; set it to a number of seconds"))
    });
    Duration::from_secs(seconds)
}

/// What counts as "at once" on this machine: far below every timeout of TCP, far above a busy scheduler.
#[must_use]
pub fn at_once() -> Duration {
    patience() / 20
}

/// Asks `attempt` again and again until it answers `Ok`, and hands that answer on.
///
/// # Panics
/// When [`patience`] ends first, with `what` and the last `Err`.
pub fn eventually<T, E: Debug>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let allowed = patience();
    let deadline = Instant::now() + allowed;
    let mut pause = Duration::from_millis(1);
    loop {
        match attempt() {
            Ok(answer) => return answer,
            Err(last) => {
                assert!(Instant::now() < deadline, "not within {allowed:?}: {what}; last seen: {last:#?}");
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// [`eventually`] for a plain condition.
///
/// # Panics
/// When [`patience`] ends first.
pub fn eventually_true(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || if condition() { Ok(()) } else { Err("still false") });
}
