//! What the figures were measured on.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

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
    /// What `sidestep --version` says.
    pub(crate) sidestep: String,
    /// The checkout's commit.
    pub(crate) commit: String,
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
            sidestep: said(Command::new(sidestep).arg("--version")),
            commit: said(&mut git),
            load_before: load,
            load_after: load,
        }
    }

    /// Looks again after the run.
    pub(crate) fn look_again(&mut self) {
        self.load_after = load();
    }

    /// A warning if others wanted the cores too when the run began; afterwards the run itself is the load.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.load_before > self.cores as f64).then(|| {
            format!(
                "the machine was busy: load average {:.2} on {} cores before the first round; \
                 trust the ratios less than usual, and the times not at all",
                self.load_before, self.cores
            )
        })
    }
}

/// Over one minute; not a number where the machine does not tell.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

fn parse_model(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |rest| rest.trim_start_matches(['\t', ' ', ':']).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_as_far_as_it_has_a_name() {
        assert_eq!(parse_model("processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\n"), "Fast CPU @ 3 GHz");
        assert_eq!(parse_model("processor\t: 0\n"), std::env::consts::ARCH);
    }
}
