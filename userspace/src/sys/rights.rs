//! Descriptors that go from one process to another over a Unix socket (`SCM_RIGHTS`, unix(7)), and what one of them is.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Most descriptors of one message (`SCM_MAX_FD`, include/net/scm.h). With room for all of them none is ever cut off.
const MOST: usize = 253;

/// Sends bytes, and a descriptor with the first of them.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send(socket: impl AsFd, bytes: &[u8], passed: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let passed: Vec<RawFd> = passed.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&passed)];
    let messages = if passed.is_empty() { &[] } else { &rights[..] };
    let bytes = [IoSlice::new(bytes)];
    Ok(sendmsg::<()>(socket.as_fd().as_raw_fd(), &bytes, messages, MsgFlags::MSG_NOSIGNAL, None)?)
}

/// Receives bytes, and the descriptors that came with them.
///
/// # Errors
/// Those of recvmsg(2).
pub fn receive(socket: impl AsFd, into: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut room = nix::cmsg_space!([RawFd; MOST]);
    let mut bytes = [IoSliceMut::new(into)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut bytes, Some(&mut room), flags)?;
    let mut passed = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            for descriptor in descriptors {
                // SAFETY: the kernel just put this descriptor into our table, and nobody else knows it.
                passed.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    Ok((message.bytes, passed))
}

/// Whether a descriptor stands for a network namespace (`NS_GET_NSTYPE`, ioctl_nsfs(2), Linux 4.11).
#[must_use]
pub fn is_network_namespace(descriptor: BorrowedFd<'_>) -> bool {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: NS_GET_NSTYPE takes no argument; a file that is no namespace answers ENOTTY.
    let kind = unsafe { libc::ioctl(descriptor.as_raw_fd(), NS_GET_NSTYPE) };
    Errno::result(kind).is_ok_and(|kind| kind == libc::CLONE_NEWNET)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_namespace_arrives_as_what_it_is() {
        let (near, far) = UnixStream::pair().expect("a pair");
        let own = File::open("/proc/self/ns/net").expect("our own");
        let sent = send(&near, b"here", Some(own.as_fd())).expect("sent");
        let mut bytes = [0; 16];
        let (received, passed) = receive(&far, &mut bytes).expect("received");
        assert_eq!((sent, &bytes[..received]), (4, &b"here"[..]));
        let [passed] = <[OwnedFd; 1]>::try_from(passed).expect("one descriptor");
        assert!(is_network_namespace(passed.as_fd()));
        let inode = |file: &File| file.metadata().expect("metadata").ino();
        assert_eq!(inode(&File::from(passed)), inode(&own));

        let other = File::open("/proc/self/ns/mnt").expect("our own");
        assert!(!is_network_namespace(other.as_fd()));
        assert!(!is_network_namespace(near.as_fd()));
    }

    #[test]
    fn bytes_go_without_a_descriptor_too() {
        let (near, far) = UnixStream::pair().expect("a pair");
        assert_eq!(send(&near, b"here", None).expect("sent"), 4);
        let (received, passed) = receive(&far, &mut [0; 16]).expect("received");
        assert_eq!((received, passed.len()), (4, 0));
    }
}
