//! What outlives a connection: the limits, who is told, the live connections, and the listeners that are ours.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use socket2::{Domain, Socket};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;

use super::admission::Admission;
use super::balance::Balance;
use super::dial;
use super::edge::LOOKUPS;
use super::facts::Facts;
use super::finding::Finder;
use super::http::HttpTerms;
use super::http::limit::InFlight;
use super::http::memory::Memory;
use super::http::resilience::{Resilience, Routing};
use super::listening::Listening;
use super::relay::Pipes;
use super::room::{Part, Room};
use super::route::Neighbours;
use super::throttle::Throttle;
use super::tunnel::pool::Pool;
use super::tunnel::tally::{Tally, TunnelCounts};
use super::tunnel::{HANDSHAKES, Tunnelling};
use super::workers::Workers;
use super::{Entry, Handoffs, Limits};
use crate::lasting::Panics;
use crate::model::{Observer, OriginalDst, OwnAddresses};
use crate::sys::namespace::NetworkNamespace;

/// The proxy of one workload.
///
/// Its connections are tasks of its [`Workers`]; whoever starts it, asks it or ends it may be elsewhere.
pub struct Instance {
    limits: RwLock<Limits>,
    neighbours: RwLock<Arc<Neighbours>>,
    http: RwLock<Arc<HttpTerms>>,
    pub(super) handoffs: Arc<dyn Handoffs>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) admission: Arc<dyn Admission>,
    pub(super) tunnelling: Option<Tunnelling>,
    pub(super) workers: Workers,
    network: NetworkNamespace,
    addresses: OwnAddresses,
    pub(super) finder: Option<Arc<dyn Finder>>,
    pub(super) pipes: Pipes,
    pub(super) own: OwnListeners,
    pub(super) pool: Pool,
    pub(super) tunnels: Tally,
    /// Places for handshakes with whoever dials a tunnel.
    pub(super) handshakes: Semaphore,
    pub(super) balance: Balance,
    /// Places for names that are being looked up.
    pub(super) lookups: Arc<Semaphore>,
    /// What destinations turned out to speak.
    pub(super) memory: Memory,
    pub(super) requests: InFlight,
    /// What requests are led by, and what is remembered between them.
    pub(super) resilience: Resilience,
    /// Lines about refused connections, which a pod can cause at will.
    pub(super) refusals: Throttle,
    live: Mutex<Live>,
    part: Part,
    idle: Notify,
    draining: watch::Sender<bool>,
    backoffs: AtomicU64,
    over_limit: AtomicU64,
    accept_panics: Arc<Panics>,
    connection_panics: Arc<Panics>,
}

/// What an instance is given of the world around it.
pub struct Surroundings {
    /// Where captured sockets tell what they were captured from.
    pub handoffs: Arc<dyn Handoffs>,
    /// Who wants to know of connections.
    pub observer: Arc<dyn Observer>,
    /// Who may connect to the workload.
    pub admission: Arc<dyn Admission>,
    /// What tunnels need; without it none is dialled and none accepted.
    pub tunnelling: Option<Tunnelling>,
    /// Where connections live.
    pub workers: Workers,
    /// Where its dials start: the workload's own.
    pub network: NetworkNamespace,
    /// Those of the workload.
    pub addresses: OwnAddresses,
    /// Who knows more of the mesh than it is told.
    pub finder: Option<Arc<dyn Finder>>,
    /// What it shares with the others of its process, if there are others.
    pub room: Option<Arc<Room>>,
}

#[derive(Default)]
struct Live {
    /// Number of the next connection.
    next: u64,
    /// Connections numbered below this were cut off.
    cut: u64,
    tasks: HashMap<u64, Task>,
    /// How many of them are tunnels and not connections.
    tunnels: usize,
    /// How many of them are connections to upstreams that requests share.
    upstreams: usize,
}

/// One of them.
#[derive(Default)]
struct Task {
    /// Absent while it is being spawned.
    handle: Option<AbortHandle>,
    /// What is known of the connection that it serves, if it serves one.
    facts: Option<Arc<Facts>>,
}

