//! The access log: a thread of its own that writes whole lines, so that no disk or terminal ever slows a connection.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::allowance::Allowance;
use super::export::Exporter;
use super::line::{Event, Format, Lines};
use super::queue::Queue;
use super::workload::Own;
use crate::model::Field;

/// How many lines may wait to be written: a tenth of a second of what one core can cause.
const ROOM: usize = 8192;
/// Most bytes of what they are made of; a request may have come with tens of kilobytes of target.
const MOST: usize = 8 << 20;
/// How long lines may gather before they are written together.
const GATHER: Duration = Duration::from_millis(10);
/// Most bytes in one write. Up to here a write to a pipe is atomic (pipe(7), PIPE_BUF), so that lines stay whole
/// even where several processes write.
const PIECE: usize = 4096;
/// Most lines about denials per second.
const DENIALS_PER_SECOND: u32 = 100;
/// How long the end waits for lines to be written.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// This process's standard output.
    Stdout,
    /// A file, made if it is not there, appended to if it is.
    File(PathBuf),
}

/// What is logged, how, and where.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Where lines go.
    pub destination: Destination,
    /// How they are written.
    pub format: Format,
    /// The fields of every line in their order; all that belong to it if absent.
    pub fields: Option<Vec<Field>>,
    /// Whether the exporter gets them too.
    pub export: Export,
}

/// Whether the exporter gets lines too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Export {
    /// It does not.
    #[default]
    Never,
    /// As OTLP log records.
    AsLogs,
}

/// An access log. Dropping it writes what is left.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    exporter: Option<Arc<Exporter>>,
    denials: Mutex<Allowance>,
    suppressed: AtomicU64,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    queue: Queue<Event>,
    dropped: AtomicU64,
}

impl AccessLog {
    /// Opens the destination and starts to write lines of a workload to it; the exporter, if there is one, gets them too.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or no thread can be started.
    pub(super) fn open(settings: LogSettings, own: Own, exporter: Option<Arc<Exporter>>) -> io::Result<Self> {
        let LogSettings { destination, format, fields, export } = settings;
        let out = Out::open(&destination)?;
        let shared = Arc::new(Shared { queue: Queue::new(ROOM, MOST), dropped: AtomicU64::new(0) });
        let lines = Lines::new(own, format, fields);
        let writer = Writer { shared: shared.clone(), destination, out, lines };
        let writer = std::thread::Builder::new().name("access-log".to_owned()).spawn(|| writer.run())?;
        Ok(Self {
            shared,
            exporter: exporter.filter(|_| export == Export::AsLogs),
            denials: Mutex::new(Allowance::new(DENIALS_PER_SECOND, Instant::now())),
            suppressed: AtomicU64::new(0),
            writer: Some(writer),
        })
    }

