//! The scripts of `tests/http`: foreign ends, good ones and bad ones, that tell what they see as JSON lines.

use std::ffi::OsString;
use std::time::Duration;

use serde_json::Value;
use sidestep_tests::{Place, Process, patience};

use super::super::shipped;

/// One that runs.
pub(super) struct Script(pub(super) Process);

impl Script {
    /// Starts `tests/http/NAME` with a line of arguments.
    pub(super) fn start(place: Place<'_>, name: &str, line: &str) -> Self {
        let mut command = place.command("python3");
        command.arg("-B").arg(shipped("tests/http").join(name)).args(line.split_whitespace());
        Self(Process::start(with_packages(command)))
    }

    /// Starts one that listens, and waits until it does.
    pub(super) fn listening(place: Place<'_>, name: &str, line: &str) -> Self {
        let script = Self::start(place, name, line);
        script.tells("listening");
        script
    }

    /// The next line that has `key` in it.
    pub(super) fn tells(&self, key: &str) -> Value {
        self.tells_within(patience(), key)
    }

    /// [`Self::tells`] with a patience of its own.
    pub(super) fn tells_within(&self, patience: Duration, key: &str) -> Value {
        self.0.line_within(patience, &format!("{key} of a script"), |line| {
            let told: Value = serde_json::from_str(line).ok()?;
            told.get(key).is_some().then_some(told)
        })
    }

    /// The last line that it told, when it has ended well.
    pub(super) fn result(&self) -> Value {
        self.0.succeed();
        let lines = self.0.stdout();
        let last = lines.last().unwrap_or_else(|| panic!("it told nothing: {}", self.0.stderr()));
        serde_json::from_str(last).unwrap_or_else(|error| panic!("it told {last}: {error}"))
    }
}

/// Where Python finds what the scripts import: the packages, and the scripts of the tunnel's tests.
fn with_packages(mut command: std::process::Command) -> std::process::Command {
    let packages = ["SIDESTEP_H2", "SIDESTEP_HTTP_PACKAGES"].into_iter().filter_map(std::env::var_os);
    let wire: OsString = shipped("tests/wire").into();
    let path = std::env::join_paths(packages.chain([wire]));
    command.env("PYTHONPATH", path.unwrap_or_else(|error| panic!("a path with a colon: {error}")));
    command
}