impl Instance {
    /// An instance without listeners that knows no neighbours yet.
    #[must_use]
    pub fn new(limits: Limits, surroundings: Surroundings) -> Arc<Self> {
        let Surroundings {
            handoffs,
            observer,
            admission,
            tunnelling,
            workers,
            network,
            addresses,
            finder,
            room,
        } = surroundings;
        Arc::new(Self {
            limits: RwLock::new(limits),
            neighbours: RwLock::default(),
            http: RwLock::default(),
            handoffs,
            observer,
            admission,
            tunnelling,
            workers,
            network,
            addresses,
            finder,
            pipes: Pipes::default(),
            own: OwnListeners::default(),
            pool: Pool::default(),
            tunnels: Tally::default(),
            handshakes: Semaphore::new(HANDSHAKES),
            balance: Balance::default(),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            memory: Memory::default(),
            requests: InFlight::default(),
            resilience: Resilience::default(),
            refusals: Throttle::new(Duration::from_secs(1)),
            live: Mutex::default(),
            part: Part::of(room),
            idle: Notify::new(),
            draining: watch::Sender::new(false),
            backoffs: AtomicU64::new(0),
            over_limit: AtomicU64::new(0),
            accept_panics: Panics::of("accept"),
            connection_panics: Panics::of("connection"),
        })
    }

    /// Accepts connections from `listener`, which stands for `entry`, until the answer is closed or dropped.
    ///
    /// The listener's address counts as our own from now on: a captured connection that was meant for it is refused.
    ///
    /// # Errors
    /// The listener is not a listening TCP socket, or the worker cannot watch it.
    pub fn serve(self: &Arc<Self>, listener: std::net::TcpListener, entry: Entry) -> io::Result<Listening> {
        Listening::start(Arc::clone(self), listener, entry)
    }

    /// A socket to dial with, in the workload's network namespace.
    pub(super) fn socket(&self, domain: Domain) -> io::Result<Socket> {
        self.network.visit(|| dial::socket(domain))?
    }

    /// How many connections are open, both directions together.
    #[must_use]
    pub fn active(&self) -> usize {
        let live = self.live();
        live.tasks.len() - live.tunnels - live.upstreams
    }

    /// How many tunnels are open, those that we dialled and those that others did.
    pub(super) fn open_tunnels(&self) -> usize {
        self.live().tunnels
    }

    /// Why one more would be too many beside `open` others of its kind, if it would be.
    pub(super) fn full(&self, open: usize) -> Option<Full> {
        let limit = self.limits().max_connections;
        if open >= limit {
            return Some(Full::Limit(limit));
        }
        let all = || self.live().tasks.len();
        self.part.is_taken(all).then(|| Full::Share(all()))
    }

    /// [`Self::full`] for a connection to an upstream that requests share.
    pub(super) fn full_of_upstreams(&self) -> Option<Full> {
        let open = self.live().upstreams;
        self.full(open)
    }

