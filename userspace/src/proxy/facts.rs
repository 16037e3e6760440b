//! What is known of a connection while it lives: its record tells it at the end, others may ask for it before, and end it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::admission::Refused;
use super::http::under_way::UnderWay;
use crate::model::{ClientAddr, Direction, Live, Reason, Tier};

/// One connection's facts. They change a few times in its life, and never with its bytes.
pub(super) struct Facts {
    /// Its number, if it is served.
    pub(super) connection: Option<u64>,
    pub(super) direction: Direction,
    pub(super) client: ClientAddr,
    /// Requests whose answers are not through.
    pub(super) under_way: UnderWay,
    state: Mutex<State>,
}

/// What changes.
pub(super) struct State {
    pub(super) live: Live,
    pub(super) talk: Talk,
    pub(super) standing: Standing,
    /// Why it was ended although neither side wanted it.
    pub(super) cut: Option<Refused>,
}

/// What becomes of what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Talk {
    /// It is not known yet what is spoken.
    Unknown,
    /// Bytes are handed on unread.
    Opaque,
    /// Requests are handed on, each for itself.
    Http,
}

/// How it was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As whatever policy says now.
    Admitted,
    /// As a probe, and it says nothing else.
    Probing,
    /// Nobody was asked: it comes from the workload itself.
    Exempt,
}

impl Facts {
    pub(super) fn new(connection: Option<u64>, direction: Direction, client: ClientAddr) -> Arc<Self> {
        let live = Live {
            connection: connection.unwrap_or_default(),
            began: SystemTime::now(),
            direction,
            client,
            original: None,
            upstream: None,
            reason: Reason::Default,
            tier: Tier::Relay,
            protocol: None,
            sni: None,
            source_identity: None,
            destination_identity: None,
            peer: None,
            service: None,
            peer_workload: None,
            trace_id: None,
            decided: None,
            requests: 0,
        };
        let state = State { live, talk: Talk::Unknown, standing: Standing::Admitted, cut: None };
        let (under_way, state) = (UnderWay::default(), Mutex::new(state));
        Arc::new(Self { connection, direction, client, under_way, state })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of it now.
    pub(super) fn live(&self) -> Live {
        let live = self.state().live.clone();
        Live { requests: self.under_way.count(), ..live }
    }

    /// Notes why it is being ended; whether it was not before.
    pub(super) fn cut(&self, refused: Refused) -> bool {
        let cut = &mut self.state().cut;
        let first = cut.is_none();
        cut.get_or_insert(refused);
        first
    }

    /// Whether it is being ended.
    pub(super) fn is_cut(&self) -> bool {
        self.state().cut.is_some()
    }
}
