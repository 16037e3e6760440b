//! The BPF file system: where programs and maps outlive their process.

use std::io;
use std::path::Path;

use anyhow::{Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Where the kernel's users expect the BPF file system.
pub const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Whether a BPF file system is mounted there.
///
/// # Errors
/// If the path cannot be looked at.
pub fn is_mounted(at: &Path) -> io::Result<bool> {
    Ok(statfs(at)?.filesystem_type() == BPF_FS_MAGIC)
}

/// What to do where no BPF file system is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounting {
    /// Mount one.
    Allowed,
    /// Refuse: one that is mounted inside a container ends with the container, and the attachments with it.
    Refused,
}

/// Where the BPF file system is; mounts it at [`MOUNT_POINT`] if it is not there and that is allowed.
///
/// # Errors
/// If it is not there and cannot or may not be mounted, with the remedy.
pub fn mounted(mounting: Mounting) -> Result<&'static Path> {
    let at = Path::new(MOUNT_POINT);
    // A directory that cannot be looked at cannot be mounted on either, which then says why.
    if is_mounted(at).unwrap_or(false) {
        return Ok(at);
    }
    if mounting == Mounting::Refused {
        bail!(
            "expected the BPF file system at {MOUNT_POINT}, found none: run `mount -t bpf bpf {MOUNT_POINT}` on the host \
             and mount the host's {MOUNT_POINT} into this container, so that a crash of the instance does not end the \
             capture (or accept that it does, with capture.on-failure: open)"
        );
    }
    if let Err(error) = mount(Some("bpf"), at, Some("bpf"), MsFlags::empty(), Some("mode=0700")) {
        bail!(
            "expected the BPF file system at {MOUNT_POINT} and could not mount it there ({error}): run \
             `mount -t bpf bpf {MOUNT_POINT}` on the host, or mount the host's {MOUNT_POINT} into this container"
        );
    }
    Ok(at)
}
