//! The access log: a thread of its own that writes whole lines, so that no disk or terminal ever slows a connection.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::export::Exporter;
use super::line::{Format, Line, Lines};
use super::queue::Queue;
use super::shares::{Amount, Owner};
use crate::lasting::{Lasting, Panics};
use crate::model::Field;

/// How many lines may wait to be written, half of them of one workload: a tenth of a second of what one core can cause.
/// And how many bytes of what they are made of; a request may have come with tens of kilobytes of target.
const ROOM: Amount = Amount { items: 16_384, bytes: 16 << 20 };
/// How long lines may gather before they are written together.
const GATHER: Duration = Duration::from_millis(10);
/// Most bytes in one write. Up to here a write to a pipe is atomic (pipe(7), PIPE_BUF), so that lines stay whole
/// even where several processes write.
const PIECE: usize = 4096;
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
pub(super) struct AccessLog {
    queue: Arc<Queue<Line>>,
    exporter: Option<Arc<Exporter>>,
    writer: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// Opens the destination and starts to write lines to it; the exporter, if there is one, gets them too.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or no thread can be started.
    pub(super) fn open(settings: LogSettings, exporter: Option<Arc<Exporter>>) -> io::Result<Self> {
        let LogSettings { destination, format, fields, export } = settings;
        let out = Out::open(&destination)?;
        let queue = Arc::new(Queue::new(ROOM));
        let lines = Lines::new(format, fields);
        let writer = Writer { queue: Arc::clone(&queue), destination, out, lines };
        let writer = std::thread::Builder::new().name("access-log".to_owned()).spawn(|| writer.run())?;
        Ok(Self { queue, exporter: exporter.filter(|_| export == Export::AsLogs), writer: Some(writer) })
    }

    /// Leaves one connection or request to be written; never waits. Lines for which their workload has no room are dropped
    /// and counted, those about denials are held to a rate.
    pub(super) fn write(&self, line: Line) {
        if line.event.is_denial() && !line.teller.may_tell_denial() {
            return;
        }
        if let Some(exporter) = &self.exporter {
            exporter.log(line.clone());
        }
        let (owner, bytes) = (Owner::of(&line.teller), line.event.weight());
        if let Err(line) = self.queue.push(line, owner, bytes) {
            line.teller.count_dropped();
        }
    }

    /// Opens the file anew before the next line, after somebody moved the old one away. Returns at once.
    pub(super) fn reopen(&self) {
        self.queue.request_reopen();
    }

    /// Waits until all lines that were left so far are written, at most for `patience`. Whether they were.
    ///
    /// Blocks its thread: call it at a stop, or from a thread that may wait.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        self.queue.flush(patience)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.queue.close();
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
    queue: Arc<Queue<Line>>,
    destination: Destination,
    out: Out,
    lines: Lines,
}

impl Writer {
    fn run(mut self) {
        let (mut failing, mut lasting) = (false, Lasting::new(&Panics::of("access-log")));
        loop {
            let batch = self.queue.next();
            if batch.reopen {
                match Out::open(&self.destination) {
                    Ok(out) => self.out = out,
                    Err(error) => {
                        tracing::warn!(%error, "access log not opened anew, the old file is written on");
                    }
                }
            }
            let written = lasting.attempt_here(|| self.write_lines(&batch.items));
            let written = written.unwrap_or_else(|| {
                // How many of them are written is not known.
                batch.items.iter().for_each(|line| line.teller.count_dropped());
                Ok(())
            });
            // Told when it begins and when it is over, not for every batch in between.
            match &written {
                Err(error) if !failing => {
                    tracing::warn!(%error, "access log cannot be written, lines are dropped");
                }
                Ok(()) if failing && !batch.items.is_empty() => tracing::info!("access log is written again"),
                Ok(()) | Err(_) => {}
            }
            failing = written.is_err() || (failing && batch.items.is_empty());
            self.queue.done(batch.items.len(), GATHER);
            if batch.last {
                return;
            }
        }
    }

