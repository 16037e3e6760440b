//! Connections to upstreams that wait for a request, by the way that they go and what is spoken on them.
//!
//! A connection of HTTP/1 carries one request at a time and is lent for it; one of HTTP/2 carries as many as the upstream
//! lets it and is shared. Outbound every worker has a pool of its own, so that no request crosses threads; inbound every
//! client's connection has one, because the app sees the client's address on it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};

use super::awaited::Awaited;
use super::body::Upload;
use crate::model::{Identity, Protocol};
use crate::proxy::route::Way;

/// Connections of HTTP/1 that wait per way: what was under way at once and no more goes on without being dialled anew.
const MOST_IDLE: usize = 512;
/// Connections that wait in one pool, whichever way they go; one more takes the place of the one that has waited longest.
const MOST_WAITING: usize = 2048;
/// Requests that share one connection of HTTP/2; if the upstream allows fewer, the rest wait their turn there.
const STREAMS: usize = 100;
/// How long a connection may wait.
pub(super) const IDLE: Duration = Duration::from_secs(90);

/// What a connection is good for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct Key {
    pub(in crate::proxy) way: Way,
    pub(in crate::proxy) protocol: Protocol,
}

/// What is known of a connection to an upstream.
#[derive(Debug)]
pub(super) struct Known {
    /// Who both ends are, through a tunnel.
    pub(super) proved: Option<(Identity, Identity)>,
    /// What it says of the answer that is waited for.
    pub(super) awaited: Arc<Awaited>,
    /// How its service wants it kept, if it does.
    keeping: OnceLock<Keeping>,
    /// Requests that it has carried.
    carried: AtomicU32,
    /// Bytes that came from the upstream.
    heard: Arc<AtomicU64>,
}

/// How a service wants connections kept: those of HTTP/1, each of which carries one request at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::proxy) struct Keeping {
    /// How many requests one carries before it is closed.
    pub(in crate::proxy) requests: Option<u32>,
    /// How long one may wait.
    pub(in crate::proxy) idle: Option<Duration>,
}

impl Known {
    /// A new connection, between these two.
    pub(super) fn new(proved: Option<(Identity, Identity)>, awaited: Arc<Awaited>) -> Self {
        Self { proved, awaited, keeping: OnceLock::new(), carried: AtomicU32::new(0), heard: Arc::default() }
    }

    /// What counts the bytes that come from the upstream.
    pub(super) fn hearing(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.heard)
    }

    /// How many bytes have come from the upstream.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// It is kept as its service wants from now on.
    pub(super) fn keep(&self, keeping: Keeping) {
        // A service that changes its mind changes it for new connections.
        let _kept = self.keeping.set(keeping);
    }

    /// How long it may wait.
    fn idle(&self) -> Duration {
        self.keeping.get().and_then(|keeping| keeping.idle).unwrap_or(IDLE)
    }

    /// Counts a request; whether it may carry another.
    fn carries_on(&self) -> bool {
        let carried = self.carried.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.keeping.get().and_then(|keeping| keeping.requests).is_none_or(|most| carried < most)
    }
}

/// What sends requests on a connection.
pub(super) enum Sender {
    Http1(http1::SendRequest<Upload>),
    /// With what counts its streams.
    Http2(http2::SendRequest<Upload>, Arc<()>),
}

impl Sender {
    fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender, _) => sender.is_closed(),
        }
    }

    /// Whether another request would be sent at once.
    fn is_free(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready(),
            Self::Http2(sender, streams) => sender.is_ready() && Arc::strong_count(streams) <= STREAMS,
        }
    }
}

struct Waiting {
    sender: Sender,
    known: Arc<Known>,
    since: Instant,
}

impl Waiting {
    /// Whether it has waited for longer than its service wants.
    fn is_stale(&self) -> bool {
        matches!(self.sender, Sender::Http1(_)) && self.since.elapsed() >= self.known.idle()
    }
}

#[derive(Default)]
struct Slot {
    waiting: Vec<Waiting>,
    /// Held while a connection is dialled that others can share.
    dialling: Arc<tokio::sync::Mutex<()>>,
}

