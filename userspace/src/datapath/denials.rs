//! The refusals that the kernel reports, one by one.
//!
//! The ring buffer has room for one reader: its position is in the map, and two that moved it would read records that the kernel
//! is writing. The processes of a workload share the map, so that what is refused between a crash and the next start is
//! still told; they take turns by a lock, and a successor begins to read where its predecessor ended.

use std::mem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::RingBuf;
use nix::fcntl::Flock;
use sidestep_abi::event::Denial as Event;
use sidestep_abi::maps::DENIALS;
use tokio::io::unix::AsyncFd;
use tokio::task::consume_budget;
use tokio::time::sleep;

use crate::datapath::Pins;
use crate::datapath::object::{Maps, Owned};
use crate::datapath::pins::try_lock;
use crate::model::{ClientAddr, Direction, OriginalDst, Reason};
use crate::sys::ready::watched;

/// How often a successor looks whether its predecessor has ended to read.
const READER_LOOK: Duration = Duration::from_millis(50);

/// The ring buffer of one workload's refusals.
pub struct Denials(Reader);

/// Whose turn it is to read.
enum Reader {
    /// Another process may be reading.
    Waiting { maps: Arc<Maps>, lock: PathBuf },
    /// This one reads: nobody else does until the lock is dropped.
    Reading { ring: AsyncFd<RingBuf<Owned>>, _turn: Flock<std::fs::File> },
    /// The ring buffer could not be opened.
    Broken,
}

/// A connection, a datagram or a socket that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What it would have been.
    pub transport: Transport,
    /// Who called, if somebody called the workload; otherwise the workload did.
    pub client: Option<ClientAddr>,
    /// Where it wanted to go; not known of a socket that was not to be.
    pub original: Option<OriginalDst>,
    /// Why not.
    pub reason: Reason,
}

/// What carries bytes below anything that could be captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A connection of TCP or MPTCP.
    Tcp,
    /// Datagrams of UDP.
    Udp,
    /// Anything else.
    Other,
}

impl Transport {
    /// That of a protocol's number (IANA, "Protocol Numbers").
    fn of(protocol: u8) -> Self {
        match libc::c_int::from(protocol) {
            libc::IPPROTO_TCP => Self::Tcp,
            libc::IPPROTO_UDP => Self::Udp,
            _ => Self::Other,
        }
    }
}

impl Denial {
    /// Which way it would have gone.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        if self.client.is_some() { Direction::Inbound } else { Direction::Outbound }
    }
}

impl Denials {
    pub(super) fn new(maps: &Arc<Maps>, pins: &Pins) -> Self {
        Self(Reader::Waiting { maps: Arc::clone(maps), lock: pins.maps() })
    }

    /// The next refusal; waits for one, and for the turn to read. However many there are, other tasks get their time.
    ///
    /// # Errors
    /// If the ring buffer cannot be opened or waited for.
    pub async fn next(&mut self) -> Result<Denial> {
        let ring = self.ring().await?;
        loop {
            // The ring buffer is no source that the runtime knows: a flood of refusals would keep this task from ever yielding.
            consume_budget().await;
            let item = ring.get_mut().next().map(|item| parse(&item));
            match item {
                Some(Some(denial)) => return Ok(denial),
                // Not an event of this version: read over.
                Some(None) => {}
                None => ring.readable_mut().await?.clear_ready(),
            }
        }
    }

    async fn ring(&mut self) -> Result<&mut AsyncFd<RingBuf<Owned>>> {
        if let Reader::Waiting { lock, .. } = &self.0 {
            let turn = loop {
                match try_lock(lock).context("take the turn to read refusals")? {
                    Some(turn) => break turn,
                    None => sleep(READER_LOOK).await,
                }
            };
            if let Reader::Waiting { maps, .. } = mem::replace(&mut self.0, Reader::Broken) {
                // Opened only now: the position to read from is taken from the map when it is.
                let ring: RingBuf<Owned> = maps.typed(DENIALS)?;
                self.0 = Reader::Reading { ring: watched(ring)?, _turn: turn };
            }
        }
        match &mut self.0 {
            Reader::Reading { ring, .. } => Ok(ring),
            _ => anyhow::bail!("expected the ring buffer {DENIALS} to be open; it could not be opened"),
        }
    }
}

