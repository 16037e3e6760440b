//! A TCP socket that one process makes and another one uses: handed over by `SCM_RIGHTS` (unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::Event;

#[derive(Debug, Args)]
pub(super) struct Lend {
    /// Unix socket at which to hand it over
    path: PathBuf,
}

impl Lend {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let socket =
            Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).context("make a TCP socket")?;
        let listener =
            UnixListener::bind(&self.path).with_context(|| format!("listen at {}", self.path.display()))?;
        // So that the test knows when to ask.
        Event::Holding { count: 1, error: None }.emit();
        let (stream, _) = listener.accept().context("accept")?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [socket.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(&stream, &[IoSlice::new(b"!")], &mut ancillary, SendFlags::empty())
            .context("hand over the socket")?;
        Ok(())
    }
}

/// The socket that somebody lends.
pub(super) fn borrow(path: &Path) -> io::Result<OwnedFd> {
    let stream = UnixStream::connect(path)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(&stream, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::empty())?;
    let lent = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    lent.ok_or_else(|| io::Error::other("expected a descriptor, found none"))
}
