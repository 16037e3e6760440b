//! Whether a workload may be sent connections: one shared byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What a workload's agent is doing.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Capture is not in place yet.
    #[default]
    Starting = 0,
    /// Capture is in place and the listeners stand.
    Ready = 1,
    /// No new connections are taken; open ones may end.
    Draining = 2,
}

/// A handle to the state; all clones share it. Starts as [`State::Starting`].
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// The state now.
    #[must_use]
    pub fn state(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            1 => State::Ready,
            2 => State::Draining,
            _ => State::Starting,
        }
    }

    /// Changes it for all who ask from now on.
    pub fn set(&self, state: State) {
        self.0.store(state as u8, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clones_see_the_state_that_one_sets() {
        let readiness = Readiness::default();
        let other = readiness.clone();
        assert_eq!(other.state(), State::Starting);
        for state in [State::Ready, State::Draining, State::Starting] {
            readiness.set(state);
            assert_eq!(other.state(), state);
        }
    }
}
