//! The listening sockets of other processes: finding who listens at a port of this network namespace, and borrowing the
//! socket, so that connections can be steered to it.

mod diag;

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// `TCP_LISTEN` as /proc/net/tcp prints it.
const LISTEN: &str = "0A";

/// A listening socket of another process.
#[derive(Debug)]
pub struct Listener {
    /// The process, in our pid namespace.
    pub pid: u32,
    /// A descriptor of ours for its socket.
    pub socket: OwnedFd,
    /// Whether it hears every address of its family, and not one.
    pub reach: Reach,
}

/// At which addresses a listener hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At every address.
    Every,
    /// At one.
    One,
}

/// Which sockets to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6; such a listener may hear IPv4 as well.
    V6,
}

/// The inode of the socket that listens at a port of this network namespace, if one does: cheap to ask, and another one
/// as soon as somebody else listens.
#[must_use]
pub fn listening_inode(family: Family, port: u16) -> Option<u64> {
    look_up(family, port).map(|(inode, _)| inode)
}

/// Who listens at a port of this network namespace, if anybody.
///
/// # Errors
/// If somebody does whose process cannot be found or whose socket cannot be borrowed (CAP_SYS_PTRACE, a shared pid
/// namespace).
pub fn listener(family: Family, port: u16) -> Result<Option<Listener>> {
    let Some((inode, reach)) = look_up(family, port) else { return Ok(None) };
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").context("read /proc")?.filter_map(Result::ok) {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(fd) = descriptor(&process.path().join("fd"), &wanted) {
            let socket = borrow(pid, fd).with_context(|| {
                format!(
                    "borrow the socket at port {port} from process {pid}: needs the capability SYS_PTRACE"
                )
            })?;
            return Ok(Some(Listener { pid, socket, reach }));
        }
    }
    bail!(
        "somebody listens at port {port}, but no process here holds that socket: capture has to share the pid namespace \
         of the proxy (shareProcessNamespace: true)"
    )
}

/// A kernel without tcp_diag prints all its sockets, which is dear where there are many.
fn look_up(family: Family, port: u16) -> Option<(u64, Reach)> {
    diag::listening(family, port).unwrap_or_else(|_| look_up_in_table(family, port))
}

fn look_up_in_table(family: Family, port: u16) -> Option<(u64, Reach)> {
    let table = match family {
        Family::V4 => "/proc/net/tcp",
        Family::V6 => "/proc/net/tcp6",
    };
    // A namespace without IPv6 has no table for it.
    fs::read_to_string(table).ok()?.lines().find_map(|line| listening(line, port))
}

/// The inode of the socket that a line of /proc/net/tcp describes, if it listens at the port (proc_net_tcp.rst).
fn listening(line: &str, port: u16) -> Option<(u64, Reach)> {
    let mut fields = line.split_ascii_whitespace();
    let (address, at) = fields.nth(1)?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let reach = if address.bytes().all(|digit| digit == b'0') { Reach::Every } else { Reach::One };
    (state == LISTEN && u16::from_str_radix(at, 16) == Ok(port)).then_some((inode, reach))
}

fn descriptor(directory: &Path, wanted: &str) -> Option<RawFd> {
    fs::read_dir(directory)
        .ok()?
        .filter_map(Result::ok)
        .find(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == wanted))
        .and_then(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Duplicates a descriptor of another process (`pidfd_getfd(2)`, Linux 5.6).
fn borrow(pid: u32, fd: RawFd) -> io::Result<OwnedFd> {
    let owned = |result: libc::c_long| {
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just returned this descriptor to us and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(result as RawFd) })
    };
    // SAFETY: takes numbers only.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: takes numbers only; the pid descriptor lives until the call has returned.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31337 1 0000000000000000 100 0 0 10 0
   1: 0100007F:3A9A 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 31338 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:3A9B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31339 1 0000000000000000 100 0 0 10 0";

    fn find(port: u16) -> Option<(u64, Reach)> {
        TABLE.lines().find_map(|line| listening(line, port))
    }

    #[test]
    fn the_listening_socket_of_a_port_is_told_from_connected_ones() {
        assert_eq!(find(15001), Some((31337, Reach::Every)));
        assert_eq!(find(15002), None, "connected, not listening");
        assert_eq!(find(15003), Some((31339, Reach::One)));
        assert_eq!(find(80), None);
    }
}
