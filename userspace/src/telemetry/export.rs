//! Spans, and on request lines of the access log, for an OpenTelemetry collector (OTLP 1.x over gRPC or HTTP).
//!
//! On a thread of its own: whoever ends a request leaves a reference and goes on. What waits is bounded in number and in
//! bytes; what has no room is dropped and counted. A collector that is not there costs attempts further and further apart,
//! one log line when it begins and one when it is over. Nothing is connected before there is something to send.
//!
//! # Layout
//! - here: what waits, and the thread
//! - `span`, `record`, `attributes`: requests and connections in OTLP's words
//! - `delivery`: one batch with its retries
//! - `client`, `connect`: the two ways over the wire

mod attributes;
mod client;
mod connect;
mod delivery;
mod record;
mod span;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Uri};
use tokio::sync::Notify;

use super::line::{self, Line};
use super::shares::{Amount, Owner, Shares};
use super::teller::{Exported, Teller};
use crate::lasting::{Lasting, Panics};
use crate::model::Exchange;
use client::{Client, Request};
use delivery::{Delivery, Outcome};

/// Most spans that wait, and most log records; half of them of one workload.
const ROOM: Amount = Amount { items: 8192, bytes: 8 << 20 };
/// Most of either in one message.
const BATCH: usize = 512;
/// How long a batch may gather.
const GATHER: Duration = Duration::from_secs(1);
/// How long the end waits for what is left.
const LAST_WAIT: Duration = Duration::from_secs(3);

/// Where spans go, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportSettings {
    /// The collector; `http` or `https`, with host and port.
    pub endpoint: Uri,
    /// How it is spoken to.
    pub protocol: ExportProtocol,
    /// Header fields to send along, such as credentials.
    pub headers: HeaderMap,
    /// Attributes of the resource besides those that are known, and in place of them.
    pub resource: Vec<(String, String)>,
    /// Whose signature on the collector's certificate counts, in PEM; the system's authorities if absent.
    pub authorities: Option<PathBuf>,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportProtocol {
    /// OTLP/gRPC.
    #[default]
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    Http,
}

/// The exporter of a process. Dropping it sends what is left, within a deadline.
#[derive(Debug)]
pub(super) struct Exporter {
    shared: Arc<Shared>,
    ended: Mutex<Receiver<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something, or enough for a batch, or it is the end.
    stirred: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: Gathered<Spanned>,
    records: Gathered<Line>,
    closed: bool,
}

/// The request that becomes a span, and whose it is.
#[derive(Debug)]
pub(super) struct Spanned {
    pub(super) teller: Arc<Teller>,
    pub(super) exchange: Arc<Exchange>,
}

/// What can wait to be sent.
trait Item {
    /// Whose it is.
    fn teller(&self) -> &Arc<Teller>;
    /// Bytes that it takes, about.
    fn weight(&self) -> usize;
}

impl Item for Spanned {
    fn teller(&self) -> &Arc<Teller> {
        &self.teller
    }

    fn weight(&self) -> usize {
        line::weight(&self.exchange)
    }
}

impl Item for Line {
    fn teller(&self) -> &Arc<Teller> {
        &self.teller
    }

    fn weight(&self) -> usize {
        self.event.weight()
    }
}

/// What waits, of one kind.
#[derive(Debug)]
struct Gathered<T> {
    items: VecDeque<T>,
    shares: Shares,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), shares: Shares::default() }
    }
}

impl<T: Item> Gathered<T> {
    /// Adds one, if whoever leaves it has room: how many there are now.
    fn push(&mut self, item: T) -> Option<usize> {
        let took = self.shares.take(ROOM, Owner::of(item.teller()), item.weight());
        took.then(|| {
            self.items.push_back(item);
            self.items.len()
        })
    }

    /// As many as fit into one message.
    fn take(&mut self) -> Vec<T> {
        let batch: Vec<T> = self.items.drain(..self.items.len().min(BATCH)).collect();
        for item in &batch {
            self.shares.give_back(Owner::of(item.teller()), item.weight());
        }
        batch
    }
}