/// Reads an event; the kernel side wrote it, yet nothing here trusts its length or numbers.
fn parse(bytes: &[u8]) -> Option<Denial> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let byte = |at: usize| bytes.get(at).copied();
    let endpoint = |at: usize| {
        let address = [word(at)?, word(at + 4)?, word(at + 8)?, word(at + 12)?];
        let port = u16::from_ne_bytes(bytes.get(at + 16..at + 18)?.try_into().ok()?);
        Some((address != [0; 4]).then(|| SocketAddr::new(sidestep_abi::address::to_ip(&address), port)))
    };
    let original = endpoint(mem::offset_of!(Event, destination))?.map(OriginalDst);
    let client = endpoint(mem::offset_of!(Event, client))?.map(ClientAddr);
    let reason = Reason::from_number(byte(mem::offset_of!(Event, reason))?)?;
    let inbound = byte(mem::offset_of!(Event, direction))? == Direction::Inbound as u8;
    let transport = Transport::of(byte(mem::offset_of!(Event, protocol))?);
    Some(Denial { transport, client: client.filter(|_| inbound), original, reason })
}

#[cfg(test)]
mod tests {
    use sidestep_abi::address::{Endpoint, from_ip};

    use super::*;

    /// An event as the kernel side writes it.
    fn event(direction: Direction) -> Vec<u8> {
        let endpoint = |address: [u8; 4], port| Endpoint::new(from_ip(address.into()), port);
        written(direction, libc::IPPROTO_TCP, [endpoint([10, 0, 0, 9], 8080), endpoint([10, 0, 0, 1], 4321)])
    }

    fn written(direction: Direction, protocol: libc::c_int, endpoints: [Endpoint; 2]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(7_u32.to_ne_bytes());
        for Endpoint { address, port, padding } in endpoints {
            bytes.extend(address.iter().flat_map(|word| word.to_ne_bytes()));
            bytes.extend(port.to_ne_bytes());
            bytes.extend(padding.to_ne_bytes());
        }
        bytes.extend([Reason::PlainText as u8, 0, direction as u8, protocol as u8]);
        bytes
    }

    #[test]
    fn an_event_is_read_as_the_kernel_writes_it() {
        assert_eq!(event(Direction::Inbound).len(), size_of::<Event>());
        let original = Some(OriginalDst("10.0.0.9:8080".parse().unwrap()));
        let client = ClientAddr("10.0.0.1:4321".parse().unwrap());
        for (direction, client) in [(Direction::Inbound, Some(client)), (Direction::Outbound, None)] {
            let denial = Denial { transport: Transport::Tcp, client, original, reason: Reason::PlainText };
            assert_eq!(parse(&event(direction)), Some(denial));
            assert_eq!(denial.direction(), direction);
        }
    }

    #[test]
    fn a_socket_that_was_not_to_be_wanted_to_go_nowhere() {
        let nowhere = Endpoint::new([0; 4], 0);
        for (protocol, transport) in
            [(libc::IPPROTO_UDP, Transport::Udp), (libc::IPPROTO_SCTP, Transport::Other)]
        {
            let denial = Denial { transport, client: None, original: None, reason: Reason::PlainText };
            assert_eq!(parse(&written(Direction::Outbound, protocol, [nowhere; 2])), Some(denial));
        }
    }

    #[test]
    fn what_is_no_event_is_not_read() {
        let whole = event(Direction::Inbound);
        for length in 0..whole.len() - 1 {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        let mut unknown = whole;
        unknown[44] = u8::MAX;
        assert_eq!(parse(&unknown), None);
    }
}
