//! Starting a command inside a cgroup.

use std::fs::File;
use std::io::{self, Write};
use std::process::Command;

use nix::sys::signal::SigSet;

use crate::sys::cgroup::Cgroup;
use crate::sys::descriptors::Inherited;

/// Lets a command start inside a cgroup: it is there before its first instruction, so that none of its sockets is ever
/// created outside. Its signals are not blocked, whatever this process blocks, and its limit on descriptors is the one
/// that this process was started with.
///
/// # Errors
/// If the cgroup is gone.
pub fn inside(cgroup: &Cgroup, descriptors: Inherited, command: &mut Command) -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    let mut procs = File::options().write(true).open(cgroup.path().join("cgroup.procs"))?;
    // SAFETY: between fork and exec only write(2), sigprocmask(2) and setrlimit(2) are called, which are async-signal-safe; nothing is
    // allocated. "0" names the writing process (Documentation/admin-guide/cgroup-v2.rst).
    unsafe {
        command.pre_exec(move || {
            // What this process blocks to hand it on, the command has to receive.
            SigSet::empty().thread_set_mask()?;
            descriptors.restore()?;
            procs.write_all(b"0")
        });
    }
    Ok(())
}
