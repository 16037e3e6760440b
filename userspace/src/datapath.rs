//! The kernel side of one workload, seen from userspace: the only room that imports aya.
//!
//! One object is loaded per workload, and its maps are that workload's alone. [`Datapath::load`] brings it into the
//! kernel over the workload's [`Pins`] (adopting the maps that a dead predecessor left), the caller fills the
//! tables and the listener slots, and only then [`Datapath::attach`] captures anything.
//!
//! It deliberately knows nothing of configuration files, sockets to be served, or logs.

mod counters;
mod denials;
mod handoffs;
mod links;
mod object;
mod ownership;
pub mod pins;
mod stage;
mod tables;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyhow::{Context, Result};
use aya::maps::{MapData, SockMap};
use sidestep_abi::maps::{self, LISTENERS};

pub use counters::{Counters, Counts};
pub use denials::{Denial, Denials, Transport};
pub use handoffs::Handoffs;
pub use links::Place;
pub use object::{Insight, probe};
pub use ownership::Ownership;
pub use pins::Pins;
pub use stage::{NodeStage, Stage};
pub use tables::{Generation, Tables};

use links::Links;
use object::{Object, PROGRAMS};

/// The loaded object of one workload.
pub struct Datapath {
    object: Object,
    links: Links,
    pins: Pins,
    /// Settings and rules.
    pub tables: Tables,
    listeners: SockMap<MapData>,
    ownership: Arc<Ownership>,
    /// Those of the node, where the stage is.
    shared: Option<Arc<Handoffs>>,
}

impl Datapath {
    /// Loads the object over the maps that are pinned for this workload, making those that are not, and over the stage. Nothing
    /// is attached yet; links that a predecessor pinned go on working.
    ///
    /// # Errors
    /// If the kernel refuses a map or program, with the verifier's words.
    pub fn load(pins: Pins, stage: Stage<'_>) -> Result<Self> {
        let mut paths: BTreeMap<_, _> = maps::ALL.into_iter().map(|name| (name, pins.map(name))).collect();
        if let Stage::Shared(node) = stage {
            paths.extend(node.shared());
        }
        let shared = match stage {
            Stage::Own => None,
            Stage::Shared(node) => Some(node.handoffs()),
        };
        let mut object = Object::load(paths, &PROGRAMS)?;
        let tables = Tables::new(&mut object)?;
        let listeners = SockMap::try_from(object.map(LISTENERS)?)?;
        let ownership = Arc::new(Ownership::new(&mut object)?);
        Ok(Self { object, links: Links::default(), pins, tables, listeners, ownership, shared })
    }

    /// Puts a listening socket in its slot; what the slot held before gets no further connection. The kernel empties the
    /// slot when the listener closes.
    ///
    /// # Errors
    /// If the socket does not listen.
    pub fn put_listener(&mut self, slot: u32, listener: &impl AsRawFd) -> Result<()> {
        self.listeners
            .set(slot, listener, 0)
            .with_context(|| format!("put a listener into slot {slot} of {LISTENERS}"))
    }

    /// Attaches every program that the place asks for, and replaces those of a predecessor without a gap. From here on
    /// the workload is captured.
    ///
    /// # Errors
    /// If one cannot be attached; then what this call attached goes again, and what a predecessor attached stays: a
    /// workload that was captured stays captured.
    pub fn attach(&mut self, place: &Place) -> Result<()> {
        self.links.attach(&self.object, place, &self.pins)?;
        self.pins.keep();
        Ok(())
    }

    /// Declares this process the owner, and ends the turn that began with [`Self::load`].
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn declare(&mut self) -> Result<()> {
        self.ownership.declare()?;
        self.pins.end_turn();
        Ok(())
    }

    /// Changes what the processes of this workload share, while no other does; not at all if a successor has taken over.
    ///
    /// # Errors
    /// Those of the change, or if another process keeps the turn.
    pub fn in_turn(&mut self, change: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.pins.begin_turn()?;
        let changed = if self.ownership.is_ours() { change(self) } else { Ok(()) };
        self.pins.end_turn();
        changed
    }

    /// Tells whether this process still serves the workload.
    #[must_use]
    pub fn ownership(&self) -> Arc<Ownership> {
        Arc::clone(&self.ownership)
    }

    /// The addresses of the workload's namespace, which are never captured.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn set_own_addresses(&mut self, addresses: &[IpAddr]) -> Result<()> {
        self.tables.set_own_addresses(addresses)
    }

    /// Reads and leaves handoffs on sockets.
    ///
    /// # Errors
    /// If taken twice.
    pub fn handoffs(&mut self) -> Result<Arc<Handoffs>> {
        match &self.shared {
            Some(handoffs) => Ok(Arc::clone(handoffs)),
            None => Handoffs::new(&mut self.object).map(Arc::new),
        }
    }

    /// Reads the counters.
    ///
    /// # Errors
    /// If taken twice.
    pub fn counters(&mut self) -> Result<Counters> {
        Counters::new(&mut self.object)
    }

    /// Hands on what the programs log, for ever; at once done where they were built without log lines, as they are unless asked
    /// otherwise.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn trace(&mut self) -> Result<impl Future<Output = ()> + Send + use<>> {
        self.object.trace()
    }

    /// Reads the refusals.
    ///
    /// # Errors
    /// If taken twice.
    pub fn denials(&mut self) -> Result<Denials> {
        Denials::new(&mut self.object, &self.pins)
    }

    /// Detaches every program and removes every pin of the workload, unless a successor owns them now.
    ///
    /// # Errors
    /// If something could not be removed.
    pub fn remove(mut self) -> Result<()> {
        self.pins.begin_turn()?;
        if !self.ownership.is_ours() {
            return Ok(());
        }
        self.links.detach()?;
        self.pins.remove()
    }
}
