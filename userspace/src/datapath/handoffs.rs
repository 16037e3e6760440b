//! Handoffs, by socket: what the instance reads from accepted sockets and leaves on dialling ones.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use aya::maps::{MapData, MapError, SkStorage};
use sidestep_abi::handoff::{Handoff, Role};
use sidestep_abi::maps::HANDOFFS;

use crate::datapath::object::Maps;
use crate::model::{ClientAddr, OriginalDst, Reason};

/// The socket storage of one workload.
pub struct Handoffs {
    read: SkStorage<MapData, Handoff>,
    /// aya writes through a unique reference only; a write is one short system call.
    write: Mutex<SkStorage<MapData, Handoff>>,
}

impl Handoffs {
    pub(super) fn new(maps: &Maps) -> Result<Self> {
        Ok(Self { read: maps.typed(HANDOFFS)?, write: Mutex::new(maps.typed(HANDOFFS)?) })
    }

    /// Where the client of an accepted outbound socket wanted to go, and why it was captured. `None` if nobody told.
    ///
    /// # Errors
    /// Those of the map look-up.
    pub fn original_destination(
        &self,
        accepted: BorrowedFd<'_>,
    ) -> io::Result<Option<(OriginalDst, Reason)>> {
        let handoff = match self.read.get(&accepted.as_raw_fd(), 0) {
            Ok(handoff) => handoff,
            Err(MapError::KeyNotFound) => return Ok(None),
            Err(error) => return Err(io::Error::other(error)),
        };
        if handoff.role != Role::OriginalDestination as u8 {
            return Ok(None);
        }
        Ok(Reason::from_number(handoff.reason).map(|reason| (OriginalDst(handoff.endpoint.into()), reason)))
    }

    /// Leaves the real client on a socket that is about to dial the app.
    ///
    /// # Errors
    /// Those of the map update.
    pub fn leave_client(&self, dialling: BorrowedFd<'_>, client: ClientAddr) -> io::Result<()> {
        let handoff = Handoff {
            endpoint: client.0.into(),
            role: Role::Client as u8,
            reason: Reason::Rule as u8,
            padding: 0,
        };
        self.write
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(&dialling.as_raw_fd(), handoff, 0)
            .map_err(io::Error::other)
    }
}
