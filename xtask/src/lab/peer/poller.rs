//! Waiting for many sockets at once, by epoll(7), level-triggered: whoever reads once per notice and finds all there is
//! needs no second call to hear that there is no more.

use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::SILENCE;

/// Notices taken at once.
const BATCH: usize = 256;

/// The sockets to wait for, each under a number of the caller's.
#[derive(Debug)]
pub(super) struct Poller(Epoll);

/// What the last wait brought.
#[derive(Debug)]
pub(super) struct Notices {
    events: Vec<EpollEvent>,
    count: usize,
}

/// What a socket is waited for to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Something can be read, or the other side has ended.
    Readable,
    /// It is connected, or that has failed; later, there is room to write.
    Writable,
}

impl Poller {
    pub(super) fn new() -> Result<Self> {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Self).context("make an epoll set")
    }

    /// Waits for a socket too, until it is closed.
    pub(super) fn watch(&self, socket: impl AsFd, number: usize, until: Until) -> Result<()> {
        self.0.add(socket, EpollEvent::new(until.flags(), number as u64)).context("watch a socket")
    }

    /// Waits for a watched socket to be something else from now on.
    pub(super) fn turn(&self, socket: impl AsFd, number: usize, until: Until) -> Result<()> {
        let mut event = EpollEvent::new(until.flags(), number as u64);
        self.0.modify(socket, &mut event).context("watch a socket for something else")
    }

    /// Waits until there is something, for a client that knows that there will be.
    pub(super) fn wait(&self, notices: &mut Notices) -> Result<()> {
        let limit = EpollTimeout::try_from(SILENCE).context("name a limit")?;
        self.wait_up_to(notices, limit)?;
        ensure!(notices.count > 0, "expected an answer, found nothing for {} s", SILENCE.as_secs());
        Ok(())
    }

    /// Waits until there is something, be it for ever.
    pub(super) fn wait_for_ever(&self, notices: &mut Notices) -> Result<()> {
        self.wait_up_to(notices, EpollTimeout::NONE)
    }

    fn wait_up_to(&self, notices: &mut Notices, limit: EpollTimeout) -> Result<()> {
        notices.count = loop {
            match self.0.wait(&mut notices.events, limit) {
                Err(Errno::EINTR) => {}
                waited => break waited.context("wait for sockets")?,
            }
        };
        Ok(())
    }
}

impl Notices {
    pub(super) fn new() -> Self {
        Self { events: vec![EpollEvent::empty(); BATCH], count: 0 }
    }

    /// The numbers of the sockets that have something.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.events[..self.count].iter().map(|event| event.data() as usize)
    }
}

impl Until {
    fn flags(self) -> EpollFlags {
        match self {
            Self::Readable => EpollFlags::EPOLLIN,
            Self::Writable => EpollFlags::EPOLLOUT,
        }
    }
}
