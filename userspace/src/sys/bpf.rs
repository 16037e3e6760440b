//! The part of `bpf(2)` that aya does not offer for cgroup and network namespace links: creating them over a file
//! descriptor of ours, replacing their program in place, detaching at once, pinning and finding them again.
//!
//! Layouts and numbers are those of include/uapi/linux/bpf.h.

mod batch;
mod program;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub use batch::write_words;
pub use program::{Load, Outer, btf_load, fill, outer_create, program_load, program_numbers};

const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;

/// Where a program of ours attaches (`enum bpf_attach_type`).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachType {
    /// `BPF_CGROUP_INET_SOCK_CREATE`
    SockCreate = 2,
    /// `BPF_CGROUP_SOCK_OPS`
    SockOps = 3,
    /// `BPF_CGROUP_INET4_CONNECT`
    Connect4 = 10,
    /// `BPF_CGROUP_INET6_CONNECT`
    Connect6 = 11,
    /// `BPF_CGROUP_UDP4_SENDMSG`
    Sendmsg4 = 14,
    /// `BPF_CGROUP_UDP6_SENDMSG`
    Sendmsg6 = 15,
    /// `BPF_CGROUP_GETSOCKOPT`
    Getsockopt = 21,
    /// `BPF_CGROUP_INET4_GETPEERNAME`
    Getpeername4 = 29,
    /// `BPF_CGROUP_INET6_GETPEERNAME`
    Getpeername6 = 30,
    /// `BPF_SK_LOOKUP`
    SkLookup = 36,
}

impl AttachType {
    /// The kind of program that attaches there (`enum bpf_prog_type`).
    #[must_use]
    pub const fn program_type(self) -> u32 {
        match self {
            Self::SockCreate => 9,
            Self::SockOps => 13,
            Self::Connect4
            | Self::Connect6
            | Self::Sendmsg4
            | Self::Sendmsg6
            | Self::Getpeername4
            | Self::Getpeername6 => 18,
            Self::Getsockopt => 25,
            Self::SkLookup => 30,
        }
    }

    /// The attachment that a program is verified for; 0 where its kind has but one.
    #[must_use]
    pub const fn verified_for(self) -> u32 {
        match self {
            Self::SockOps => 0,
            hook => hook as u32,
        }
    }
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkDetach {
    link_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Object {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct ObjectInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// What the kernel says of a link, as far as it tells where it is attached (`struct bpf_link_info`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkTarget {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    target: [u32; 4],
}

impl LinkTarget {
    const CGROUP: u32 = 3;
    const NETNS: u32 = 5;

    /// The kernel's id of the program that is attached.
    #[must_use]
    pub const fn program(&self) -> u32 {
        self.prog_id
    }

    /// Id of the cgroup it is attached to; 0 once that cgroup is gone.
    #[must_use]
    pub fn cgroup(&self) -> Option<u64> {
        (self.kind == Self::CGROUP).then(|| u64::from(self.target[0]) | u64::from(self.target[1]) << 32)
    }

    /// Inode of the network namespace it is attached to; 0 once that namespace is gone.
    #[must_use]
    pub fn network_namespace(&self) -> Option<u32> {
        (self.kind == Self::NETNS).then_some(self.target[0])
    }
}

/// Calls `bpf(2)`.
fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is the prefix of `union bpf_attr` that the command reads, all of it initialised; the kernel
    // takes what lies behind the given size as zero.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel just returned this descriptor to us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// A descriptor as attributes name it. Borrowed, so that it is still open when they are read.
fn number(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().cast_unsigned()
}

/// Attaches a program to a cgroup directory or a network namespace. The attachment lives as long as the link is open
/// or pinned.
///
/// # Errors
/// Those of `BPF_LINK_CREATE`: EPERM without CAP_NET_ADMIN, EINVAL for a kernel without that hook.
pub fn link_create(program: impl AsFd, target: impl AsFd, attach_type: AttachType) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate {
        prog_fd: number(&program),
        target_fd: number(&target),
        attach_type: attach_type as u32,
        ..LinkCreate::default()
    };
    bpf(BPF_LINK_CREATE, &mut attributes).map(owned)
}

/// Replaces the program of a link; no packet or call sees the hook without a program.
///
/// # Errors
/// ENOLINK if the cgroup or namespace of the link is gone.
pub fn link_update(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let mut attributes =
        LinkUpdate { link_fd: number(&link), new_prog_fd: number(&program), ..LinkUpdate::default() };
    bpf(BPF_LINK_UPDATE, &mut attributes).map(drop)
}

/// Detaches a link at once, whoever else holds it open.
///
/// # Errors
/// Those of `BPF_LINK_DETACH`.
pub fn link_detach(link: impl AsFd) -> io::Result<()> {
    bpf(BPF_LINK_DETACH, &mut LinkDetach { link_fd: number(&link) }).map(drop)
}

/// Where a link is attached.
///
/// # Errors
/// Those of `BPF_OBJ_GET_INFO_BY_FD`.
pub fn link_target(link: impl AsFd) -> io::Result<LinkTarget> {
    let mut target = LinkTarget::default();
    let mut attributes = ObjectInfo {
        bpf_fd: number(&link),
        info_len: size_of::<LinkTarget>() as u32,
        info: std::ptr::from_mut(&mut target) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(target)
}

/// Pins an object at a path on a bpffs, so that it outlives this process.
///
/// # Errors
/// EEXIST if something is pinned there, EPERM if the path is not on a bpffs.
pub fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes =
        Object { pathname: path.as_ptr() as u64, bpf_fd: number(&object), ..Object::default() };
    bpf(BPF_OBJ_PIN, &mut attributes).map(drop)
}

/// Opens what is pinned at a path.
///
/// # Errors
/// ENOENT if nothing is.
pub fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Object { pathname: path.as_ptr() as u64, ..Object::default() };
    bpf(BPF_OBJ_GET, &mut attributes).map(owned)
}
