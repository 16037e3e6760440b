//! What the workloads of a node share with the agent that serves them, so that a connection can be handed from one to the other.
//!
//! The agent's sockets are not in the cgroup of any workload it serves: a handoff between the two is staged by the programs
//! of one cgroup and claimed by those of another. The notes on sockets are the node's, and the stage of each workload, which
//! stays its own, is found by the network namespace that the agent's socket was made in:
//!
//! ```text
//! /sys/fs/bpf/sidestep/node/v<abi>/{STAGES,HANDOFFS,COUNTERS}
//! /sys/fs/bpf/sidestep/node/OWNERS
//! ```
//!
//! A program for the agent's sockets is attached to its own cgroup. That attachment is not pinned: without the agent there is
//! nobody to hand anything to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{HashOfMaps, Map, MapData, MapError};
use sidestep_abi::maps::{HANDOFFS, OF_NODE, STAGES};

use crate::datapath::object::{Maps, NODE_HANDOFF, Object, Owned};
use crate::datapath::pins::{NODE, Pins};
use crate::datapath::{Counters, Handoffs, Ownership};
use crate::sys::bpf;
use crate::sys::bpffs::Mounting;

/// Inode, and so the id, of the root of the cgroup hierarchy.
const ROOT_CGROUP: u64 = 1;

/// For how many workloads that are still to come everything is loaded: those that are started at once.
const AHEAD: usize = 2;
/// How often to look whether a stage can be found that is being added.
const ADDITION_LOOK: Duration = Duration::from_micros(50);

/// Where the handoffs of a workload are staged.
#[derive(Clone, Copy)]
pub enum Stage<'a> {
    /// Where nobody else looks: it lives in one cgroup with its instance.
    Own,
    /// Where the agent of its node finds them.
    Shared(&'a NodeStage),
}

/// The shared stage, and this agent's part in it.
pub struct NodeStage {
    pins: Pins,
    maps: Maps,
    handoffs: Arc<Handoffs>,
    stages: Arc<Stages>,
    ownership: Arc<Ownership>,
    /// Loaded for workloads that are still to come.
    ahead: Mutex<Vec<Object>>,
    /// Held by whoever loads them.
    loading: Mutex<()>,
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
        let paths: BTreeMap<_, _> = OF_NODE.iter().map(|&name| (name.to_owned(), pins.map(name))).collect();
        let maps = Maps::at(paths);
        Object::open(&maps)?;
        let handoffs = Arc::new(Handoffs::new(&maps)?);
        let ownership = Arc::new(Ownership::new(&maps)?);
        let stages = Arc::new(Stages::new(&maps)?);
        if pins.were_deserted() {
            stages.doubt_all()?;
        }
        Ok(Self {
            pins,
            maps,
            handoffs,
            stages,
            ownership,
            ahead: Mutex::default(),
            loading: Mutex::default(),
            claim: None,
        })
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
        let mut object = Object::open(&self.maps)?;
        let link = bpf::link_create(object.program(NODE_HANDOFF)?, own_cgroup, NODE_HANDOFF.hook)
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

    /// Reads what the program of the agent's own cgroup counts: the handoffs that it claimed, all workloads together.
    ///
    /// # Errors
    /// If the map cannot be opened.
    pub fn counters(&self) -> Result<Counters> {
        Counters::new(&self.maps)
    }

    /// Loads maps and programs for workloads that are still to come, unless enough are there or somebody is loading them. Takes
    /// tens of milliseconds.
    ///
    /// # Errors
    /// If the kernel refuses a map or a program.
    pub fn load_ahead(&self) -> Result<()> {
        let _turn = match self.loading.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        while self.ahead().len() < AHEAD {
            let (shared, path) = self.shared();
            let object = Object::ahead((shared, &path))?;
            self.ahead().push(object);
        }
        Ok(())
    }