    /// Resolves when no connection and no tunnel is open; connections to upstreams that wait for requests do not count.
    /// Close the listeners first, or it may never.
    pub async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            if self.live().is_idle() {
                return;
            }
            notified.await;
        }
    }

    /// Asks those who dialled tunnels to open no more connections in them, and closes our own once they carry nothing.
    pub fn drain(&self) {
        self.draining.send_replace(true);
        self.pool.retire_idle();
        self.workers.close_pools();
    }

    /// Whether [`Self::drain`] was called.
    pub(super) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Resets every open connection; for the end of a drain. [`Instance::idle`] resolves once all are gone.
    pub fn cut_off(&self) {
        let mut live = self.live();
        live.cut = live.next;
        for handle in live.tasks.values().filter_map(|task| task.handle.as_ref()) {
            handle.abort();
        }
    }

    /// What connections are held to now.
    #[must_use]
    pub fn limits(&self) -> Limits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the limits for connections that are accepted from now on; open ones keep theirs.
    pub fn set_limits(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// What is known of the mesh now.
    pub(super) fn neighbours(&self) -> Arc<Neighbours> {
        Arc::clone(&self.neighbours.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is known of the mesh, for connections that are accepted from now on.
    pub fn set_neighbours(&self, neighbours: Neighbours) {
        let neighbours = neighbours.of(self.addresses.clone());
        *self.neighbours.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(neighbours);
    }

    /// Leads requests that come from now on by other rules; those under way keep theirs.
    pub fn set_routing(&self, routing: Routing) {
        self.resilience.follow(routing, &self.neighbours().directory);
    }

    /// What connections of HTTP are held to now.
    pub(super) fn http(&self) -> Arc<HttpTerms> {
        Arc::clone(&self.http.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is looked at for HTTP and what requests may take, for connections that are accepted from now on.
    pub fn set_http(&self, terms: HttpTerms) {
        *self.http.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(terms);
    }

    /// How many tunnels there were.
    #[must_use]
    pub fn tunnel_counts(&self) -> TunnelCounts {
        self.tunnels.read()
    }

    /// How often accepting had to pause because descriptors or memory ran out.
    #[must_use]
    pub fn accept_backoffs(&self) -> u64 {
        self.backoffs.load(Ordering::Relaxed)
    }

    /// How many connections and tunnels were reset because too many were open.
    #[must_use]
    pub fn over_limit(&self) -> u64 {
        self.over_limit.load(Ordering::Relaxed)
    }

    /// How often accepting broke, which went on, and how often a connection or a tunnel did, which was reset.
    #[must_use]
    pub const fn panics(&self) -> [&Arc<Panics>; 2] {
        [&self.accept_panics, &self.connection_panics]
    }

    pub(super) const fn accept_panics(&self) -> &Arc<Panics> {
        &self.accept_panics
    }

    pub(super) fn count_backoff(&self) {
        self.backoffs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_over_limit(&self) {
        self.over_limit.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs `connection` as a task of its own on `runtime`, which counts as active until its future is gone.
    ///
    /// The future is made from its [`Alive`] guard and has to hold it to its end.
    pub(super) fn spawn<F>(self: &Arc<Self>, runtime: &Handle, connection: impl FnOnce(Alive) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_as(Kind::Connection, runtime, connection);
    }

    /// [`Self::spawn`] for a tunnel, which ends as connections do but is none.
    pub(super) fn spawn_tunnel<F>(self: &Arc<Self>, runtime: &Handle, tunnel: impl FnOnce(Alive) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_as(Kind::Tunnel, runtime, tunnel);
    }

    /// [`Self::spawn`] for a connection to an upstream that requests share.
    pub(super) fn spawn_upstream<F>(self: &Arc<Self>, runtime: &Handle, upstream: impl FnOnce(Alive) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_as(Kind::Upstream, runtime, upstream);
    }

    fn spawn_as<F>(self: &Arc<Self>, kind: Kind, runtime: &Handle, connection: impl FnOnce(Alive) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let id = {
            let mut live = self.live();
            live.tunnels += usize::from(kind == Kind::Tunnel);
            live.upstreams += usize::from(kind == Kind::Upstream);
            let id = live.next;
            live.next += 1;
            live.tasks.insert(id, Task::default());
            id
        };
        self.part.enter();
        // Not under the lock: a runtime that shuts down drops the future here and now, and the guard takes the lock.
        let task = runtime.spawn(connection(Alive { instance: Arc::clone(self), id, kind })).abort_handle();
        let mut live = self.live();
        let all = id < live.cut;
        // Gone if the connection is over already.
        if let Some(entry) = live.tasks.get_mut(&id) {
            if all || entry.facts.as_ref().is_some_and(|facts| facts.is_cut()) {
                task.abort();
            }
            entry.handle = Some(task);
        }
    }

    /// What is known of every open connection, with its number.
    pub(super) fn open(&self) -> Vec<(u64, Arc<Facts>)> {
        let live = self.live();
        live.tasks.iter().filter_map(|(id, task)| Some((*id, Arc::clone(task.facts.as_ref()?)))).collect()
    }

    /// Ends a connection, which is reset.
    pub(super) fn abort(&self, id: u64) {
        if let Some(handle) = self.live().tasks.get(&id).and_then(|task| task.handle.as_ref()) {
            handle.abort();
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one connection, or one tunnel, as open.
pub(super) struct Alive {
    pub(super) instance: Arc<Instance>,
    id: u64,
    kind: Kind,
}

impl Alive {
    /// Its number.
    pub(super) const fn number(&self) -> u64 {
        self.id
    }

    /// Lets everybody know what is known of the connection.
    pub(super) fn tell(&self, facts: Arc<Facts>) {
        if let Some(task) = self.instance.live().tasks.get_mut(&self.id) {
            task.facts = Some(facts);
        }
    }
}

/// Why one more would be too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// As many are open as [`Limits::max_connections`] says.
    Limit(usize),
    /// So many are open, and no more are left for the others that share the process.
    Share(usize),
}

impl Full {
    /// The error of one that is too many.
    pub(super) fn error(self) -> io::Error {
        let message = match self {
            Self::Limit(limit) => {
                format!("{limit} connections are open already, as many as relay.max-connections allows")
            }
            Self::Share(open) => format!(
                "{open} connections are open already, the workload's share of the descriptors of this process (ulimit -n)"
            ),
        };
        io::Error::new(io::ErrorKind::QuotaExceeded, message)
    }
}

/// What a task stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Connection,
    Tunnel,
    Upstream,
}

impl Live {
    fn is_idle(&self) -> bool {
        self.tasks.len() == self.upstreams
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.instance.connection_panics.add();
        }
        self.instance.part.leave();
        let mut live = self.instance.live();
        live.tasks.remove(&self.id);
        live.tunnels -= usize::from(self.kind == Kind::Tunnel);
        live.upstreams -= usize::from(self.kind == Kind::Upstream);
        if live.is_idle() {
            // A burst of connections must not leave its table behind for the rest of the instance's life.
            live.tasks.shrink_to(64);
            drop(live);
            self.instance.idle.notify_waiters();
        }
    }
}

/// The addresses that this instance listens at.
#[derive(Debug, Default)]
pub(super) struct OwnListeners(RwLock<Vec<SocketAddr>>);

impl OwnListeners {
    pub(super) fn add(&self, address: SocketAddr) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(address);
    }

    pub(super) fn remove(&self, address: SocketAddr) {
        let mut own = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = own.iter().position(|&listener| listener == address) {
            own.swap_remove(found);
        }
    }

    /// Whether dialling `original` would come back to us.
    ///
    /// A listener bound to every address is reached through loopback and through `near`, an address that is known
    /// to belong to the workload's namespace.
    pub(super) fn contain(&self, original: OriginalDst, near: IpAddr) -> bool {
        let own = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = original.0.ip();
        own.iter().any(|listener| {
            let reaches = if listener.ip().is_unspecified() {
                wanted.is_loopback() || wanted.is_unspecified() || wanted == near
            } else {
                wanted == listener.ip()
            };
            reaches && listener.port() == original.0.port()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_listener_is_known_by_every_address_that_reaches_it() {
        let own = OwnListeners::default();
        own.add("0.0.0.0:15001".parse().unwrap());
        own.add("[::1]:15002".parse().unwrap());
        let near = "10.0.0.5".parse().unwrap();
        let reaches = |address: &str| own.contain(OriginalDst(address.parse().unwrap()), near);
        assert!(reaches("127.199.3.4:15001"));
        assert!(reaches("10.0.0.5:15001"));
        assert!(reaches("[::1]:15002"));
        assert!(!reaches("10.0.0.9:15001"), "somebody else's port of the same number");
        assert!(!reaches("127.0.0.1:15002"));
        own.remove("0.0.0.0:15001".parse().unwrap());
        assert!(!reaches("127.199.3.4:15001"));
    }
}
