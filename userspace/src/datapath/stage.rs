//! The stage that the workloads of a node share with the agent that serves them.
//!
//! The agent's sockets are not in the cgroup of any workload it serves, and so a handoff between the two is staged by the programs
//! of one cgroup and claimed by those of another. Both have to use the same maps: these are pinned beside the workloads',
//!
//! ```text
//! /sys/fs/bpf/sidestep/node/v<abi>/{STAGE,HANDOFFS,COUNTERS}
//! /sys/fs/bpf/sidestep/node/OWNERS
//! ```
//!
//! and the handoff program is attached to the agent's own cgroup a second time. That attachment is not pinned: without the agent
//! there is nobody to hand anything to.
//!
//! It knows nothing of the workloads that use it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use sidestep_abi::maps::{COUNTERS, HANDOFFS, OWNERS, STAGE};

use crate::datapath::object::{HANDOFF, Object};
use crate::datapath::pins::{NODE, Pins};
use crate::datapath::{Counters, Handoffs, Ownership};
use crate::sys::bpf;
use crate::sys::bpffs::Mounting;

/// What is pinned there. The object has more maps, of which the handoff program uses none.
const MAPS: [&str; 4] = [STAGE, HANDOFFS, OWNERS, COUNTERS];
/// Inode, and so the id, of the root of the cgroup hierarchy.
const ROOT_CGROUP: u64 = 1;

/// Where the handoffs of a workload are staged.
#[derive(Clone, Copy)]
pub enum Stage<'a> {
    /// In maps of its own: it lives in one cgroup with its instance.
    Own,
    /// In those of the node.
    Shared(&'a NodeStage),
}

/// The shared stage, and this agent's part in it.
pub struct NodeStage {
    object: Object,
    pins: Pins,
    handoffs: Arc<Handoffs>,
    ownership: Arc<Ownership>,
    /// Attached as long as it is open.
    claim: Option<OwnedFd>,
}

impl NodeStage {
    /// Opens the stage, or makes it. The node's turn is ours until [`Self::declare`].
    ///
    /// # Errors
    /// If there is no BPF file system and none can or may be mounted, if another agent keeps the turn, or if the kernel refuses
    /// a map or the program.
    pub fn open(mounting: Mounting) -> Result<Self> {
        let pins = Pins::open(NODE, mounting)?;
        let mut object = Object::load(MAPS.map(|name| (name, pins.map(name))), &[HANDOFF])?;
        let handoffs = Arc::new(Handoffs::new(&mut object)?);
        let ownership = Arc::new(Ownership::new(&mut object)?);
        Ok(Self { object, pins, handoffs, ownership, claim: None })
    }

    /// Lets the sockets of this agent stage and claim handoffs.
    ///
    /// # Errors
    /// If the cgroup is the root of them all, or the program cannot be attached.
    pub fn attach(&mut self, own_cgroup: &File) -> Result<()> {
        let id = own_cgroup.metadata().context("look at the agent's cgroup")?.ino();
        ensure!(
            id != ROOT_CGROUP,
            "expected the agent in a cgroup of its own, found it in the root cgroup: start it as a container or a service"
        );
        let link = bpf::link_create(self.object.program(HANDOFF)?, own_cgroup, HANDOFF.hook)
            .context("attach the handoff program to the agent's cgroup")?;
        self.claim = Some(link);
        self.pins.keep();
        Ok(())
    }

    /// Declares this agent the one that serves the node, and ends the turn that began with [`Self::open`].
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn declare(&mut self) -> Result<()> {
        self.ownership.declare()?;
        self.pins.end_turn();
        Ok(())
    }

    /// Reads and leaves handoffs on sockets, whichever workload they serve.
    #[must_use]
    pub fn handoffs(&self) -> Arc<Handoffs> {
        Arc::clone(&self.handoffs)
    }

    /// Tells whether this agent still serves the node.
    #[must_use]
    pub fn ownership(&self) -> Arc<Ownership> {
        Arc::clone(&self.ownership)
    }

    /// Reads what the programs of the agent's own cgroup count: the handoffs that it claimed, all workloads together.
    ///
    /// # Errors
    /// If taken twice.
    pub fn counters(&mut self) -> Result<Counters> {
        Counters::new(&mut self.object)
    }

    /// Removes the node's pins, unless a successor owns them now. Workloads that are still captured keep the maps until they
    /// are released.
    ///
    /// # Errors
    /// If something could not be removed.
    pub fn remove(mut self) -> Result<()> {
        self.pins.begin_turn()?;
        if !self.ownership.is_ours() {
            return Ok(());
        }
        self.claim = None;
        self.pins.remove()
    }

    /// Where a map that workloads share is pinned.
    pub(super) fn shared(&self) -> [(&'static str, PathBuf); 2] {
        [STAGE, HANDOFFS].map(|name| (name, self.pins.map(name)))
    }
}