    fn ahead(&self) -> MutexGuard<'_, Vec<Object>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is loaded for a workload: its own, where it has any; else what was loaded ahead, if anything was.
    pub(super) fn object(&self, places: &Maps) -> Result<Object> {
        let Some(ahead) = self.ahead().pop() else { return Object::open(places) };
        match ahead.settle(places, HANDOFFS)? {
            Ok(object) => Ok(object),
            Err(ahead) => {
                self.ahead().push(ahead);
                Object::open(places)
            }
        }
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
        self.ahead().clear();
        self.pins.remove()
    }

    /// Where the agent looks for the stages of workloads.
    pub(super) fn stages(&self) -> Arc<Stages> {
        Arc::clone(&self.stages)
    }

    /// The map that workloads share, and where it is pinned.
    pub(super) fn shared(&self) -> (&'static str, PathBuf) {
        (HANDOFFS, self.pins.map(HANDOFFS))
    }
}

/// The stages of all workloads of the node, by network namespace.
///
/// The kernel lets a grace period pass after every change before the system call returns, some ten milliseconds
/// (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c): what is there already is left alone, and what is added is not waited for
/// any longer than until it is there.
pub(super) struct Stages {
    path: PathBuf,
    by_namespace: Mutex<ByNamespace>,
}

struct ByNamespace {
    map: HashOfMaps<Owned, u64, MapData>,
    /// Those that a dead agent left, and that no workload has asked for since.
    doubtful: BTreeSet<u64>,
}

impl Stages {
    fn new(maps: &Maps) -> Result<Self> {
        let (map, path) = (maps.typed(STAGES)?, maps.path(STAGES)?.to_owned());
        Ok(Self { path, by_namespace: Mutex::new(ByNamespace { map, doubtful: BTreeSet::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, ByNamespace> {
        self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the stage with this id is found under a cookie.
    fn has(&self, cookie: u64, id: u32) -> bool {
        let known = self.lock().map.get(&cookie, 0);
        known.is_ok_and(|known| known.info().is_ok_and(|known| known.id() == id))
    }

    /// Lets the agent find the stage of the workload whose namespace has this cookie.
    pub(super) fn add(&self, cookie: u64, stage: MapData) -> Result<()> {
        let id = stage.info().context("ask the kernel about a stage")?.id();
        self.lock().doubtful.remove(&cookie);
        if self.has(cookie, id) {
            return Ok(());
        }
        // Through a descriptor of its own: the one here is for looking.
        let mut map = self.another()?;
        let (tell, told) = mpsc::channel();
        thread::Builder::new()
            .name("stage".to_owned())
            .spawn(move || {
                // Nobody hears of it once the stage is found.
                let _found = tell.send(map.insert(cookie, &stage, 0));
            })
            .context("start a thread")?;
        loop {
            match told.recv_timeout(ADDITION_LOOK) {
                Ok(added) => return added.context("add the stage of a workload to those of the node"),
                Err(RecvTimeoutError::Timeout) if self.has(cookie, id) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("a thread that adds a stage panicked"),
            }
        }
    }

    fn another(&self) -> Result<HashOfMaps<Owned, u64, MapData>> {
        let map = MapData::from_pin(&self.path).context("open the stages of the node")?;
        let map = Map::from_map_data(map).context("open the stages of the node")?;
        HashOfMaps::try_from(map).context("open the stages of the node")
    }

    /// Forgets the stage of a workload that is gone, and one that a dead agent left: it comes back should it be asked for.
    pub(super) fn forget(&self, cookie: u64) -> Result<()> {
        let doubtful = self.lock().doubtful.pop_first();
        // Not through the descriptor that others look through meanwhile.
        let mut map = self.another()?;
        for cookie in doubtful.into_iter().chain([cookie]) {
            match map.remove(&cookie) {
                Err(error) if !is_absence(&error) => {
                    return Err(error).context("remove the stage of a workload from those of the node");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes those that are there for what a dead agent left.
    fn doubt_all(&self) -> Result<()> {
        let mut stages = self.lock();
        let cookies = stages.map.keys().collect::<Result<_, _>>().context("list the stages of the node")?;
        stages.doubtful = cookies;
        Ok(())
    }
}

/// Whether an error says that there is nothing under the key.
fn is_absence(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(error) => error.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}
