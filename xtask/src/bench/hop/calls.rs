//! Which system calls a process makes: `strace -c`, for the counts alone. Its times are those of a process that is
//! stopped twice per call.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use crate::lab::{Lab, Program};

/// What strace says when it has caught a process.
const ATTACHED: &str = "attached";

/// A count that runs until it is asked for.
pub(super) struct Counting {
    strace: Program,
    summary: PathBuf,
}

impl Counting {
    /// Starts to count the calls of all threads of a process.
    pub(super) fn start(lab: &Lab, process: Pid) -> Result<Self> {
        let summary = lab.file("strace.summary");
        let mut count = Command::new("strace");
        count.args(["-c", "-f", "-p", &process.to_string(), "-o"]).arg(&summary);
        let mut strace = Program::start("strace", count, lab.file("strace.log"))?;
        lab.patience().until("strace to attach", || {
            strace.check()?;
            Ok(strace.said().contains(ATTACHED).then_some(()))
        })?;
        Ok(Self { strace, summary })
    }

    /// Lets the process go, and returns what it called and how often, the most frequent first.
    pub(super) fn end(mut self) -> Result<Vec<(String, u64)>> {
        self.strace.stop()?;
        let summary = fs::read_to_string(&self.summary)
            .with_context(|| format!("read strace's summary {}", self.summary.display()))?;
        Ok(parse(&summary))
    }
}

/// Reads the rows `% time, seconds, usecs/call, calls, [errors,] syscall`.
fn parse(summary: &str) -> Vec<(String, u64)> {
    let rows = summary.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (name, calls) = (fields.last()?, fields.get(3)?.parse().ok()?);
        (fields.len() >= 5 && *name != "total").then(|| ((*name).to_owned(), calls))
    });
    let mut calls: Vec<(String, u64)> = rows.collect();
    calls.sort_by(|(one_name, one), (other_name, other)| other.cmp(one).then(one_name.cmp(other_name)));
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_with_and_without_errors() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            \u{20}66.67    0.000002           1         2           epoll_wait\n\
            \u{20}33.33    0.000001           0        11         3 recvfrom\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.000003           0        13         3 total\n";
        assert_eq!(parse(summary), [("recvfrom".to_owned(), 11), ("epoll_wait".to_owned(), 2)]);
        assert!(parse("").is_empty());
    }
}