impl Exporter {
    /// Starts to export what the workloads of this process do.
    ///
    /// # Errors
    /// No thread can be started, or the authorities cannot be read.
    pub(super) fn start(settings: &ExportSettings) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let client = Client::new(settings)?;
        let (end, ended) = mpsc::channel::<()>();
        let thread = Thread { shared: Arc::clone(&shared), configured: settings.resource.clone() };
        std::thread::Builder::new().name("otlp-export".to_owned()).spawn(move || {
            thread.run(client);
            drop(end);
        })?;
        Ok(Self { shared, ended: Mutex::new(ended) })
    }

    /// Leaves the span of a request; never waits.
    pub(super) fn span(&self, teller: &Arc<Teller>, exchange: Arc<Exchange>) {
        let item = Spanned { teller: Arc::clone(teller), exchange };
        if !self.shared.leave(|waiting| waiting.spans.push(item)) {
            teller.spans.count_dropped(1);
        }
    }

    /// Leaves a line of the access log; never waits.
    pub(super) fn log(&self, line: Line) {
        let teller = Arc::clone(&line.teller);
        if !self.shared.leave(|waiting| waiting.records.push(line)) {
            teller.records.count_dropped(1);
        }
    }

    /// Takes nothing more and sends what is left, at most for `patience`. Whether it got that far.
    pub(super) fn close(&self, patience: Duration) -> bool {
        self.shared.lock().closed = true;
        self.shared.stirred.notify_one();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: the thread lets go of its end when it is done.
        ended.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Disconnected)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.close(LAST_WAIT);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds something by `push`, which says how many there are then. Whether there was room.
    fn leave(&self, push: impl FnOnce(&mut Waiting) -> Option<usize>) -> bool {
        let mut waiting = self.lock();
        let left = if waiting.closed { None } else { push(&mut waiting) };
        drop(waiting);
        // The thread is asleep before the first, and gathers until there are enough for a message.
        if left == Some(1) || left == Some(BATCH) {
            self.stirred.notify_one();
        }
        left.is_some()
    }

    fn closed(&self) -> bool {
        self.lock().closed
    }

    /// As many spans, and as many records, as fit into one message.
    fn take(&self) -> (Vec<Spanned>, Vec<Line>) {
        let mut waiting = self.lock();
        (waiting.spans.take(), waiting.records.take())
    }

    fn has_batch(&self) -> bool {
        let waiting = self.lock();
        waiting.spans.items.len() >= BATCH || waiting.records.items.len() >= BATCH
    }
}

/// What runs on the exporter's thread.
struct Thread {
    shared: Arc<Shared>,
    /// Attributes of every resource.
    configured: Vec<(String, String)>,
}

impl Thread {
    fn run(self, mut client: Client) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(async {
                let mut lasting = Lasting::new(&Panics::of("export"));
                while lasting.attempt(self.export(&mut client)).await.is_none() {}
            }),
            Err(error) => tracing::error!(%error, "nothing is exported: no runtime"),
        }
    }

    async fn export(&self, client: &mut Client) {
        let mut delivery = Delivery::default();
        loop {
            if !self.shared.closed() && !self.shared.has_batch() {
                self.shared.stirred.notified().await;
                let full = async {
                    while !self.shared.has_batch() && !self.shared.closed() {
                        self.shared.stirred.notified().await;
                    }
                };
                let _full_or_late = tokio::time::timeout(GATHER, full).await;
            }
            let (spans, records) = self.shared.take();
            if spans.is_empty() && records.is_empty() && self.shared.closed() {
                return;
            }
            if !spans.is_empty() {
                let groups = by_teller(spans);
                let request = span::request(&self.configured, &groups);
                self.deliver(client, &mut delivery, &request, sizes(groups, |teller| &teller.spans)).await;
            }
            if !records.is_empty() {
                let groups = by_teller(records);
                let request = record::request(&self.configured, &groups);
                self.deliver(client, &mut delivery, &request, sizes(groups, |teller| &teller.records)).await;
            }
        }
    }

    /// Sends a message and counts what becomes of it for all whose it is.
    async fn deliver(&self, client: &mut Client, delivery: &mut Delivery, request: &Request, sizes: Sizes) {
        let failed = || sizes.groups.iter().for_each(|(teller, _)| teller.count_failure());
        let outcome = delivery.run(client, request, &self.shared, failed).await;
        let mut rejected = match outcome {
            Outcome::Taken { rejected } => rejected,
            Outcome::Lost => u64::MAX,
        };
        for (teller, count) in &sizes.groups {
            // A collector does not say whose items it rejected: they are counted for those who come first.
            let lost = rejected.min(*count);
            rejected -= lost;
            let exported = (sizes.counts)(teller);
            exported.count_sent(count - lost);
            exported.count_dropped(lost);
        }
    }
}

/// Items by whose they are, in the order in which they came.
type Groups<T> = Vec<(Arc<Teller>, Vec<T>)>;

fn by_teller<T: Item>(items: Vec<T>) -> Groups<T> {
    let mut groups: Groups<T> = Vec::new();
    let mut places: HashMap<Owner, usize> = HashMap::new();
    for item in items {
        let place = *places.entry(Owner::of(item.teller())).or_insert_with(|| {
            groups.push((Arc::clone(item.teller()), Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(item);
    }
    groups
}

/// How many items of a message are whose, and where that is counted.
struct Sizes {
    groups: Vec<(Arc<Teller>, u64)>,
    counts: fn(&Teller) -> &Exported,
}

fn sizes<T>(groups: Groups<T>, counts: fn(&Teller) -> &Exported) -> Sizes {
    let groups = groups.into_iter().map(|(teller, items)| (teller, items.len() as u64)).collect();
    Sizes { groups, counts }
}

#[cfg(test)]
mod tests;
