//! The refusals that the kernel reports, one by one.
//!
//! The ring buffer has room for one reader: its position is in the map, and two that moved it would read records that the kernel
//! is writing. The processes of a workload share the map, so that what is refused between a crash and the next start is
//! still told; they take turns by a lock, and a successor begins to read where its predecessor ended.

use std::mem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{Map, RingBuf};
use nix::fcntl::Flock;
use sidestep_abi::event::Denial as Event;
use sidestep_abi::maps::DENIALS;
use tokio::io::unix::AsyncFd;
use tokio::task::consume_budget;
use tokio::time::sleep;

use crate::datapath::Pins;
use crate::datapath::object::{Object, Owned};
use crate::datapath::pins::try_lock;
use crate::model::{OriginalDst, Reason};
use crate::sys::ready::watched;

/// How often a successor looks whether its predecessor has ended to read.
const READER_LOOK: Duration = Duration::from_millis(50);

/// The ring buffer of one workload's refusals.
pub struct Denials(Reader);

/// Whose turn it is to read.
enum Reader {
    /// Another process may be reading.
    Waiting { map: Map, lock: PathBuf },
    /// This one reads: nobody else does until the lock is dropped.
    Reading { ring: AsyncFd<RingBuf<Owned>>, _turn: Flock<std::fs::File> },
    /// The ring buffer could not be opened.
    Broken,
}

/// A `connect()` that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Where it wanted to go.
    pub original: OriginalDst,
    /// Why not.
    pub reason: Reason,
    /// What it got.
    pub errno: i32,
}

impl Denials {
    pub(super) fn new(object: &mut Object, pins: &Pins) -> Result<Self> {
        Ok(Self(Reader::Waiting { map: object.map(DENIALS)?, lock: pins.maps() }))
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
            if let Reader::Waiting { map, .. } = mem::replace(&mut self.0, Reader::Broken) {
                // Opened only now: the position to read from is taken from the map when it is.
                let ring = RingBuf::try_from(map).with_context(|| format!("open the map {DENIALS}"))?;
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
    let at = std::mem::offset_of!(Event, destination);
    let address = [word(at)?, word(at + 4)?, word(at + 8)?, word(at + 12)?];
    let port = u16::from_ne_bytes(bytes.get(at + 16..at + 18)?.try_into().ok()?);
    let original = SocketAddr::new(sidestep_abi::address::to_ip(&address), port);
    let reason = Reason::from_number(byte(std::mem::offset_of!(Event, reason))?)?;
    let errno = i32::from(byte(std::mem::offset_of!(Event, errno))?);
    Some(Denial { original: OriginalDst(original), reason, errno })
}
