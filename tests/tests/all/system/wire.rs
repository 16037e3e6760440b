//! The tunnel against a foreign end: the Python package `h2` with Python's own TLS, which know nothing of Sidestep.
//!
//! What they saw is compared with what the mesh's peers expect on the wire: TLS, settings, requests, answers, ends, and what
//! becomes of an end that misbehaves.

mod abuse;
mod asked;
mod asking;
mod credentials;

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use sidestep_tests::mesh::Credentials;
use sidestep_tests::{Place, Process, patience};

use super::shipped;

/// One of the scripts of `tests/wire`, run to tell what it sees as JSON lines.
struct Foreign(Process);

impl Foreign {
    /// Starts `script` at a place. `flags` are split at blanks.
    fn start(place: Place<'_>, script: &str, credentials: Option<&Credentials>, flags: &str) -> Self {
        let mut command = place.command("python3");
        command
            .arg("-B")
            .arg(shipped("tests/wire").join(script))
            .env("PYTHONPATH", std::env::var_os("SIDESTEP_H2").unwrap_or_default());
        if let Some(credentials) = credentials {
            command.arg("--credentials").arg(credentials.directory());
        }
        command.args(flags.split_whitespace());
        Self(Process::start(command))
    }

    /// The next line that has `key` in it.
    fn tells(&self, key: &str) -> Value {
        self.tells_within(patience(), key)
    }

    /// [`Self::tells`] with a patience of its own.
    fn tells_within(&self, patience: Duration, key: &str) -> Value {
        self.0.line_within(patience, &format!("{key} of a foreign end"), |line| {
            let told: Value = serde_json::from_str(line).ok()?;
            told.get(key).is_some().then_some(told)
        })
    }
}

/// Runs a client's scenario to its end and hands on what it told last.
fn ask<T: for<'a> Deserialize<'a>>(place: Place<'_>, credentials: Option<&Credentials>, flags: &str) -> T {
    let client = Foreign::start(place, "client.py", credentials, flags);
    client.0.succeed();
    let lines = client.0.stdout();
    let last = lines.last().unwrap_or_else(|| panic!("{flags} told nothing: {}", client.0.stderr()));
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{flags} told {last}: {error}"))
}
