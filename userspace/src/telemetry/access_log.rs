//! The access log: a thread of its own that writes whole lines, so that no disk or terminal ever slows a connection.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::allowance::Allowance;
use super::line::{self, Format};
use super::queue::Queue;
use crate::model::{Ended, Verdict};

/// How many lines may wait to be written: about 2 MB, a tenth of a second of what one core can cause.
const ROOM: usize = 8192;
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

/// An access log. Dropping it writes what is left.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    denials: Mutex<Allowance>,
    suppressed: AtomicU64,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    queue: Queue<Ended>,
    dropped: AtomicU64,
}

impl AccessLog {
    /// Opens `destination` and starts to write lines of `workload` to it.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or no thread can be started.
    pub fn open(destination: Destination, format: Format, workload: &str) -> io::Result<Self> {
        let out = Out::open(&destination)?;
        let shared = Arc::new(Shared { queue: Queue::new(ROOM), dropped: AtomicU64::new(0) });
        let writer =
            Writer { shared: shared.clone(), destination, out, format, workload: workload.to_owned() };
        let writer = std::thread::Builder::new().name("access-log".to_owned()).spawn(|| writer.run())?;
        Ok(Self {
            shared,
            denials: Mutex::new(Allowance::new(DENIALS_PER_SECOND, Instant::now())),
            suppressed: AtomicU64::new(0),
            writer: Some(writer),
        })
    }

    /// Leaves one connection to be written; never waits. Lines for which there is no room are dropped and counted,
    /// those about denials are held to a rate.
    pub fn write(&self, ended: Ended) {
        if ended.verdict == Verdict::Deny {
            let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
            if !denials.admit(Instant::now()) {
                self.suppressed.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        if self.shared.queue.push(ended).is_err() {
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
    format: Format,
    workload: String,
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

    fn write_lines<'a>(&mut self, ended: impl IntoIterator<Item = &'a Ended>) -> io::Result<()> {
        let mut failed = Ok(());
        let (mut piece, mut line, mut lines) = (String::new(), String::new(), 0);
        for ended in ended {
            line.clear();
            line::write(&mut line, self.format, &self.workload, ended);
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

    const PATIENCE: Duration = Duration::from_secs(20);

    fn log() -> (tempfile::TempDir, PathBuf, AccessLog) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let log = AccessLog::open(Destination::File(path.clone()), Format::Json, "web").unwrap();
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
            log.write(ended);
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
            log.write(samples::unreachable());
            assert!(log.flush(PATIENCE));
            assert_eq!(lines(&path).len(), count);
        }
    }

    #[test]
    fn lines_about_denials_are_held_to_a_rate_and_counted() {
        let (_directory, path, log) = log();
        for _ in 0..1000 {
            log.write(samples::denied());
        }
        log.write(samples::relayed());
        let suppressed = log.suppressed();
        assert!(suppressed >= 700, "{suppressed} of 1000 were held back");
        drop(log);
        assert_eq!(lines(&path).len() as u64, 1001 - suppressed);
    }

    #[test]
    fn a_moved_file_is_left_for_a_new_one_after_reopen() {
        let (directory, path, log) = log();
        log.write(samples::relayed());
        assert!(log.flush(PATIENCE));
        let moved = directory.path().join("access.log.1");
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.write(samples::relayed());
        assert!(log.flush(PATIENCE));
        assert_eq!((lines(&moved).len(), lines(&path).len()), (1, 1));
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let log = AccessLog::open(Destination::File("/dev/full".into()), Format::Text, "web").unwrap();
        for _ in 0..10 {
            log.write(samples::relayed());
        }
        assert!(log.flush(PATIENCE));
        assert_eq!(log.dropped(), 10);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = AccessLog::open(Destination::File("/nowhere/access.log".into()), Format::Text, "web")
            .unwrap_err();
        assert!(error.to_string().contains("/nowhere/access.log"), "{error}");
    }
}
