//! What a client found out, how it says so, and how the chore that started it hears it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::effort::{Effort, WARM};
use super::latencies::Latencies;
use crate::process::{capture, shown};

/// One line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// How the connects ended: `connected`, or the name of the errno.
    pub(crate) outcome: String,
    /// How many connections were tried, those before the operations that count too.
    pub(crate) connections: usize,
    /// How many operations count: round trips, connections, requests, or mebibytes.
    pub(crate) operations: u64,
    /// How long all of them took together.
    pub(crate) seconds: f64,
    /// What they carried, both ways together.
    pub(crate) bytes: u64,
    /// One operation; in bulk, all of it.
    pub(crate) whole: Latencies,
    /// The connect alone, where that is not the whole.
    pub(crate) connect: Option<Latencies>,
    /// How long after its time each request of an open loop was noticed to be due: the client's own fault, and part of
    /// the whole.
    pub(crate) lag: Option<Latencies>,
    /// What the client itself spent on them.
    pub(crate) account: Account,
    /// Its process, which has ended when this is heard.
    pub(crate) process: u32,
}

impl Answer {
    /// The outcome of connects that worked.
    pub(crate) const CONNECTED: &'static str = "connected";

    /// Operations that count, each with its time.
    pub(super) fn connected(connections: usize, each: Vec<u64>, bytes: u64, effort: Effort) -> Result<Self> {
        Ok(Self {
            outcome: Self::CONNECTED.to_owned(),
            connections,
            operations: each.len() as u64,
            seconds: effort.seconds,
            bytes,
            whole: Latencies::of(each)?,
            connect: None,
            lag: None,
            account: effort.account,
            process: std::process::id(),
        })
    }

    pub(super) fn print(&self) -> Result<()> {
        println!("{}", serde_json::to_string(self).context("write the answer")?);
        Ok(())
    }

    /// Runs a client and reads its answer.
    pub(crate) fn of(client: &mut Command) -> Result<Self> {
        let text = capture(client)?;
        Self::read(&text)
    }

    /// Runs a client and looks at something twice: when it is warm, and when it has its answer. In between are the
    /// operations that count, and nothing else.
    pub(crate) fn between<T>(
        client: &mut Command,
        look: impl FnMut() -> Result<T>,
    ) -> Result<(Self, [T; 2])> {
        let mut child = client
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", shown(client)))?;
        // Without a listener it goes on by itself, so that there is always an end to wait for.
        let heard = accompany(&mut child, look);
        let output = child.wait_with_output().with_context(|| format!("wait for {}", shown(client)))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("{} ended with {}: {}", shown(client), output.status, stderr.trim());
        }
        let (text, looks) = heard?;
        Ok((Self::read(&text)?, looks))
    }

    /// Reads all that a client has said; its answer is the last line.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| format!("expected a peer's answer, found {text:?}"))
    }
}

fn accompany<T>(child: &mut Child, mut look: impl FnMut() -> Result<T>) -> Result<(String, [T; 2])> {
    let mut input = child.stdin.take().context("a client has no input")?;
    let mut output = BufReader::new(child.stdout.take().context("a client has no output")?);
    let mut line = String::new();
    output.read_line(&mut line).context("wait until a client is warm")?;
    ensure!(line.trim_end() == WARM, "expected a client to say {WARM:?}, found {line:?}");
    let first = look()?;
    input.write_all(b"\n").context("tell a client to go on")?;
    line.clear();
    output.read_line(&mut line).context("wait for a client's answer")?;
    Ok((line, [first, look()?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn answer() -> Answer {
        let effort = Effort { seconds: 0.5, account: Account::default() };
        Answer::connected(1, vec![10, 20], 256, effort).unwrap()
    }

    #[test]
    fn what_counts_is_between_two_looks() {
        let line = serde_json::to_string(&answer()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let script = format!("echo warm; read go; touch {}; echo '{line}'", mark.display());
        let (heard, looks) = Answer::between(&mut shell(&script), || Ok(mark.exists())).unwrap();
        assert_eq!(heard, answer());
        assert_eq!(looks, [false, true]);
    }

    #[test]
    fn without_a_listener_a_client_is_heard_all_the_same() {
        let line = serde_json::to_string(&answer()).unwrap();
        let heard = Answer::of(&mut shell(&format!("echo warm; read go; echo '{line}'"))).unwrap();
        assert_eq!(heard, answer());
    }

    #[test]
    fn a_client_that_fails_hands_over_its_complaint() {
        for script in ["echo no way >&2; exit 1", "echo warm; read go; echo no way >&2; exit 1"] {
            let error = Answer::between(&mut shell(script), || Ok(())).unwrap_err().to_string();
            assert!(error.ends_with("exit status: 1: no way"), "{error}");
        }
    }
}
