//! A program that runs for a while: started, watched, asked to end, and killed if it does not.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a program may take to end after SIGTERM; a product that drains ends sooner.
const GRACE: Duration = Duration::from_secs(8);

/// A running program. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Program {
    /// Starts `command`; what it says goes to the file `output`. `name` is what messages call it.
    ///
    /// It gets a process group of its own: Ctrl-C at the terminal reaches us alone, and we end it in our order.
    pub(crate) fn start(name: &str, mut command: Command, output: PathBuf) -> Result<Self> {
        let sink = File::create(&output).with_context(|| format!("create {}", output.display()))?;
        let copy = sink.try_clone().with_context(|| format!("open {} again", output.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(sink)
            .stderr(copy)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, output })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// How many bytes it has said so far.
    pub(super) fn said_bytes(&self) -> u64 {
        fs::metadata(&self.output).map_or(0, |file| file.len())
    }

    /// What it has said after so many bytes.
    pub(super) fn said_after(&self, bytes: u64) -> String {
        let read = || {
            let (mut file, mut text) = (File::open(&self.output)?, Vec::new());
            file.seek(SeekFrom::Start(bytes))?;
            file.read_to_end(&mut text)?;
            Ok::<_, io::Error>(text)
        };
        // It may be in the midst of a character.
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    /// Fails, with its last words, if it does not run any more.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("look after {}", self.name))? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended with {status}; its last words:\n{}", self.name, last_lines(&self.said()))
            }
        }
    }

    /// Asks it to end; one that has ended already cannot be asked.
    pub(super) fn tell_to_stop(&self) {
        _ = kill(self.pid(), Signal::SIGTERM);
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        self.check()?;
        kill(self.pid(), Signal::SIGTERM).with_context(|| format!("stop {}", self.name))?;
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().with_context(|| format!("wait for {}", self.name))? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("{} did not end within {} s of SIGTERM", self.name, GRACE.as_secs())
    }

    /// Ends it without asking; nothing happens if it has ended already.
    pub(super) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Its resident memory, in bytes (VmRSS of proc_pid_status(5)).
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.memory("status", "VmRSS:")
    }

    /// Its part of the memory in use, in bytes: pages that others use too are shared out (Pss of
    /// Documentation/filesystems/proc.rst).
    pub(crate) fn proportional_bytes(&self) -> Result<u64> {
        self.memory("smaps_rollup", "Pss:")
    }

    fn memory(&self, file: &str, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/{file}", self.child.id());
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        parse_memory(&text, field).with_context(|| format!("find {field} in {path}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

fn parse_memory(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_in_bytes() {
        let status = "Name:\tx\nVmRSS:\t    8200 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(parse_memory(status, "VmRSS:"), Some(8200 * 1024));
        assert_eq!(parse_memory("Name:\tkthreadd\n", "VmRSS:"), None);
        assert_eq!(parse_memory("Pss_Anon: 7 kB\nPss:  12 kB\n", "Pss:"), Some(12 * 1024));
    }

    #[test]
    fn a_program_that_ended_hands_over_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such file >&2; exit 78"]);
        let mut program = Program::start("the agent", command, directory.path().join("output")).unwrap();
        drop(program.child.wait());
        let error = program.check().unwrap_err().to_string();
        assert!(error.contains("the agent ended") && error.ends_with("no such file"), "{error}");
    }

    #[test]
    fn a_program_ends_when_it_is_asked_to() {
        let directory = tempfile::tempdir().unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("60");
        let mut program = Program::start("sleep", sleep, directory.path().join("output")).unwrap();
        assert!(!program.stop().unwrap().success());
    }
}
