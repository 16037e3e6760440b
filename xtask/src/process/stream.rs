//! Running a program while reading its lines as they come, with an end to our patience.
//!
//! It only ends the program it started: what that program leaves behind is for the caller to notice.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::shown;

/// How often a silent program is asked whether it is still there.
const PULSE: Duration = Duration::from_millis(100);
/// How long lines may still come after the program's end, from children that share its stdout.
const AFTERGLOW: Duration = Duration::from_secs(1);

/// How a program came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself.
    Exited(ExitStatus),
    /// By us: it had not ended in time.
    TimedOut,
}

/// Runs `command`, hands each line of its stdout to `on_line`, and kills it when `patience` is over.
///
/// Its stderr stays what the caller made it. A program whose children keep its stdout open does not hold us up.
pub(crate) fn stream(
    command: &mut Command,
    patience: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<Ending> {
    let started = Instant::now();
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("start {}", shown(command)))?;
    let stdout = child.stdout.take().context("take the program's stdout")?;
    let (lines, received) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        // Bytes, not text: a console may say anything.
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            line.clear();
            if lines.send(text).is_err() {
                return;
            }
        }
    });
    let mut exited: Option<(ExitStatus, Instant)> = None;
    loop {
        match received.recv_timeout(PULSE) {
            Ok(line) => on_line(&line),
            Err(RecvTimeoutError::Disconnected) => {
                let (status, _) = match exited {
                    Some(exited) => exited,
                    None if started.elapsed() > patience => break,
                    None => match child.try_wait().context("wait for the program")? {
                        Some(status) => (status, Instant::now()),
                        None => {
                            thread::sleep(PULSE);
                            continue;
                        }
                    },
                };
                return Ok(Ending::Exited(status));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        match exited {
            Some((status, at)) if at.elapsed() > AFTERGLOW => return Ok(Ending::Exited(status)),
            Some(_) => {}
            None if started.elapsed() > patience => break,
            None => {
                exited =
                    child.try_wait().context("wait for the program")?.map(|status| (status, Instant::now()));
            }
        }
    }
    child.kill().context("kill the program that took too long")?;
    child.wait().context("wait for the program that was killed")?;
    Ok(Ending::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration) -> (Ending, Vec<String>) {
        let mut lines = Vec::new();
        let ending =
            stream(Command::new("sh").args(["-c", script]), patience, |line| lines.push(line.to_owned()));
        (ending.unwrap(), lines)
    }

    #[test]
    fn lines_arrive_without_their_ends_and_the_status_follows() {
        let (ending, lines) = shell("printf 'one\\r\\ntwo'; exit 3", Duration::from_secs(10));
        assert_eq!(lines, ["one", "two"]);
        assert!(matches!(ending, Ending::Exited(status) if status.code() == Some(3)));
    }

    #[test]
    fn a_program_that_takes_too_long_is_killed() {
        let (ending, _) = shell("exec sleep 60", Duration::from_millis(300));
        assert_eq!(ending, Ending::TimedOut);
    }

    #[test]
    fn a_silent_program_that_closed_its_stdout_is_killed_too() {
        let (ending, _) = shell("exec sleep 60 >&-", Duration::from_millis(300));
        assert_eq!(ending, Ending::TimedOut);
    }

    #[test]
    fn a_child_that_keeps_stdout_open_does_not_hold_us_up() {
        let started = Instant::now();
        let (ending, lines) = shell("sleep 20 & echo done", Duration::from_secs(10));
        assert!(matches!(ending, Ending::Exited(status) if status.success()));
        assert_eq!(lines, ["done"]);
        assert!(started.elapsed() < Duration::from_secs(8));
    }
}
