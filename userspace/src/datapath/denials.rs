//! The refusals that the kernel reports, one by one.

use std::net::SocketAddr;

use anyhow::Result;
use aya::maps::RingBuf;
use sidestep_abi::event::Denial as Event;
use sidestep_abi::maps::DENIALS;
use tokio::io::unix::AsyncFd;

use crate::datapath::object::{Object, Owned, typed};
use crate::model::{OriginalDst, Reason};
use crate::sys::ready::watched;

/// The ring buffer of one workload's refusals.
pub struct Denials {
    ring: AsyncFd<RingBuf<Owned>>,
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
    pub(super) fn new(object: &mut Object) -> Result<Self> {
        Ok(Self { ring: watched(typed(object, DENIALS)?)? })
    }

    /// The next refusal; waits for one.
    ///
    /// # Errors
    /// If the ring buffer cannot be waited for.
    pub async fn next(&mut self) -> Result<Denial> {
        loop {
            if let Some(denial) = self.ring.get_mut().next().and_then(|item| parse(&item)) {
                return Ok(denial);
            }
            self.ring.readable_mut().await?.clear_ready();
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
