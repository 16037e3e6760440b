//! `kernels`: other kernels than this machine's, in a virtual machine without network and disk.
//!
//! It runs one command per boot, in a root file system made for it. It does not decide what to test: the `vm` ring of
//! `test` does.

mod guest;
mod initramfs;
mod machine;
mod modules;
mod package;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub(crate) use guest::{GUEST_HOME, Guest};
use machine::Console;
pub(crate) use package::Kernel;

use crate::workspace::Workspace;

/// What to run on the other kernel.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// A file to copy into the guest's working directory; may be repeated
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// How long the guest may take, in seconds
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    patience: u64,
    /// The command to run as root in the guest; says the kernel's version by default
    #[arg(last = true)]
    command: Vec<String>,
}

/// Fetches the kernel, boots it, and runs the command there.
pub(crate) fn run(workspace: &Workspace, flags: Flags) -> Result<()> {
    let kernel = Kernel::fetch(workspace)?;
    let command =
        if flags.command.is_empty() { vec!["uname".to_owned(), "-a".to_owned()] } else { flags.command };
    let guest = Guest { files: flags.with, command, ..Guest::default() };
    let console = boot(workspace, &kernel, &guest, Duration::from_secs(flags.patience))?;
    match console.status {
        Some(0) => Ok(()),
        status => bail!("on Linux {} the command ended with {status:?}", kernel.release),
    }
}

/// Boots `kernel` once for the guest's command and returns what its console said.
pub(crate) fn boot(
    workspace: &Workspace,
    kernel: &Kernel,
    guest: &Guest,
    patience: Duration,
) -> Result<Console> {
    let directory = workspace.artifact("vm");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let archive = directory.join("initramfs.cpio");
    initramfs::pack(kernel, guest, &directory.join("root"), &archive)?;
    println!("vm: booting Linux {}", kernel.release);
    machine::boot(kernel, &archive, patience)
}