    /// Leaves one connection or request to be written; never waits. Lines for which there is no room are dropped and
    /// counted, those about denials are held to a rate.
    pub(super) fn write(&self, event: Event) {
        if event.is_denial() {
            let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
            if !denials.admit(Instant::now()) {
                self.suppressed.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        if let Some(exporter) = &self.exporter {
            exporter.log(event.clone());
        }
        let bytes = event.weight();
        if self.shared.queue.push(event, bytes).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens the file anew before the next line, after somebody moved the old one away. Returns at once.
    pub fn reopen(&self) {
        self.shared.queue.request_reopen();
    }

    /// Waits until all lines that were left so far are written, at most for `patience`. Whether they were.
    ///
    /// Blocks its thread: call it at a stop, or from a thread that may wait.
    pub fn flush(&self, patience: Duration) -> bool {
        self.shared.queue.flush(patience)
    }

    /// How many lines were lost because there was no room for them or writing failed.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// How many lines about denials were held back by their rate.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.queue.close();
        // A reader that takes nothing (a stuck terminal) must not keep the process from ending.
        if self.flush(LAST_WAIT)
            && let Some(writer) = self.writer.take()
        {
            // An error is a panic of the writer, which was reported when it happened.
            let _ = writer.join();
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    destination: Destination,
    out: Out,
    lines: Lines,
}

impl Writer {
    fn run(mut self) {
        let mut failing = false;
        loop {
            let batch = self.shared.queue.next();
            if batch.reopen {
                match Out::open(&self.destination) {
                    Ok(out) => self.out = out,
                    Err(error) => {
                        tracing::warn!(%error, "access log not opened anew, the old file is written on");
                    }
                }
            }
            let written = self.write_lines(&batch.items);
            // Told when it begins and when it is over, not for every batch in between.
            match &written {
                Err(error) if !failing => {
                    tracing::warn!(%error, "access log cannot be written, lines are dropped");
                }
                Ok(()) if failing && !batch.items.is_empty() => tracing::info!("access log is written again"),
                Ok(()) | Err(_) => {}
            }
            failing = written.is_err() || (failing && batch.items.is_empty());
            self.shared.queue.done(batch.items.len(), GATHER);
            if batch.last {
                return;
            }
        }
    }

    fn write_lines<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) -> io::Result<()> {
        let mut failed = Ok(());
        let (mut piece, mut line, mut lines) = (String::new(), String::new(), 0);
        for event in events {
            line.clear();
            self.lines.write(&mut line, event);
            if piece.len() + line.len() > PIECE {
                failed = self.write_piece(&mut piece, &mut lines).and(failed);
            }
            piece.push_str(&line);
            lines += 1;
        }
        self.write_piece(&mut piece, &mut lines).and(failed)
    }

    fn write_piece(&mut self, piece: &mut String, lines: &mut u64) -> io::Result<()> {
        let written = self.out.write_all(piece.as_bytes());
        if written.is_err() {
            self.shared.dropped.fetch_add(*lines, Ordering::Relaxed);
        }
        piece.clear();
        *lines = 0;
        written
    }
}

enum Out {
    Stdout(io::Stdout),
    File(File),
}

impl Out {
    fn open(destination: &Destination) -> io::Result<Self> {
        match destination {
            Destination::Stdout => Ok(Self::Stdout(io::stdout())),
            Destination::File(path) => {
                OpenOptions::new().create(true).append(true).open(path).map(Self::File).map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("open access log {} for appending: {error}", path.display()),
                    )
                })
            }
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => {
                let mut locked = stdout.lock();
                locked.write_all(bytes)?;
                locked.flush()
            }
            Self::File(file) => file.write_all(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::model::{Ended, Flag};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn open(path: PathBuf, format: Format) -> io::Result<AccessLog> {
        let destination = Destination::File(path);
        let settings = LogSettings { destination, format, fields: None, export: Export::Never };
        AccessLog::open(settings, Own::named("web"), None)
    }

    fn connection(ended: Ended) -> Event {
        Event::Connection(Arc::new(ended))
    }

    fn log() -> (tempfile::TempDir, PathBuf, AccessLog) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let log = open(path.clone(), Format::Json).unwrap();
        (directory, path, log)
    }

    fn lines(path: &PathBuf) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_line_is_written_at_a_clean_stop() {
        let (_directory, path, log) = log();
        for sent in 0..5000 {
            let mut ended = samples::relayed();
            ended.traffic.sent = sent;
            log.write(connection(ended));
        }
        drop(log);
        let lines = lines(&path);
        assert_eq!(lines.len(), 5000);
        assert!(lines.iter().enumerate().all(|(index, line)| line["bytes_sent"] == index), "out of order");
    }

    #[test]
    fn a_flush_makes_lines_visible_while_the_log_goes_on() {
        let (_directory, path, log) = log();
        for count in 1..=3 {
            log.write(connection(samples::unreachable()));
            assert!(log.flush(PATIENCE));
            assert_eq!(lines(&path).len(), count);
        }
    }

    #[test]
    fn lines_about_denials_are_held_to_a_rate_and_counted() {
        let (_directory, path, log) = log();
        for _ in 0..1000 {
            log.write(connection(samples::denied()));
        }
        log.write(connection(samples::relayed()));
        let suppressed = log.suppressed();
        assert!(suppressed >= 700, "{suppressed} of 1000 were held back");
        drop(log);
        assert_eq!(lines(&path).len() as u64, 1001 - suppressed);
    }

    #[test]
    fn requests_and_connections_are_lines_of_one_log_and_denied_ones_are_held_back_too() {
        let (_directory, path, log) = log();
        log.write(connection(samples::relayed()));
        log.write(Event::Request(Arc::new(samples::asked())));
        for _ in 0..1000 {
            let mut denied = samples::asked();
            denied.flags.raise(Flag::Denied);
            log.write(Event::Request(Arc::new(denied)));
        }
        assert!(log.suppressed() >= 700);
        let expected = 1002 - log.suppressed();
        drop(log);
        let lines = lines(&path);
        assert_eq!(lines.len() as u64, expected);
        assert_eq!((&lines[0]["verdict"], &lines[1]["method"]), (&"proxy".into(), &"GET".into()));
    }

    #[test]
    fn a_moved_file_is_left_for_a_new_one_after_reopen() {
        let (directory, path, log) = log();
        log.write(connection(samples::relayed()));
        assert!(log.flush(PATIENCE));
        let moved = directory.path().join("access.log.1");
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.write(connection(samples::relayed()));
        assert!(log.flush(PATIENCE));
        assert_eq!((lines(&moved).len(), lines(&path).len()), (1, 1));
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let log = open("/dev/full".into(), Format::Text).unwrap();
        for _ in 0..10 {
            log.write(connection(samples::relayed()));
        }
        assert!(log.flush(PATIENCE));
        assert_eq!(log.dropped(), 10);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = open("/nowhere/access.log".into(), Format::Text).unwrap_err();
        assert!(error.to_string().contains("/nowhere/access.log"), "{error}");
    }
}
