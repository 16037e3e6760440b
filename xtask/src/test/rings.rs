//! The rings: which program runs the tests of each, and what it hears from us.
//!
//! A ring's tests are chosen by the first part of their name (`kernel::`, `system::`) from the program's own list, so a
//! new test needs no registration here.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::tally::Tally;
use crate::build::TestPrograms;
use crate::kernels::{self, Guest, Kernel};
use crate::process::{Ending, capture, cargo, stream};
use crate::setup;
use crate::workspace::Workspace;

/// A circle of tests; the inner ones are faster and need less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Ring {
    /// No privileges, no sockets; milliseconds. Runs together with `direct`.
    Pure,
    /// Real instances in the test's own process. Runs together with `pure`.
    Direct,
    /// Namespaces, cgroups and real programs; as root.
    Kernel,
    /// Real servers and real pods; as root.
    System,
    /// The kernel ring on Linux 6.1 in a virtual machine.
    Vm,
}

impl Ring {
    /// The word used on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pure | Self::Direct => "unit",
            Self::Kernel => "kernel",
            Self::System => "system",
            Self::Vm => "vm",
        }
    }

    /// How long its tests may take together.
    fn patience(self) -> Duration {
        Duration::from_mins(match self {
            Self::Pure | Self::Direct | Self::System => 30,
            Self::Kernel => 20,
            // Emulated, a certificate takes as long as a connection does elsewhere.
            Self::Vm => 35,
        })
    }
}

/// What becomes of a test that cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// It is counted as skipped.
    MaySkip,
    /// It fails.
    MustRun,
}

impl Policy {
    /// CI has everything installed, so there a test that cannot run is a failure.
    pub(super) fn from_environment() -> Self {
        let set =
            |name: &str| env::var(name).is_ok_and(|value| !["", "0", "false"].contains(&value.as_str()));
        if set("CI") || set("SIDESTEP_MUST_RUN") { Self::MustRun } else { Self::MaySkip }
    }
}

/// The unit tests of every crate for the host: the pure and the direct ring.
pub(super) fn unit(workspace: &Workspace, filters: &[String]) -> Result<Tally> {
    let mut tally = Tally::default();
    for targets in [&["--lib", "--bins"][..], &["--doc"][..]] {
        let mut test = cargo();
        test.current_dir(workspace.root()).args(["test", "--no-fail-fast"]);
        test.args(["--workspace", "--exclude", "sidestep-ebpf"]).args(targets).arg("--").args(filters);
        let ending = stream(&mut test, Ring::Pure.patience(), |line| {
            println!("{line}");
            tally.read(line);
        })?;
        explain(&ending, &mut tally);
    }
    Ok(tally)
}

/// The tests of the one test program that belong to `ring` and match a filter, if any is given.
pub(super) fn select(programs: &TestPrograms, ring: Ring, filters: &[String]) -> Result<Vec<String>> {
    let list = capture(Command::new(&programs.all).args(["--list", "--format", "terse"]))?;
    let prefix = match ring {
        Ring::Pure | Ring::Direct => return Ok(Vec::new()),
        Ring::Kernel | Ring::Vm => "kernel::",
        Ring::System => "system::",
    };
    Ok(matching(&list, prefix, filters))
}

fn matching(list: &str, prefix: &str, filters: &[String]) -> Vec<String> {
    list.lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| name.starts_with(prefix))
        .filter(|name| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())))
        .map(str::to_owned)
        .collect()
}

/// What the kernel and the system ring run.
#[derive(Debug)]
pub(super) struct Subject {
    /// The product, as it ships: one static file.
    pub(super) sidestep: PathBuf,
    /// The tests and the peers.
    pub(super) programs: TestPrograms,
}

