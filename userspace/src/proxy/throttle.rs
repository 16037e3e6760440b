//! How often one kind of line may be logged, for lines that a pod can trigger as often as it likes.
//!
//! It deliberately counts what it holds back instead of dropping it silently.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Lets one line through per period.
#[derive(Debug)]
pub(super) struct Throttle {
    period: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// One line per `period`.
    pub(super) fn new(period: Duration) -> Self {
        Self { period, state: Mutex::new(State::default()) }
    }

    /// `Some(n)` when a line may be written at `now`; `n` like it were held back since the last one.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = state.last.is_none_or(|last| now.saturating_duration_since(last) >= self.period);
        if due {
            state.last = Some(now);
            Some(std::mem::take(&mut state.held_back))
        } else {
            state.held_back += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_passes_per_period_and_says_how_many_did_not() {
        let throttle = Throttle::new(Duration::from_secs(1));
        let start = Instant::now();
        assert_eq!(throttle.admit(start), Some(0));
        assert_eq!(throttle.admit(start + Duration::from_millis(10)), None);
        assert_eq!(throttle.admit(start + Duration::from_millis(999)), None);
        assert_eq!(throttle.admit(start + Duration::from_secs(1)), Some(2));
        assert_eq!(throttle.admit(start + Duration::from_secs(5)), Some(0));
    }
}