    fn write_lines<'a>(&mut self, lines: impl IntoIterator<Item = &'a Line>) -> io::Result<()> {
        let mut failed = Ok(());
        let (mut piece, mut text, mut of_piece) = (String::new(), String::new(), Vec::new());
        for line in lines {
            text.clear();
            self.lines.write(&mut text, line);
            if piece.len() + text.len() > PIECE {
                failed = self.write_piece(&mut piece, &mut of_piece).and(failed);
            }
            piece.push_str(&text);
            of_piece.push(line);
        }
        self.write_piece(&mut piece, &mut of_piece).and(failed)
    }

    fn write_piece(&mut self, piece: &mut String, lines: &mut Vec<&Line>) -> io::Result<()> {
        let written = self.out.write_all(piece.as_bytes());
        if written.is_err() {
            lines.iter().for_each(|line| line.teller.count_dropped());
        }
        piece.clear();
        lines.clear();
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
    use super::super::line::Event;
    use super::super::samples;
    use super::super::teller::Teller;
    use super::super::workload::Own;
    use super::*;
    use crate::model::{Ended, Flag};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A log with somebody who writes to it.
    struct Scene {
        _directory: Option<tempfile::TempDir>,
        path: PathBuf,
        log: AccessLog,
        teller: Arc<Teller>,
    }

    impl Scene {
        fn at(path: PathBuf, format: Format) -> io::Result<Self> {
            let destination = Destination::File(path.clone());
            let settings = LogSettings { destination, format, fields: None, export: Export::Never };
            let log = AccessLog::open(settings, None)?;
            Ok(Self { _directory: None, path, log, teller: teller("web") })
        }

        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let scene = Self::at(directory.path().join("access.log"), Format::Json).unwrap();
            Self { _directory: Some(directory), ..scene }
        }

        fn write(&self, event: Event) {
            self.log.write(Line { teller: Arc::clone(&self.teller), event });
        }

        /// Every line, in the end.
        fn end(self) -> Vec<serde_json::Value> {
            drop(self.log);
            lines(&self.path)
        }
    }

    fn teller(name: &str) -> Arc<Teller> {
        Arc::new(Teller::new(Own::named(name)))
    }

    fn connection(ended: Ended) -> Event {
        Event::Connection(Arc::new(ended))
    }

    fn lines(path: &PathBuf) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_line_is_written_at_a_clean_stop() {
        let scene = Scene::new();
        for sent in 0..5000 {
            let mut ended = samples::relayed();
            ended.traffic.sent = sent;
            scene.write(connection(ended));
        }
        let lines = scene.end();
        assert_eq!(lines.len(), 5000);
        assert!(lines.iter().enumerate().all(|(index, line)| line["bytes_sent"] == index), "out of order");
    }

    #[test]
    fn a_flush_makes_lines_visible_while_the_log_goes_on() {
        let scene = Scene::new();
        for count in 1..=3 {
            scene.write(connection(samples::unreachable()));
            assert!(scene.log.flush(PATIENCE));
            assert_eq!(lines(&scene.path).len(), count);
        }
    }

    #[test]
    fn lines_of_several_workloads_say_whose_they_are() {
        let scene = Scene::new();
        for name in ["shop/web-1", "shop/db-1", "shop/web-1"] {
            scene.log.write(Line { teller: teller(name), event: connection(samples::relayed()) });
        }
        let lines = scene.end();
        let workloads: Vec<&str> = lines.iter().filter_map(|line| line["workload"].as_str()).collect();
        assert_eq!(workloads, ["shop/web-1", "shop/db-1", "shop/web-1"]);
    }

    #[test]
    fn lines_about_denials_are_held_to_a_rate_each_workloads_own_and_counted() {
        let scene = Scene::new();
        for _ in 0..1000 {
            scene.write(connection(samples::denied()));
        }
        let quiet = teller("quiet");
        scene.log.write(Line { teller: Arc::clone(&quiet), event: connection(samples::denied()) });
        scene.write(connection(samples::relayed()));
        let suppressed = scene.teller.suppressed();
        assert!(suppressed >= 700, "{suppressed} of 1000 were held back");
        assert_eq!(quiet.suppressed(), 0);
        assert_eq!(scene.end().len() as u64, 1002 - suppressed);
    }

    #[test]
    fn requests_and_connections_are_lines_of_one_log_and_denied_ones_are_held_back_too() {
        let scene = Scene::new();
        scene.write(connection(samples::relayed()));
        scene.write(Event::Request(Arc::new(samples::asked())));
        for _ in 0..1000 {
            let mut denied = samples::asked();
            denied.flags.raise(Flag::Denied);
            scene.write(Event::Request(Arc::new(denied)));
        }
        let suppressed = scene.teller.suppressed();
        assert!(suppressed >= 700);
        let lines = scene.end();
        assert_eq!(lines.len() as u64, 1002 - suppressed);
        assert_eq!((&lines[0]["verdict"], &lines[1]["method"]), (&"proxy".into(), &"GET".into()));
    }

    #[test]
    fn a_moved_file_is_left_for_a_new_one_after_reopen() {
        let scene = Scene::new();
        scene.write(connection(samples::relayed()));
        assert!(scene.log.flush(PATIENCE));
        let moved = scene.path.with_extension("log.1");
        std::fs::rename(&scene.path, &moved).unwrap();
        scene.log.reopen();
        scene.write(connection(samples::relayed()));
        assert!(scene.log.flush(PATIENCE));
        assert_eq!((lines(&moved).len(), lines(&scene.path).len()), (1, 1));
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let scene = Scene::at("/dev/full".into(), Format::Text).unwrap();
        for _ in 0..10 {
            scene.write(connection(samples::relayed()));
        }
        assert!(scene.log.flush(PATIENCE));
        assert_eq!(scene.teller.dropped(), 10);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = Scene::at("/nowhere/access.log".into(), Format::Text).err().unwrap();
        assert!(error.to_string().contains("/nowhere/access.log"), "{error}");
    }
}
