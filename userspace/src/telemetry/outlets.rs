//! Where a process tells of its workloads: one access log and one exporter, however many workloads there are.

use std::io;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};

use super::access_log::{AccessLog, LogSettings};
use super::export::{ExportSettings, Exporter};
use super::line::{Event, Format, Line, Lines};
use super::teller::Teller;
use crate::model::{Ended, Exchange};

/// How many connections may end before a follower has heard of the first.
const FOLLOWED: usize = 1024;
/// How long an exporter that is replaced may take to send what is left.
const EXPORTS_LAST_WAIT: Duration = Duration::from_secs(3);

/// The access log and the exporter of a process, while there are any.
#[derive(Debug, Default)]
pub struct Outlets {
    log: RwLock<Option<AccessLog>>,
    exporter: RwLock<Option<Arc<Exporter>>>,
    /// Made when somebody first follows.
    followed: OnceLock<broadcast::Sender<Line>>,
}

/// Hears of every connection that ends.
pub struct Follower {
    lines: broadcast::Receiver<Line>,
    written: Lines,
}

/// What a follower hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// A connection ended.
    Ended {
        /// Whose it was.
        workload: String,
        /// Its line of the access log, as JSON.
        line: String,
    },
    /// So many ended while this follower was too slow.
    Missed(u64),
}

impl Follower {
    /// What comes next; nothing when the process tells no more.
    pub async fn next(&mut self) -> Option<Followed> {
        match self.lines.recv().await {
            Ok(line) => {
                let mut text = String::new();
                self.written.write(&mut text, &line);
                Some(Followed::Ended { workload: line.teller.own.name.clone(), line: text })
            }
            Err(RecvError::Lagged(missed)) => Some(Followed::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Outlets {
    /// Exports from now on as these settings say, or not at all. What was left for the old exporter is sent before this
    /// returns, within a deadline. An access log that is exported too has to be opened anew with [`Self::log_to`].
    ///
    /// # Errors
    /// The new one cannot be started; the old one then stays.
    pub fn export_to(&self, settings: Option<&ExportSettings>) -> io::Result<()> {
        let next = settings.map(Exporter::start).transpose()?;
        let before = std::mem::replace(&mut *write(&self.exporter), next.map(Arc::new));
        if let Some(before) = before {
            before.close(EXPORTS_LAST_WAIT);
        }
        Ok(())
    }

    /// Logs as these settings say from now on, or not at all. What was left for the old log is written before this returns.
    ///
    /// # Errors
    /// The new log cannot be opened; the old one then stays.
    pub fn log_to(&self, settings: Option<LogSettings>) -> io::Result<()> {
        let exporter = read(&self.exporter).clone();
        let next = settings.map(|settings| AccessLog::open(settings, exporter)).transpose()?;
        let before = std::mem::replace(&mut *write(&self.log), next);
        // Not under the lock: what is left may take a while to write.
        drop(before);
        Ok(())
    }

    /// Opens the access log's file anew, after somebody moved the old one away.
    pub fn reopen_log(&self) {
        if let Some(log) = &*read(&self.log) {
            log.reopen();
        }
    }

    /// Tells of a connection that ended: whoever follows, and if it is worth a line the log.
    pub(super) fn ended(&self, teller: &Arc<Teller>, ended: Ended, has_line: bool) {
        let followed = self.followed.get().filter(|followed| followed.receiver_count() > 0);
        let log = read(&self.log);
        let log = log.as_ref().filter(|_| has_line);
        if followed.is_none() && log.is_none() {
            return;
        }
        let line = Line { teller: Arc::clone(teller), event: Event::Connection(Arc::new(ended)) };
        if let Some(followed) = followed {
            // Nobody follows any more.
            let _none = followed.send(line.clone());
        }
        if let Some(log) = log {
            log.write(line);
        }
    }

    /// Tells from now on of every connection that ends.
    pub fn follow(&self) -> Follower {
        let followed = self.followed.get_or_init(|| broadcast::Sender::new(FOLLOWED));
        Follower { lines: followed.subscribe(), written: Lines::new(Format::Json, None) }
    }

    /// Tells of a request of a workload: a span, if it is recorded, and a line.
    pub(super) fn tell(&self, teller: &Arc<Teller>, exchange: Exchange) {
        let log = read(&self.log);
        let exporter = read(&self.exporter);
        let exporter = exporter.as_ref().filter(|_| exchange.span.recorded());
        if log.is_none() && exporter.is_none() {
            return;
        }
        let exchange = Arc::new(exchange);
        if let Some(exporter) = exporter {
            exporter.span(teller, Arc::clone(&exchange));
        }
        if let Some(log) = &*log {
            log.write(Line { teller: Arc::clone(teller), event: Event::Request(exchange) });
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
