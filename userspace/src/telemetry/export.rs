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

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Uri};
use tokio::sync::Notify;

use super::line::{self, Event};
use super::workload::Own;
use crate::model::Exchange;
use attributes::Resource;
use client::{Batch, Client};
use delivery::{Delivery, Outcome};

/// Most spans, and most log records, that wait.
const ROOM: usize = 4096;
/// Most bytes of what waits.
const MOST: usize = 4 << 20;
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

/// The exporter of a workload. Dropping it sends what is left, within a deadline.
#[derive(Debug)]
pub struct Exporter {
    shared: Arc<Shared>,
    ended: Mutex<Receiver<()>>,
}

/// What was sent and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exported {
    /// Spans that a collector took.
    pub(super) spans: u64,
    /// Log records that it took.
    pub(super) records: u64,
    /// Spans that had no room, or were not taken.
    pub(super) spans_dropped: u64,
    /// Log records that had none, or were not taken.
    pub(super) records_dropped: u64,
    /// Attempts that failed.
    pub(super) failures: u64,
}

impl std::ops::AddAssign for Exported {
    fn add_assign(&mut self, other: Self) {
        self.spans += other.spans;
        self.records += other.records;
        self.spans_dropped += other.spans_dropped;
        self.records_dropped += other.records_dropped;
        self.failures += other.failures;
    }
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something, or enough for a batch, or it is the end.
    stirred: Notify,
    spans: AtomicU64,
    records: AtomicU64,
    spans_dropped: AtomicU64,
    records_dropped: AtomicU64,
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: VecDeque<Arc<Exchange>>,
    records: VecDeque<Event>,
    bytes: usize,
    closed: bool,
}

impl Exporter {
    /// Starts to export what one workload does.
    ///
    /// # Errors
    /// No thread can be started, or the authorities cannot be read.
    pub fn start(settings: &ExportSettings, own: &Own) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let resource = Resource::of(own, &settings.resource);
        let client = Client::new(settings)?;
        let (end, ended) = mpsc::channel::<()>();
        let thread = Thread { shared: Arc::clone(&shared), resource, own: own.clone() };
        std::thread::Builder::new().name("otlp-export".to_owned()).spawn(move || {
            thread.run(client);
            drop(end);
        })?;
        Ok(Self { shared, ended: Mutex::new(ended) })
    }

    /// Leaves the span of a request; never waits.
    pub(super) fn span(&self, exchange: Arc<Exchange>) {
        let bytes = line::weight(&exchange);
        let left = self.shared.leave(bytes, |waiting| {
            let room = waiting.spans.len() < ROOM;
            if room {
                waiting.spans.push_back(exchange);
            }
            (room, waiting.spans.len())
        });
        if !left {
            self.shared.spans_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Leaves a line of the access log; never waits.
    pub(super) fn log(&self, event: Event) {
        let bytes = event.weight();
        let left = self.shared.leave(bytes, |waiting| {
            let room = waiting.records.len() < ROOM;
            if room {
                waiting.records.push_back(event);
            }
            (room, waiting.records.len())
        });
        if !left {
            self.shared.records_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was sent so far and what was not.
    pub(super) fn exported(&self) -> Exported {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let shared = &self.shared;
        Exported {
            spans: load(&shared.spans),
            records: load(&shared.records),
            spans_dropped: load(&shared.spans_dropped),
            records_dropped: load(&shared.records_dropped),
            failures: load(&shared.failures),
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

    /// Adds something of that many bytes by `push`, which says whether it had room and how many there are now.
    fn leave(&self, bytes: usize, push: impl FnOnce(&mut Waiting) -> (bool, usize)) -> bool {
        let mut waiting = self.lock();
        if waiting.closed || waiting.bytes + bytes > MOST {
            return false;
        }
        let (left, count) = push(&mut waiting);
        waiting.bytes += if left { bytes } else { 0 };
        drop(waiting);
        // The thread is asleep before the first, and gathers until there are enough for a message.
        if left && (count == 1 || count == BATCH) {
            self.stirred.notify_one();
        }
        left
    }

    fn closed(&self) -> bool {
        self.lock().closed
    }

    /// As many as fit into one message.
    fn take(&self) -> Batch {
        let mut waiting = self.lock();
        let (spans, records) = (waiting.spans.len().min(BATCH), waiting.records.len().min(BATCH));
        let batch = Batch {
            spans: waiting.spans.drain(..spans).collect(),
            records: waiting.records.drain(..records).collect(),
        };
        waiting.bytes -= batch.spans.iter().map(|exchange| line::weight(exchange)).sum::<usize>()
            + batch.records.iter().map(Event::weight).sum::<usize>();
        batch
    }

    fn has_batch(&self) -> bool {
        let waiting = self.lock();
        waiting.spans.len() >= BATCH || waiting.records.len() >= BATCH
    }
}

/// What runs on the exporter's thread.
struct Thread {
    shared: Arc<Shared>,
    resource: Resource,
    own: Own,
}

impl Thread {
    fn run(self, mut client: Client) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.export(&mut client)),
            Err(error) => tracing::error!(%error, "nothing is exported: no runtime"),
        }
    }

    async fn export(self, client: &mut Client) {
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
            let batch = self.shared.take();
            if batch.is_empty() && self.shared.closed() {
                return;
            }
            self.deliver(client, &mut delivery, batch).await;
        }
    }

    async fn deliver(&self, client: &mut Client, delivery: &mut Delivery, batch: Batch) {
        let Batch { spans, records } = batch;
        let shared = &self.shared;
        if !spans.is_empty() {
            let count = spans.len() as u64;
            let request = span::request(&self.resource, &spans);
            drop(spans);
            let outcome = delivery.run(client, &request, shared).await;
            shared.settle(&shared.spans, &shared.spans_dropped, count, outcome);
        }
        if !records.is_empty() {
            let count = records.len() as u64;
            let request = record::request(&self.resource, &self.own, &records);
            drop(records);
            let outcome = delivery.run(client, &request, shared).await;
            shared.settle(&shared.records, &shared.records_dropped, count, outcome);
        }
    }
}

impl Shared {
    fn settle(&self, taken: &AtomicU64, dropped: &AtomicU64, count: u64, outcome: Outcome) {
        let rejected = match outcome {
            Outcome::Taken { rejected } => rejected.min(count),
            Outcome::Lost => count,
        };
        taken.fetch_add(count - rejected, Ordering::Relaxed);
        dropped.fetch_add(rejected, Ordering::Relaxed);
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
