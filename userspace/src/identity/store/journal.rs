//! What has happened to the certificates of one workload: counted, remembered, and said aloud without flooding the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::identity::standing::Failure;
use crate::identity::trust::timestamp_of;

/// How often one failure that lasts is told.
const REMINDER: Duration = Duration::from_secs(60);

/// What can fail on its own, and recover on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The source of our certificate.
    Source,
    /// Bundles of other trust domains.
    Federated,
    /// Revocation lists.
    RevocationLists,
}

impl Part {
    const fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Federated => "federated",
            Self::RevocationLists => "revocation-lists",
        }
    }
}

/// What has happened so far.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    /// When the source is asked next.
    pub(super) next: SystemTime,
    pub(super) last_failure: Option<Failure>,
    pub(super) rotations: u64,
    pub(super) failures: u64,
    failing: BTreeMap<Part, Told>,
}

#[derive(Clone, Debug)]
struct Told {
    message: String,
    at: Instant,
}

/// Notes that many may read while one writes.
pub(super) struct Journal(Mutex<Notes>);

impl Journal {
    pub(super) fn new(next: SystemTime) -> Self {
        let notes = Notes { next, last_failure: None, rotations: 0, failures: 0, failing: BTreeMap::new() };
        Self(Mutex::new(notes))
    }

    pub(super) fn notes(&self) -> Notes {
        self.lock().clone()
    }

    pub(super) fn plan(&self, next: SystemTime) {
        self.lock().next = next;
    }

    pub(super) fn rotated(&self) {
        self.lock().rotations += 1;
    }

    /// Something went wrong: loud when it is new, and once a minute while it lasts.
    pub(super) fn failed(&self, part: Part, message: String, until: SystemTime) {
        let mut notes = self.lock();
        notes.failures += 1;
        let now = Instant::now();
        let due = notes
            .failing
            .get(&part)
            .is_none_or(|told| told.message != message || now.duration_since(told.at) >= REMINDER);
        if due {
            let expires = timestamp_of(until);
            match part {
                Part::RevocationLists => {
                    tracing::error!(message, "revocation lists cannot be read: no new handshake succeeds");
                }
                Part::Source | Part::Federated => {
                    let part = part.word();
                    tracing::error!(part, message, %expires, "certificates cannot be renewed: the old ones stay in use");
                }
            }
            notes.failing.insert(part, Told { message: message.clone(), at: now });
        }
        let time = timestamp_of(SystemTime::now());
        notes.last_failure = Some(Failure { message, time, recovered: false });
    }

    /// It is good (again).
    pub(super) fn good(&self, part: Part) {
        let mut notes = self.lock();
        if notes.failing.remove(&part).is_some() {
            tracing::info!(part = part.word(), "certificates are in order again");
        }
        if notes.failing.is_empty()
            && let Some(failure) = &mut notes.last_failure
        {
            failure.recovered = true;
        }
    }

    /// Whether something needs another look soon.
    pub(super) fn is_failing(&self) -> bool {
        !self.lock().failing.is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