impl Subject {
    /// Runs the named tests on this machine.
    pub(super) fn run_here(
        &self,
        workspace: &Workspace,
        ring: Ring,
        names: &[String],
        policy: Policy,
    ) -> Result<Tally> {
        let skips = workspace.artifact(&format!("skips-{}", ring.name()));
        fs::write(&skips, "").with_context(|| format!("empty {}", skips.display()))?;
        let mut test = Command::new(&self.programs.all);
        test.current_dir(workspace.root())
            .args(test_arguments(names))
            .env("SIDESTEP_BIN", &self.sidestep)
            .env("SIDESTEP_PEER", &self.programs.peer)
            .env("SIDESTEP_SKIPS", &skips);
        if let Ok(own) = env::current_exe() {
            test.env("SIDESTEP_XTASK", own);
        }
        if let Some(envoy) = setup::envoy_binary(workspace) {
            test.env("SIDESTEP_ENVOY", envoy);
        }
        if let Some(package) = setup::http2_package(workspace) {
            test.env("SIDESTEP_H2", package);
        }
        if let Some(packages) = setup::http_packages(workspace) {
            test.env("SIDESTEP_HTTP_PACKAGES", packages);
        }
        if let Some(packages) = setup::kubernetes_packages(workspace) {
            test.env("SIDESTEP_KUBERNETES", packages);
        }
        if let Some(collector) = setup::rotel_binary(workspace) {
            test.env("SIDESTEP_ROTEL", collector);
        }
        if policy == Policy::MustRun {
            test.env("SIDESTEP_MUST_RUN", "1");
        }
        let mut tally = Tally::default();
        let ending = stream(&mut test, ring.patience(), |line| {
            println!("{line}");
            tally.read(line);
        })?;
        explain(&ending, &mut tally);
        let skipped = fs::read_to_string(&skips).with_context(|| format!("read {}", skips.display()))?;
        tally.skip(skipped.lines().map(str::to_owned));
        Ok(tally)
    }

    /// Runs the named tests on another kernel. A test that needs a newer one than it is skips even in CI: there the
    /// ring proves that most of them ran.
    pub(super) fn run_there(
        &self,
        workspace: &Workspace,
        kernel: &Kernel,
        names: &[String],
    ) -> Result<Tally> {
        let files = [&self.sidestep, &self.programs.all, &self.programs.peer];
        let mut command = vec![format!("./{}", file_name(&self.programs.all)?)];
        command.extend(test_arguments(names));
        let inside = |path: &Path| file_name(path).map(|name| format!("{}/{name}", kernels::GUEST_HOME));
        let skips = "/tmp/skips";
        let environment = [
            ("SIDESTEP_BIN", inside(&self.sidestep)?),
            ("SIDESTEP_PEER", inside(&self.programs.peer)?),
            ("SIDESTEP_SKIPS", skips.to_owned()),
            // Emulated, everything takes about ten times as long.
            ("SIDESTEP_PATIENCE", "90".to_owned()),
        ];
        let guest = Guest {
            files: files.into_iter().cloned().collect(),
            environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            command,
            report: Some(skips.to_owned()),
        };
        let console = kernels::boot(workspace, kernel, &guest, Ring::Vm.patience())?;
        let mut tally = Tally::default();
        console.lines.iter().for_each(|line| tally.read(line));
        if !tally.has_result() {
            bail!("the tests ended with status {:?} and without a result", console.status);
        }
        if console.status != Some(0) && !tally.has_failures() {
            tally.fail(format!("no test failed, but the program ended with {:?}", console.status));
        }
        tally.skip(console.report);
        if tally.passed() == 0 && !tally.has_failures() {
            tally.fail("every test was skipped: the guest lacks something".to_owned());
        }
        Ok(tally)
    }
}

/// One at a time: they share two cores, the kernel's tables and our patience.
fn test_arguments(names: &[String]) -> Vec<String> {
    let fixed = ["--exact", "--test-threads=1"].map(str::to_owned);
    fixed.into_iter().chain(names.iter().cloned()).collect()
}

fn file_name(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).with_context(|| format!("{} has no name", path.display()))
}

/// Counts an end that no test accounts for: a crash, a build that failed, our patience.
fn explain(ending: &Ending, tally: &mut Tally) {
    match ending {
        Ending::TimedOut => tally.fail("the tests took too long and were stopped".to_owned()),
        Ending::Exited(status) if !status.success() && !tally.has_failures() => {
            tally.fail(format!("no test failed, but the program ended with {status}"));
        }
        Ending::Exited(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "kernel::deny::a_denied_connect_fails: test\nsystem::kernel::nginx: test\n\
                        kernel::relay::bytes: test\nkernel::speed: benchmark\n";

    #[test]
    fn a_ring_is_the_first_part_of_a_name() {
        assert_eq!(
            matching(LIST, "kernel::", &[]),
            ["kernel::deny::a_denied_connect_fails", "kernel::relay::bytes"]
        );
        assert_eq!(matching(LIST, "system::", &[]), ["system::kernel::nginx"]);
    }

    #[test]
    fn any_filter_may_match() {
        let filters = ["bytes", "no such test"].map(str::to_owned);
        assert_eq!(matching(LIST, "kernel::", &filters), ["kernel::relay::bytes"]);
    }

    #[test]
    fn an_end_without_a_reason_is_a_failure() {
        let mut tally = Tally::default();
        explain(&Ending::TimedOut, &mut tally);
        assert_eq!(tally.to_string(), "0 passed, 1 failed, 0 skipped");
    }
}
