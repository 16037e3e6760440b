//! A program under observation: its lines as they come, its end, and what it printed when a test fails.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Event;
use crate::patience::{eventually, patience};

/// One line of output.
#[derive(Clone, Debug)]
struct Line {
    text: String,
    seen: Seen,
}

/// Whether a wait has already been answered with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    No,
    Yes,
}

#[derive(Debug, Default)]
struct Lines {
    stdout: Vec<Line>,
    stderr: String,
    /// How many of the two streams are still open.
    open: u8,
}

#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Lines>,
    changed: Condvar,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A started program. Killed when dropped, and what it printed is shown if a test is failing then.
#[derive(Debug)]
pub struct Process {
    label: String,
    pid: Pid,
    child: Mutex<Child>,
    stdin: Mutex<Option<ChildStdin>>,
    output: Arc<Output>,
}

impl Process {
    /// Starts a command with all three streams in our hands.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
        // What the harness puts in front is of no interest to who reads a failure.
        let label = arguments.skip_while(|argument| argument != "--").skip(1).collect::<Vec<_>>().join(" ");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let output = Arc::new(Output {
            lines: Mutex::new(Lines { open: 2, ..Lines::default() }),
            ..Output::default()
        });
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            collect(&output, stdout, |lines, text| lines.stdout.push(Line { text, seen: Seen::No }));
            collect(&output, stderr, |lines, text| {
                lines.stderr.push_str(&text);
                lines.stderr.push('\n');
            });
        }
        let stdin = Mutex::new(child.stdin.take());
        let pid = Pid::from_raw(child.id().cast_signed());
        Self { label, pid, child: Mutex::new(child), stdin, output }
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for a line of standard output that `pick` takes, and hands on what it made of it. A line answers
    /// one wait only.
    ///
    /// # Panics
    /// When no such line comes within [`patience`], or the program ends without one.
    pub fn line<T>(&self, what: &str, pick: impl FnMut(&str) -> Option<T>) -> T {
        self.line_within(patience(), what, pick)
    }

    /// [`Self::line`] with a patience of its own, for what takes its time by design.
    ///
    /// # Panics
    /// As [`Self::line`].
    pub fn line_within<T>(
        &self,
        patience: Duration,
        what: &str,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + patience;
        let mut lines = self.output.lock();
        let mut next = 0;
        loop {
            while let Some(line) = lines.stdout.get_mut(next) {
                if line.seen == Seen::No
                    && let Some(picked) = pick(&line.text)
                {
                    line.seen = Seen::Yes;
                    return picked;
                }
                next += 1;
            }
            assert!(lines.open > 0, "`{}` ended without a line that is {what}", self.label);
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "`{}` printed no line that is {what} within {patience:?}", self.label,);
            lines = self.output.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// [`Self::line`] for the events of peers.
    ///
    /// # Panics
    /// As [`Self::line`].
    pub fn event<T>(&self, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        self.line(what, |line| serde_json::from_str(line).ok().and_then(&mut pick))
    }

    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.stdout().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// All lines of standard output so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<String> {
        self.output.lock().stdout.iter().map(|line| line.text.clone()).collect()
    }

    /// All of standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.output.lock().stderr.clone()
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// When it does not read any more.
    pub fn say(&self, text: &str) {
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        let said = stdin.as_mut().map(|stdin| writeln!(stdin, "{text}").and_then(|()| stdin.flush()));
        assert!(matches!(said, Some(Ok(()))), "say {text:?} to `{}`: {said:?}", self.label);
    }

    /// Closes its standard input.
    pub fn hang_up(&self) {
        drop(self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Sends it a signal; nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.status().is_none() {
            let _ = kill(self.pid, signal);
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten()
    }

    /// Waits for its end and for all that it printed. Its standard input is closed first.
    ///
    /// # Panics
    /// When it does not end within [`patience`].
    pub fn end(&self) -> ExitStatus {
        self.hang_up();
        self.ended()
    }

    /// Waits for its end, with its standard input left open.
    ///
    /// # Panics
    /// When it does not end within [`patience`].
    pub fn ended(&self) -> ExitStatus {
        let status = eventually(&format!("`{}` ends", self.label), || self.status().ok_or(StillRuns(self)));
        // Children of the program may hold the streams open: those are not waited for.
        let mut lines = self.output.lock();
        let deadline = Instant::now() + patience();
        while lines.open > 0 && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            lines = self.output.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        status
    }

    /// Ends it with a signal and waits.
    ///
    /// # Panics
    /// When it does not end within [`patience`].
    pub fn stop(&self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.ended()
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Fails only if it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Waits for its end, which must be a success.
    ///
    /// # Panics
    /// When it fails or does not end.
    pub fn succeed(&self) {
        let status = self.end();
        assert!(
            status.success(),
            "`{}` ended with {} (signal {:?})",
            self.label,
            status.code().unwrap_or(-1),
            status.signal()
        );
    }

    /// Resident memory in KiB, from `VmRSS` of proc_pid_status(5).
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        self.status_field("VmRSS:")
    }

    /// Memory of its own in KiB, from `RssAnon` of proc_pid_status(5): what something costs it, whatever pages of its code
    /// happen to be mapped.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn own_kib(&self) -> u64 {
        self.status_field("RssAnon:")
    }

    /// How many descriptors it has open.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid)).into_iter().flatten().count()
    }

    /// Where each of its threads stands, as far as the kernel tells: its name, its state, the system call that it is in and the
    /// kernel's stack (proc_pid_stack(5)). For messages about a process that should have ended.
    fn standings(&self) -> String {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        let told = threads.map(|thread| {
            let told = ["comm", "wchan", "syscall", "stack"].map(|file| {
                std::fs::read_to_string(thread.path().join(file)).unwrap_or_default().trim().to_owned()
            });
            format!("thread {}: {}", thread.file_name().to_string_lossy(), told.join("\n    "))
        });
        told.collect::<Vec<_>>().join("\n")
    }

    /// How many descriptors it has open when nothing is under way: whoever has just asked it something, as to whether it is
    /// ready, has got the answer a moment before it closes the connection.
    ///
    /// # Panics
    /// When the number does not come to rest within the patience.
    #[must_use]
    pub fn idle_descriptors(&self) -> usize {
        const ALIKE: usize = 6;
        let (mut last, mut alike) = (self.descriptors(), 1);
        eventually("the number of descriptors comes to rest", || {
            let now = self.descriptors();
            alike = if now == last { alike + 1 } else { 1 };
            last = now;
            if alike == ALIKE { Ok(now) } else { Err(now) }
        })
    }

    fn status_field(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("`{}` has no {name} in its status; it has ended", self.label))
    }
}

/// Why there is no status yet. Where the threads stand is read when it is told, not each time that somebody looks.
struct StillRuns<'a>(&'a Process);

impl fmt::Debug for StillRuns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it runs:\n{}", self.0.standings())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let lines = self.output.lock();
            eprintln!("--- `{}` printed:", self.label);
            let skipped = lines.stdout.len().saturating_sub(60);
            for line in &lines.stdout[skipped..] {
                eprintln!("{}", line.text);
            }
            eprint!("{}", lines.stderr);
        }
    }
}

/// Reads a stream to its end on a thread of its own.
fn collect(
    output: &Arc<Output>,
    stream: impl Read + Send + 'static,
    keep: impl Fn(&mut Lines, String) + Send + 'static,
) {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(count) if count > 0) {
            keep(&mut output.lock(), String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned());
            bytes.clear();
            output.changed.notify_all();
        }
        output.lock().open -= 1;
        output.changed.notify_all();
    });
}
