//! Which process serves a workload: the last one that declared itself in the workload's map.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use aya::maps::Array;
use sidestep_abi::ABI_VERSION;
use sidestep_abi::maps::OWNERS;
use sidestep_abi::settings::Owner;

use crate::datapath::object::{Maps, Owned};

/// Asks and declares who serves the workload.
pub struct Ownership {
    owners: Mutex<Array<Owned, Owner>>,
    token: u64,
}

impl Ownership {
    pub(super) fn new(maps: &Maps) -> Result<Self> {
        Ok(Self { owners: Mutex::new(maps.typed(OWNERS)?), token: token()? })
    }

    /// Whether this process serves the workload, and no successor has taken over.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.get(&0, 0).is_ok_and(|owner| owner.token == self.token)
    }

    /// Declares this process the one that serves.
    pub(super) fn declare(&self) -> Result<()> {
        let owner = Owner { token: self.token, abi_version: ABI_VERSION, pid: std::process::id() };
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.set(0, owner, 0).context("declare this process the owner")
    }
}

/// A number that no other process has.
fn token() -> Result<u64> {
    let mut bytes = [0; 8];
    let mut random = std::fs::File::open("/dev/urandom").context("open /dev/urandom")?;
    random.read_exact(&mut bytes).context("read /dev/urandom")?;
    Ok(u64::from_ne_bytes(bytes))
}
