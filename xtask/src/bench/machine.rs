//! What the figures were measured on.

mod versions;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;
use std::{env, fs};

use serde::Serialize;

use crate::process::capture;
use crate::workspace::Workspace;

/// Machine, versions and time of a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// RFC 3339, UTC.
    pub(crate) date: String,
    /// `uname -r`.
    pub(crate) kernel: String,
    /// The first processor's model.
    pub(crate) cpu: String,
    /// How many cores may be used.
    pub(crate) cores: usize,
    /// What takes part in a measurement, and which version of it, as far as it is on this machine.
    pub(crate) versions: BTreeMap<&'static str, String>,
    /// The checkout's commit.
    pub(crate) commit: String,
    /// What was asked for, as a person would ask for it again.
    pub(crate) command: String,
    /// Load average over one minute, before the first round.
    pub(crate) load_before: f64,
    /// And after the last one.
    pub(crate) load_after: f64,
}

/// Said where the machine does not tell.
const UNKNOWN: &str = "unknown";

impl Machine {
    /// Looks at the machine before a run.
    pub(crate) fn look(workspace: &Workspace, sidestep: &Path) -> Self {
        let said = |command: &mut Command| {
            capture(command).map_or_else(|_| UNKNOWN.to_owned(), |text| text.trim().to_owned())
        };
        let mut git = Command::new("git");
        git.arg("-C").arg(workspace.root()).args(["describe", "--always", "--dirty"]);
        let load = load();
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| UNKNOWN.to_owned(), |text| text.trim().to_owned()),
            cpu: parse_model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            versions: versions::of_everything(workspace, sidestep),
            commit: said(&mut git),
            command: again(env::args().skip(1)),
            load_before: load,
            load_after: load,
        }
    }

    /// Looks again after the run.
    pub(crate) fn look_again(&mut self) {
        self.load_after = load();
    }

    /// A warning for each time that more was to be done than there are cores for. Afterwards the run itself is part of
    /// the load, and the warning says so.
    pub(crate) fn warnings(&self) -> Vec<String> {
        // At its end the run's own work is part of the load: one that is ready at any time, and a little more.
        let moments = [
            (self.load_before, 0.0, "before the first round"),
            (self.load_after, 1.0, "after the last round, the run itself included"),
        ];
        let busy = moments.into_iter().filter(|(load, own, _)| *load > self.cores as f64 + own);
        let warning = |(load, _, when)| {
            format!(
                "the machine was busy: load average {load:.2} on {} cores {when}; trust the ratios less than usual, \
                 and the times not at all",
                self.cores
            )
        };
        busy.map(warning).collect()
    }
}

#[cfg(test)]
impl Machine {
    /// A machine of two cores that tells nothing but its load.
    pub(super) fn with_load(load: f64) -> Self {
        let text = String::new;
        Self {
            date: text(),
            kernel: text(),
            cpu: text(),
            cores: 2,
            versions: BTreeMap::new(),
            commit: text(),
            command: text(),
            load_before: load,
            load_after: load,
        }
    }
}

/// A command line that a shell takes apart as it was: what is not plain is quoted.
fn again(arguments: impl Iterator<Item = String>) -> String {
    let plain = |argument: &str| {
        !argument.is_empty() && argument.chars().all(|it| it.is_alphanumeric() || "-_./=:,+@".contains(it))
    };
    let quoted = |argument: String| match plain(&argument) {
        true => argument,
        false => format!("'{}'", argument.replace('\'', "'\\''")),
    };
    let words = ["cargo".to_owned(), "xtask".to_owned()].into_iter().chain(arguments.map(quoted));
    words.collect::<Vec<_>>().join(" ")
}

/// Over one minute; not a number where the machine does not tell.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

fn parse_model(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or_else(
        || env::consts::ARCH.to_owned(),
        |rest| rest.trim_start_matches(['\t', ' ', ':']).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_as_far_as_it_has_a_name() {
        assert_eq!(parse_model("processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\n"), "Fast CPU @ 3 GHz");
        assert_eq!(parse_model("processor\t: 0\n"), env::consts::ARCH);
    }

    fn machine(load_before: f64, load_after: f64) -> Machine {
        Machine { load_after, ..Machine::with_load(load_before) }
    }

    #[test]
    fn a_busy_machine_is_told_of_at_either_end() {
        assert!(machine(2.0, 1.0).warnings().is_empty());
        assert!(machine(f64::NAN, f64::NAN).warnings().is_empty());
        let warnings = machine(0.5, 3.25).warnings();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("3.25 on 2 cores after the last round"), "{warnings:?}");
        assert_eq!(machine(3.5, 3.5).warnings().len(), 2);
        assert_eq!(machine(2.0, 2.5).warnings().len(), 0, "the run itself is no reason for doubt");
    }

    #[test]
    fn a_run_can_be_asked_for_again() {
        let words = ["bench", "--out", "my results", "it's"].map(str::to_owned);
        assert_eq!(again(words.into_iter()), r"cargo xtask bench --out 'my results' 'it'\''s'");
    }
}
