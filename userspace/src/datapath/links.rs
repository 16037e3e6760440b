//! Attaching the programs: all or none, and without a gap where a predecessor left its attachments pinned. Nothing is held open:
//! the pins are what keeps the programs attached.

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

/// What a predecessor's attachments are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Their programs are the ones that we would load, over the same maps.
    Ours,
    /// Their programs are to be replaced.
    Foreign,
}

/// Attaches every program that the place asks for.
pub(super) fn attach(object: &mut Object, place: &Place, pins: &Pins, standing: Standing) -> Result<()> {
    let mut wanted = Vec::new();
    for program in PROGRAMS {
        let Some(target) = place.target(program.hook) else { continue };
        let link = left(program, target, pins).with_context(|| attaching(program))?;
        if standing == Standing::Foreign || link.is_none() {
            // All of them before the first is attached: a kernel that refuses one has changed nothing.
            object.program(program)?;
            wanted.push((program, target, link));
        }
    }
    let mut made = Vec::new();
    for (program, target, link) in wanted {
        let attached = match link {
            Some(link) => bpf::link_update(&link, object.program(program)?)
                .context("replace the program of a pinned link"),
            None => create(object, program, target, pins).map(|()| made.push(program)),
        };
        if let Err(error) = attached {
            take_back(&made, pins);
            return Err(error.context(attaching(program)));
        }
    }
    Ok(())
}

fn attaching(program: Program) -> String {
    format!("attach {}", program.name)
}

/// Detaches and unpins what was made. What a predecessor had attached stays: without it, what is captured would escape.
fn take_back(made: &[Program], pins: &Pins) {
    for program in made {
        let path = pins.link(program.name);
        let _gone = bpf::pinned(&path).and_then(bpf::link_detach);
        let _unpinned = std::fs::remove_file(path);
    }
}

/// Detaches everything at once, whoever else holds the links open.
pub(super) fn detach(pins: &Pins) -> Result<()> {
    // The reverse order of attachment: steering ends first.
    for program in PROGRAMS.iter().rev() {
        let link = match bpf::pinned(&pins.link(program.name)) {
            Ok(link) => link,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).context("open a pinned link"),
        };
        match bpf::link_detach(link) {
            // The cgroup or namespace is gone, and the attachment with it.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
            other => other.context("detach a program")?,
        }
    }
    Ok(())
}

/// The link that a predecessor pinned, if it still is attached to the same target.
fn left(program: Program, target: &File, pins: &Pins) -> Result<Option<OwnedFd>> {
    let path = pins.link(program.name);
    let link = match bpf::pinned(&path) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("open a pinned link"),
    };
    if is_attached_to(link.as_fd(), target)? {
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

/// Attaches; from here on the pin holds the link.
fn create(object: &mut Object, program: Program, target: &File, pins: &Pins) -> Result<()> {
    let link = bpf::link_create(object.program(program)?, target, program.hook)?;
    bpf::pin(link.as_fd(), &pins.link(program.name)).context("pin the link")
}
