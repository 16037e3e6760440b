//! The kernel side of one workload, seen from userspace: the only room that imports aya.
//!
//! One object is loaded per workload, and its maps are that workload's alone. [`Datapath::load`] brings them into the
//! kernel over the workload's [`Pins`] (adopting those that a dead predecessor left), the caller fills the
//! tables and the listener slots, and only then [`Datapath::attach`] captures anything. What is seldom needed is opened by its pin
//! when it is: an idle workload holds few descriptors.
//!
//! It deliberately knows nothing of configuration files, sockets to be served, or logs.

mod counters;
mod denials;
mod handoffs;
mod links;
mod object;
mod origin;
mod ownership;
pub mod pins;
mod stage;
mod tables;
mod template;

use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use aya::maps::{Map, MapData, SockMap};
use sidestep_abi::maps::{LISTENERS, STAGE, STAGES};

pub use counters::{Counters, Counts};
pub use denials::{Denial, Denials, Transport};
pub use handoffs::Handoffs;
pub use links::Place;
pub use object::{Insight, probe};
pub use ownership::Ownership;
pub use pins::Pins;
pub use stage::{NodeStage, Stage};
pub use tables::{Generation, Tables};

use crate::sys::cookie::netns_cookie;
use links::Standing;
use object::{Maps, Object, every_map};
use stage::Stages;

/// The kernel side of one workload.
pub struct Datapath {
    maps: Arc<Maps>,
    /// As long as something is being loaded and attached. What is pinned needs no descriptor.
    object: Option<Object>,
    pins: Pins,
    /// Settings and rules.
    pub tables: Tables,
    /// As long as listeners are being put there.
    listeners: Option<SockMap<MapData>>,
    ownership: Arc<Ownership>,
    handoffs: Arc<Handoffs>,
    /// Where the agent of the node finds the stage of this workload, and the cookie that it was entered under.
    stages: Option<(Arc<Stages>, Option<u64>)>,
    /// Whether this process has declared itself the owner.
    declared: bool,
}

impl Datapath {
    /// Takes the maps that are pinned for this workload, making those that are not, and says where handoffs are staged. Nothing
    /// is attached yet; links that a predecessor pinned go on working.
    ///
    /// # Errors
    /// If the kernel refuses a map.
    pub fn load(pins: Pins, stage: Stage<'_>) -> Result<Self> {
        let mut paths = every_map(|name| pins.map(name))?;
        paths.remove(STAGES);
        let (maps, stages) = match stage {
            Stage::Own => (Maps::at(paths), None),
            Stage::Shared(node) => {
                let (name, path) = node.shared();
                paths.insert(name.to_owned(), path);
                (Maps::at(paths).of_many(), Some((node.stages(), None)))
            }
        };
        let object = match stage {
            Stage::Own => Object::open(&maps)?,
            Stage::Shared(node) => node.object(&maps)?,
        };
        let handoffs = match stage {
            Stage::Own => Arc::new(Handoffs::new(&maps)?),
            Stage::Shared(node) => node.handoffs(),
        };
        let ownership = Arc::new(Ownership::new(&maps)?);
        let maps = Arc::new(maps);
        Ok(Self {
            tables: Tables::new(Arc::clone(&maps)),
            maps,
            object: Some(object),
            pins,
            listeners: None,
            ownership,
            handoffs,
            stages,
            declared: false,
        })
    }

    /// Puts a listening socket in its slot; what the slot held before gets no further connection. The kernel empties the
    /// slot when the listener closes.
    ///
    /// # Errors
    /// If the socket does not listen.
    pub fn put_listener(&mut self, slot: u32, listener: &impl AsRawFd) -> Result<()> {
        self.enter(listener)?;
        let listeners = match &mut self.listeners {
            Some(listeners) => listeners,
            none => none.insert(self.maps.typed(LISTENERS)?),
        };
        listeners
            .set(slot, listener, 0)
            .with_context(|| format!("put a listener into slot {slot} of {LISTENERS}"))
    }

    /// Tells the agent of the node whose stage is that of the namespace which its listeners are in.
    fn enter(&mut self, listener: &impl AsRawFd) -> Result<()> {
        if let Some((stages, entered @ None)) = &mut self.stages {
            let cookie =
                netns_cookie(listener).context("ask for the cookie of a listener's network namespace")?;
            let Map::HashMap(stage) = self.maps.open(STAGE)? else { bail!("expected {STAGE} to be a hash") };
            stages.add(cookie, stage)?;
            *entered = Some(cookie);
        }
        Ok(())
    }

    /// Attaches every program that the place asks for, and replaces those of a predecessor without a gap, unless they are the
    /// same. From here on the workload is captured.
    ///
    /// # Errors
    /// If the kernel refuses a program, with the verifier's words, or one cannot be attached; then what this call attached goes
    /// again, and what a predecessor attached stays: a workload that was captured stays captured.
    pub fn attach(&mut self, place: &Place) -> Result<()> {
        let object = match &mut self.object {
            Some(object) => object,
            none => none.insert(Object::open(&self.maps)?),
        };
        let ours = origin::of(object)?;
        let standing = origin::standing(object, &self.maps, ours)?;
        if standing == Standing::Foreign {
            origin::withdraw(&self.maps)?;
        }
        links::attach(object, place, &self.pins, standing)?;
        self.pins.keep();
        if standing == Standing::Foreign {
            origin::declare(&self.maps, ours)?;
        }
        Ok(())
    }

    /// Declares this process the owner, and ends the turn that began with [`Self::load`].
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn declare(&mut self) -> Result<()> {
        self.ownership.declare()?;
        self.declared = true;
        self.object = None;
        self.listeners = None;
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
        if self.declared && !self.ownership.is_ours() {
            // A successor keeps them, and may have removed them by now.
            return Ok(());
        }
        self.tables.set_own_addresses(addresses)
    }

    /// Reads and leaves handoffs on sockets.
    ///
    /// # Errors
    /// Never.
    pub fn handoffs(&mut self) -> Result<Arc<Handoffs>> {
        Ok(Arc::clone(&self.handoffs))
    }

    /// Reads the counters.
    ///
    /// # Errors
    /// If the map cannot be opened.
    pub fn counters(&mut self) -> Result<Counters> {
        Counters::new(&self.maps)
    }

    /// Hands on what the programs log, for ever; at once done where they were built without log lines, as they are unless asked
    /// otherwise.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn trace(&mut self) -> Result<impl Future<Output = ()> + Send + use<>> {
        self.object.as_mut().context("expected the object to be loaded")?.trace()
    }

    /// Reads the refusals.
    ///
    /// # Errors
    /// Never.
    pub fn denials(&mut self) -> Result<Denials> {
        Ok(Denials::new(&self.maps, &self.pins))
    }

    /// Removes what a change of the rules left behind, in turn. To be called some time after a take-over.
    ///
    /// # Errors
    /// If the tables cannot be opened, or another process keeps the turn.
    pub fn tidy(&mut self) -> Result<()> {
        self.in_turn(|datapath| datapath.tables.tidy())
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
        links::detach(&self.pins)?;
        if let Some((stages, Some(cookie))) = self.stages {
            stages.forget(cookie)?;
        }
        self.pins.remove()
    }
}
