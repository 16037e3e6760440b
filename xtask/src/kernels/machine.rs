//! One boot of the virtual machine: qemu with its serial console on our stdout, until it powers off.
//!
//! It emulates (`tcg`) even where KVM could be had: test machines are often virtual themselves, and nested KVM hangs
//! on some of them. The guest has no network card and no disk.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::package::Kernel;
use crate::process::{Ending, find_program, stream};

/// The guest's last line but the kernel's own, followed by the exit status of its command.
pub(super) const END_MARKER: &str = "SIDESTEP-GUEST-ENDED ";
/// In front of each line of the report that the guest was asked for.
pub(super) const REPORT_MARKER: &str = "SIDESTEP-GUEST-REPORT ";

/// What a guest's console said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Console {
    /// The exit status of the guest's command; none if the guest never came to its end.
    pub(crate) status: Option<i32>,
    /// The lines of the report.
    pub(crate) report: Vec<String>,
    /// Every other line.
    pub(crate) lines: Vec<String>,
}

impl Console {
    /// Sorts one line of the console.
    fn read(&mut self, line: &str) {
        if let Some(status) = line.strip_prefix(END_MARKER) {
            self.status = status.trim().parse().ok();
        } else if let Some(report) = line.strip_prefix(REPORT_MARKER) {
            self.report.push(report.to_owned());
        } else {
            self.lines.push(line.to_owned());
        }
    }
}

/// Boots `kernel` with the packed root file system, showing its console, for at most `patience`.
pub(super) fn boot(kernel: &Kernel, archive: &Path, patience: Duration) -> Result<Console> {
    if find_program("qemu-system-x86_64").is_none() {
        bail!("qemu-system-x86_64 is missing; install it: `apt-get install qemu-system-x86`");
    }
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"])
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(archive)
        // `panic=-1` reboots at once, which -no-reboot turns into an exit: a dead guest costs no patience.
        .args(["-append", "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off"])
        .stdin(Stdio::null());
    let mut console = Console::default();
    let ending = stream(&mut qemu, patience, |line| {
        println!("vm | {line}");
        console.read(line);
    })?;
    match (ending, console.status) {
        (Ending::TimedOut, _) => {
            bail!("the guest did not end within {} seconds and was stopped", patience.as_secs())
        }
        (Ending::Exited(status), None) => {
            Err(anyhow::anyhow!("qemu ended with {status} before the guest said how its command ended"))
                .context("the guest crashed; its console is above")
        }
        (Ending::Exited(_), Some(_)) => Ok(console),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_and_the_report_are_told_from_the_output() {
        let mut console = Console::default();
        for line in ["test a ... ok", "SIDESTEP-GUEST-REPORT no nft here", "", "SIDESTEP-GUEST-ENDED 101"] {
            console.read(line);
        }
        assert_eq!(console.status, Some(101));
        assert_eq!(console.report, ["no nft here"]);
        assert_eq!(console.lines, ["test a ... ok", ""]);
    }

    #[test]
    fn a_guest_that_never_ended_has_no_status() {
        let mut console = Console::default();
        console.read("Kernel panic - not syncing");
        assert_eq!(console.status, None);
    }
}