/// The connections.
#[derive(Default)]
pub(in crate::proxy) struct Pool {
    slots: Mutex<HashMap<Key, Slot>>,
    /// Whether it takes no connection back any more.
    closed: AtomicBool,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// A connection that can carry a request now, if there is one.
    pub(super) fn take(self: &Arc<Self>, key: &Key) -> Option<Lent> {
        let mut slots = self.slots();
        let slot = slots.get_mut(key)?;
        // The one that was used last is the likeliest to live. Behind it nobody looks: what has died there is swept.
        let mut found = slot.waiting.len();
        loop {
            found = found.checked_sub(1)?;
            let Waiting { sender, .. } = slot.waiting.get(found)?;
            if sender.is_closed() {
                slot.waiting.remove(found);
            } else if sender.is_free() {
                break;
            }
        }
        let waiting = slot.waiting.get_mut(found)?;
        let (sender, known) = if let Sender::Http2(sender, streams) = &waiting.sender {
            waiting.since = Instant::now();
            (Sender::Http2(sender.clone(), Arc::clone(streams)), Arc::clone(&waiting.known))
        } else {
            let waiting = slot.waiting.remove(found);
            if waiting.is_stale() {
                // The others have waited for longer: they are swept.
                return None;
            }
            (waiting.sender, waiting.known)
        };
        Some(Lent { pool: Arc::clone(self), key: key.clone(), sender, known, uploaded: None, used: true })
    }

    /// Whether there is a connection that can carry a request now.
    pub(super) fn has(&self, key: &Key) -> bool {
        let slots = self.slots();
        slots.get(key).is_some_and(|slot| {
            slot.waiting.iter().any(|waiting| !waiting.sender.is_closed() && waiting.sender.is_free())
        })
    }

    /// Makes a new connection lendable, and lends it.
    pub(super) fn add(self: &Arc<Self>, key: Key, sender: Sender, known: Known) -> Lent {
        let known = Arc::new(known);
        if let Sender::Http2(shared, streams) = &sender {
            let sender = Sender::Http2(shared.clone(), Arc::clone(streams));
            self.put(&key, sender, Arc::clone(&known));
        }
        Lent { pool: Arc::clone(self), key, sender, known, uploaded: None, used: false }
    }

    /// What is to be held while a connection is dialled that others can share.
    pub(super) fn dialling(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.slots().entry(key.clone()).or_default().dialling)
    }

    /// Ends connections that have waited too long.
    pub(super) fn sweep(&self) {
        let mut slots = self.slots();
        for slot in slots.values_mut() {
            slot.waiting.retain(|waiting| match &waiting.sender {
                Sender::Http1(sender) => !sender.is_closed() && !waiting.is_stale(),
                Sender::Http2(sender, streams) => {
                    let used = Arc::strong_count(streams) > 1;
                    !sender.is_closed() && (used || waiting.since.elapsed() < IDLE)
                }
            });
        }
        slots.retain(|_, slot| !slot.waiting.is_empty() || Arc::strong_count(&slot.dialling) > 1);
    }

    /// Ends what waits, and whatever is given back from now on.
    pub(in crate::proxy) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.slots().clear();
    }

    fn put(&self, key: &Key, sender: Sender, known: Arc<Known>) {
        if self.closed.load(Ordering::Relaxed) || sender.is_closed() {
            return;
        }
        let waiting = Waiting { sender, known, since: Instant::now() };
        let mut slots = self.slots();
        let slot = match slots.get_mut(key) {
            Some(slot) => slot,
            None => slots.entry(key.clone()).or_default(),
        };
        if slot.waiting.len() >= MOST_IDLE {
            slot.waiting.remove(0);
        }
        slot.waiting.push(waiting);
        if slots.values().map(|slot| slot.waiting.len()).sum::<usize>() > MOST_WAITING {
            end_longest_waiting(&mut slots);
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the connection that was used least recently.
fn end_longest_waiting(slots: &mut HashMap<Key, Slot>) {
    let since = |slot: &Slot| slot.waiting.first().map(|waiting| waiting.since);
    let longest = slots.values_mut().filter(|slot| since(slot).is_some()).min_by_key(|slot| since(slot));
    if let Some(slot) = longest {
        slot.waiting.remove(0);
    }
}

/// A connection that carries one request; dropped, it is not used again (one of HTTP/2 lives on for others).
pub(in crate::proxy) struct Lent {
    pool: Arc<Pool>,
    key: Key,
    pub(super) sender: Sender,
    pub(super) known: Arc<Known>,
    /// Raised when the request's body has been read to its end.
    pub(super) uploaded: Option<Arc<AtomicBool>>,
    /// Whether it has carried a request before, so that it may have died since.
    pub(super) used: bool,
}

impl Lent {
    /// Makes it lendable again: its answer has come, to the last byte.
    pub(super) fn give_back(self) {
        let Self { pool, key, sender, known, uploaded, .. } = self;
        // An answer that came before the end of the request leaves a connection that nobody knows the state of.
        let clean = uploaded.is_none_or(|ended| ended.load(Ordering::Relaxed));
        if clean && matches!(sender, Sender::Http1(_)) && known.carries_on() {
            pool.put(&key, sender, known);
        }
    }
}
