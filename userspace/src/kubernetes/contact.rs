//! Whether the API server can be reached: told once when it is lost and once when it is back, however many ask it.

use std::fmt::Display;
use std::time::Instant;

use kube::Error;
use tokio::sync::watch;
use tracing::{info, warn};

/// Whether the API server can be reached.
#[derive(Debug)]
pub(super) struct Contact(watch::Sender<State>);

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has not answered yet.
    Untried,
    /// It answers.
    Reached,
    /// It does not, since then.
    Lost(Instant),
}

impl Contact {
    /// Not tried yet.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(State::Untried))
    }

    /// How it stands, and when it changes.
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    /// It answered something.
    pub(super) fn answered(&self) {
        self.0.send_if_modified(|state| match *state {
            State::Reached => false,
            State::Untried => {
                info!("the API server answers");
                *state = State::Reached;
                true
            }
            State::Lost(since) => {
                info!(lost_for = ?since.elapsed(), "the API server answers again");
                *state = State::Reached;
                true
            }
        });
    }

    /// It did not answer.
    pub(super) fn failed(&self, error: &dyn Display) {
        self.0.send_if_modified(|state| {
            if matches!(state, State::Lost(_)) {
                return false;
            }
            warn!(%error, "the API server cannot be reached; what it said last stays in force");
            *state = State::Lost(Instant::now());
            true
        });
    }
}

/// What an error says of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It cannot be reached, or not at the moment.
    Unreachable,
    /// What was asked for is not there.
    NotFound,
    /// The version that was asked for is too old: everything is listed again.
    Gone,
    /// It answered, and refused.
    Refused,
}

impl Meaning {
    /// What `error` says of the server.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Api(status) => Self::of_code(status.code),
            _ => Self::Unreachable,
        }
    }

    /// What a status code of the server says.
    pub(super) const fn of_code(code: u16) -> Self {
        match code {
            404 => Self::NotFound,
            410 => Self::Gone,
            429 | 500.. => Self::Unreachable,
            _ => Self::Refused,
        }
    }
}
