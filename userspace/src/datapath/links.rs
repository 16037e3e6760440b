//! Attaching the programs: all or none, and without a gap where a predecessor left its attachments pinned.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};

use crate::datapath::object::{Object, PROGRAMS, Program};
use crate::datapath::pins::Pins;
use crate::sys::bpf::{self, AttachType};

/// Where the programs of a workload attach. Never the root cgroup, never a namespace that is not the workload's.
pub struct Place {
    /// Whose connections are captured.
    pub workload: File,
    /// Holds the workload and the instance: where handoffs are staged and claimed. The same as `workload` for an instance
    /// that lives in the workload's cgroup.
    pub handoff: File,
    /// The network namespace whose inbound connections are captured, if they are.
    pub inbound: Option<File>,
    /// The cgroup of a foreign proxy, which is to be told original destinations by `getsockopt()`.
    pub foreign_proxy: Option<File>,
}

impl Place {
    fn target(&self, hook: AttachType) -> Option<&File> {
        match hook {
            AttachType::SockOps => Some(&self.handoff),
            AttachType::SkLookup => self.inbound.as_ref(),
            AttachType::Getsockopt => self.foreign_proxy.as_ref(),
            AttachType::SockCreate
            | AttachType::Connect4
            | AttachType::Connect6
            | AttachType::Sendmsg4
            | AttachType::Sendmsg6
            | AttachType::Getpeername4
            | AttachType::Getpeername6 => Some(&self.workload),
        }
    }
}

/// The attachments of this process.
#[derive(Default)]
pub(super) struct Links {
    held: Vec<(Program, OwnedFd)>,
}

impl Links {
    pub(super) fn attach(&mut self, object: &Object, place: &Place, pins: &Pins) -> Result<()> {
        let mut made = Vec::new();
        for program in PROGRAMS {
            let Some(target) = place.target(program.hook) else { continue };
            let attached = replace(object, program, target, pins).and_then(|replaced| match replaced {
                Some(link) => Ok(link),
                None => create(object, program, target, pins).inspect(|_| made.push(program)),
            });
            match attached.with_context(|| format!("attach {}", program.name)) {
                Ok(link) => self.held.push((program, link)),
                Err(error) => {
                    self.take_back(&made, pins);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Detaches and unpins what was made. What a predecessor had attached stays: without it, what is captured would escape.
    fn take_back(&mut self, made: &[Program], pins: &Pins) {
        for (program, link) in self.held.drain(..).filter(|(program, _)| made.contains(program)) {
            let _gone = bpf::link_detach(&link);
            let _unpinned = std::fs::remove_file(pins.link(program.name));
        }
    }

    /// Detaches at once, whoever else holds the links open.
    pub(super) fn detach(self) -> Result<()> {
        // The reverse order of attachment: steering ends first.
        for (_, link) in self.held.iter().rev() {
            match bpf::link_detach(link) {
                // The cgroup or namespace is gone, and the attachment with it.
                Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                other => other.context("detach a program")?,
            }
        }
        Ok(())
    }
}

/// Puts our program into the link that a predecessor pinned, if that link still is attached to the same target.
fn replace(object: &Object, program: Program, target: &File, pins: &Pins) -> Result<Option<OwnedFd>> {
    let path = pins.link(program.name);
    let link = match bpf::pinned(&path) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("open a pinned link"),
    };
    if is_attached_to(link.as_fd(), target)? {
        bpf::link_update(&link, object.program(program)?).context("replace the program of a pinned link")?;
        return Ok(Some(link));
    }
    std::fs::remove_file(&path).with_context(|| format!("remove the stale pin {}", path.display()))?;
    Ok(None)
}

fn is_attached_to(link: BorrowedFd<'_>, target: &File) -> Result<bool> {
    let inode = target.metadata().context("look at the target")?.ino();
    let attached = bpf::link_target(link).context("ask the kernel about a pinned link")?;
    Ok(attached.cgroup() == Some(inode) || attached.network_namespace().map(u64::from) == Some(inode))
}

fn create(object: &Object, program: Program, target: &File, pins: &Pins) -> Result<OwnedFd> {
    let link = bpf::link_create(object.program(program)?, target, program.hook)?;
    // A link that is not pinned ends here, when it is closed.
    bpf::pin(link.as_fd(), &pins.link(program.name)).context("pin the link")?;
    Ok(link)
}
