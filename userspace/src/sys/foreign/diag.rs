//! Who listens at a port, asked of the kernel by sock_diag(7).
//!
//! /proc/net/tcp knows it too, but to find nobody in it the kernel walks all sockets of the machine and prints those of
//! the namespace: tens of milliseconds that the namespace's workload waits for. Here it walks those that listen.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::{Family, Reach};

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `TCP_LISTEN` of net/tcp_states.h, as a set of states.
const LISTENING: u32 = 1 << 10;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct inet_diag_req_v2`.
const QUESTION: usize = 56;
/// As much as the kernel puts into one datagram of a dump.
const DATAGRAM: usize = 32 * 1024;

/// The inode of the socket that listens at a port of this thread's network namespace, and where it hears.
///
/// # Errors
/// ENOENT if the kernel has no tcp_diag, and those of socket(2), send(2) and recv(2).
pub(super) fn listening(family: Family, port: u16) -> io::Result<Option<(u64, Reach)>> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    send(socket.as_raw_fd(), &question(family, port), MsgFlags::empty())?;
    let mut found = None;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let answer = Answer::read(&buffer[..length], port)?;
        found = found.or(answer.listener);
        if answer.end == End::Reached {
            return Ok(found);
        }
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` (linux/netlink.h, linux/inet_diag.h).
fn question(family: Family, port: u16) -> [u8; HEADER + QUESTION] {
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    let mut bytes = [0; HEADER + QUESTION];
    bytes[..4].copy_from_slice(&((HEADER + QUESTION) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    bytes[HEADER] = family as u8;
    bytes[HEADER + 1] = libc::IPPROTO_TCP as u8;
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&LISTENING.to_ne_bytes());
    bytes[HEADER + 8..HEADER + 10].copy_from_slice(&port.to_be_bytes());
    bytes
}

/// One datagram of the kernel's answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    listener: Option<(u64, Reach)>,
    end: End,
}

/// Whether there is more to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ahead,
    Reached,
}

impl Answer {
    fn read(mut datagram: &[u8], port: u16) -> io::Result<Self> {
        let mut listener = None;
        while let Some((kind, body, rest)) = message(datagram) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(Self { listener, end: End::Reached }),
                libc::NLMSG_ERROR => {
                    let errno = body.first_chunk().map_or(libc::EPROTO, |it| -i32::from_ne_bytes(*it));
                    return Err(io::Error::from_raw_os_error(errno));
                }
                _ => listener = listener.or_else(|| socket_at(body, port)),
            }
            datagram = rest;
        }
        Ok(Self { listener, end: End::Ahead })
    }
}

/// The first message: its type, what follows its header, and what follows it, at a multiple of four.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Reads `struct inet_diag_msg`, if it is about this port: source port at 4, source address at 8, inode at 68.
fn socket_at(body: &[u8], port: u16) -> Option<(u64, Reach)> {
    let at = u16::from_be_bytes(*body.get(4..)?.first_chunk()?);
    // An IPv4 address has four of the bytes; the others are zero.
    let address = Ipv6Addr::from(*body.get(8..)?.first_chunk::<16>()?);
    let inode = u32::from_ne_bytes(*body.get(68..)?.first_chunk()?);
    let reach = if address.is_unspecified() { Reach::Every } else { Reach::One };
    (at == port).then_some((u64::from(inode), reach))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn inode(listener: &TcpListener) -> u64 {
        std::fs::metadata(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap().ino()
    }

    fn port(listener: &TcpListener) -> u16 {
        listener.local_addr().unwrap().port()
    }

    #[test]
    fn a_listener_is_found_by_its_port_and_only_there() {
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listening(Family::V4, port(&one)).unwrap(), Some((inode(&one), Reach::One)));
        assert_eq!(listening(Family::V6, port(&one)).unwrap(), None);
        let freed = port(&one);
        drop(one);
        assert_eq!(listening(Family::V4, freed).unwrap(), None);
    }

    #[test]
    fn a_listener_at_every_address_is_told_from_one_at_one() {
        let every = TcpListener::bind("0.0.0.0:0").unwrap();
        assert_eq!(listening(Family::V4, port(&every)).unwrap(), Some((inode(&every), Reach::Every)));
    }

    #[test]
    fn an_error_of_the_kernel_is_an_error_and_half_a_message_is_none() {
        let mut refusal = [0; HEADER + 4];
        refusal[..4].copy_from_slice(&20_u32.to_ne_bytes());
        refusal[4..6].copy_from_slice(&2_u16.to_ne_bytes());
        refusal[HEADER..].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(Answer::read(&refusal, 80).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        assert_eq!(Answer::read(&refusal[..10], 80).unwrap(), Answer { listener: None, end: End::Ahead });
    }
}
