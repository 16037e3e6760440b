//! The object in the kernel: its maps, made or found where they are pinned, and its programs over them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use aya::maps::{Map, MapData};
use aya_log::EbpfLogger;
use sidestep_abi::maps::STAGE;

use crate::datapath::template::{Template, is_constant};
use crate::sys::bpf::{self, AttachType};
use crate::sys::ready::watched;

/// One program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Name of its function.
    pub(super) name: &'static str,
    /// The hook that it is for.
    pub(super) hook: AttachType,
}

/// The program that stages and claims handoffs.
pub(super) const HANDOFF: Program = Program { name: "sidestep_handoff", hook: AttachType::SockOps };

/// Every program, in the order of attachment: what carries handoffs and names stands before anything is steered.
pub(super) const PROGRAMS: [Program; 10] = [
    HANDOFF,
    Program { name: "sidestep_getpeername4", hook: AttachType::Getpeername4 },
    Program { name: "sidestep_getpeername6", hook: AttachType::Getpeername6 },
    Program { name: "sidestep_getsockopt", hook: AttachType::Getsockopt },
    Program { name: "sidestep_sock_create", hook: AttachType::SockCreate },
    Program { name: "sidestep_sendmsg4", hook: AttachType::Sendmsg4 },
    Program { name: "sidestep_sendmsg6", hook: AttachType::Sendmsg6 },
    Program { name: "sidestep_connect4", hook: AttachType::Connect4 },
    Program { name: "sidestep_connect6", hook: AttachType::Connect6 },
    Program { name: "sidestep_inbound", hook: AttachType::SkLookup },
];

/// The program that does what [`HANDOFF`] does for the sockets of an agent that serves a node.
pub(super) const NODE_HANDOFF: Program = Program { name: "sidestep_node_handoff", hook: AttachType::SockOps };

/// One whose log lines, if it was built with any, stand for those of all.
const LOGGING: Program = Program { name: "sidestep_connect4", hook: AttachType::Connect4 };
/// The map of the log lines (aya-log).
const LOG: &str = "AYA_LOGS";

/// Where the maps of a workload, or of a node, are pinned.
#[derive(Debug)]
pub(super) struct Maps {
    paths: BTreeMap<String, PathBuf>,
    /// Room on the stage, where it is not the object's.
    stage: Option<u32>,
}

impl Maps {
    pub(super) fn at(paths: BTreeMap<String, PathBuf>) -> Self {
        Self { paths, stage: None }
    }

    /// The same, with so much room on the stage.
    pub(super) fn with_stage_of(self, entries: usize) -> Self {
        Self { stage: u32::try_from(entries).ok(), ..self }
    }

    /// Opens one. Whoever needs it seldom opens it each time: a descriptor less to hold.
    pub(super) fn open(&self, name: &str) -> Result<Map> {
        let path = self.paths.get(name).ok_or_else(|| anyhow!("expected a place for the map {name}"))?;
        let data = MapData::from_pin(path).with_context(|| format!("open {}", path.display()))?;
        Map::from_map_data(data).with_context(|| format!("open the map {name}"))
    }

    /// Opens one as one of aya's typed maps.
    pub(super) fn typed<T>(&self, name: &str) -> Result<T>
    where
        T: TryFrom<Map, Error = aya::maps::MapError>,
    {
        T::try_from(self.open(name)?).with_context(|| format!("open the map {name}"))
    }
}

/// Whether the maps of a workload were there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    All,
    NotAll,
}

/// The object in the kernel, as long as something is being loaded. What is pinned and attached needs it no more.
pub(super) struct Object {
    template: Arc<Template>,
    /// By index; those that are not pinned anywhere are made when a program needs them.
    maps: Vec<Option<MapData>>,
    programs: Vec<(Program, OwnedFd)>,
    pub(super) found: Found,
}

impl Object {
    /// Takes the maps that are pinned, and makes and pins the others that have a place.
    pub(super) fn open(places: &Maps) -> Result<Self> {
        let template = Template::of_this_process()?;
        let mut found = Found::All;
        let mut maps = Vec::new();
        for (name, definition) in template.maps() {
            let map = match places.paths.get(name) {
                None => None,
                Some(path) => Some(match MapData::from_pin(path) {
                    Ok(map) => map,
                    Err(_) => {
                        found = Found::NotAll;
                        let mut definition = definition.clone();
                        if let (STAGE, Some(entries)) = (name, places.stage) {
                            definition.set_max_entries(entries);
                        }
                        let map = make(name, definition, &template)?;
                        map.pin(path).with_context(|| format!("pin the map {name}"))?;
                        map
                    }
                }),
            };
            maps.push(map);
        }
        Ok(Self { template, maps, programs: Vec::new(), found })
    }

    /// Makes every map anew and pins none.
    fn unpinned() -> Result<Self> {
        let template = Template::of_this_process()?;
        let maps = template
            .maps()
            .map(|(name, definition)| make(name, definition.clone(), &template).map(Some))
            .collect::<Result<_>>()?;
        Ok(Self { template, maps, programs: Vec::new(), found: Found::NotAll })
    }

    /// What tells this object from others.
    pub(super) fn digest(&self) -> u64 {
        self.template.digest
    }

    /// The kernel's id of a map.
    pub(super) fn map_id(&self, name: &str) -> Result<u32> {
        let index = self.template.maps().position(|(found, _)| found == name);
        let map = index.and_then(|index| self.maps.get(index)?.as_ref());
        let map = map.ok_or_else(|| anyhow!("expected the map {name} in the kernel"))?;
        Ok(map.info().with_context(|| format!("ask the kernel about the map {name}"))?.id())
    }

    /// A program as a descriptor, loaded when it is first asked for.
    pub(super) fn program(&mut self, program: Program) -> Result<BorrowedFd<'_>> {
        if !self.programs.iter().any(|(loaded, _)| *loaded == program) {
            let maps: Vec<i32> = self
                .maps
                .iter()
                .map(|map| map.as_ref().map_or(-1, |map| map.fd().as_fd().as_raw_fd()))
                .collect();
            self.programs.push((program, self.template.load(program, &maps)?));
        }
        let loaded = self.programs.iter().find(|(loaded, _)| *loaded == program);
        loaded
            .map(|(_, fd)| fd.as_fd())
            .ok_or_else(|| anyhow!("expected the program {} loaded", program.name))
    }

    /// Hands on what the programs log, if the object was built with their log lines (`cargo xtask build-ebpf --trace`).
    pub(super) fn trace(&mut self) -> Result<impl Future<Output = ()> + Send + use<>> {
        let mut logger = if self.template.map(LOG).is_ok() {
            let (id, _) =
                bpf::program_numbers(self.program(LOGGING)?).context("ask the kernel about a program")?;
            let logger = EbpfLogger::init_from_id(id).context("read the log of the programs")?;
            Some(watched(logger)?)
        } else {
            None
        };
        Ok(async move {
            let Some(logger) = &mut logger else { return };
            while let Ok(mut ready) = logger.readable_mut().await {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        })
    }
}

/// Makes a map.
fn make(name: &str, definition: aya_obj::Map, template: &Template) -> Result<MapData> {
    let (value, constant) = (definition.data().to_owned(), is_constant(&definition));
    let making = || format!("make the map {name}");
    let map = match definition.inner() {
        None => MapData::create(definition, name, template.types()).with_context(making)?,
        // The kernel wants to see one map of the kind that it will hold.
        Some(inner) => {
            let example = MapData::create(inner, name, template.types()).with_context(making)?;
            let outer = bpf::Outer {
                kind: definition.map_type(),
                name,
                key_size: definition.key_size(),
                max_entries: definition.max_entries(),
                flags: definition.map_flags(),
                example: example.fd().as_fd(),
            };
            MapData::from_fd(bpf::outer_create(&outer).with_context(making)?)?
        }
    };
    if !value.is_empty() {
        bpf::fill(map.fd(), &value, constant).with_context(|| format!("fill the map {name}"))?;
    }
    Ok(map)
}

/// The names and places of every map of the object: those that the programs only log by, too.
pub(super) fn every_map(place: impl Fn(&str) -> PathBuf) -> Result<BTreeMap<String, PathBuf>> {
    let template = Template::of_this_process()?;
    Ok(template.maps().map(|(name, _)| (name.to_owned(), place(name))).collect())
}

/// What the kernel's verifier says of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insight {
    /// Name of the program.
    pub name: &'static str,
    /// Instructions the verifier walked, all paths together: steady for one kernel and one object. Or why it refused.
    pub verified_instructions: Result<u32, String>,
}

/// Loads the object without pinning or attaching anything, and says of each program what the verifier found.
///
/// # Errors
/// If the kernel refuses the object as a whole: its maps or its BTF.
pub fn probe() -> Result<Vec<Insight>> {
    let mut object = Object::unpinned()?;
    PROGRAMS
        .iter()
        .chain([&NODE_HANDOFF])
        .map(|&program| {
            let verified_instructions = match object.program(program) {
                // Not every kernel tells (Linux 5.16).
                Ok(loaded) => Ok(bpf::program_numbers(loaded).context("ask the kernel about a program")?.1),
                Err(refusal) => Err(gist(&format!("{refusal:#}"))),
            };
            Ok(Insight { name: program.name, verified_instructions })
        })
        .collect()
}

/// The sentence of a verifier log that says why: the last one before its statistics.
fn gist(log: &str) -> String {
    log.lines()
        .take_while(|line| !line.starts_with("verification time") && !line.starts_with("processed "))
        .last()
        .unwrap_or(log)
        .chars()
        .take(200)
        .collect()
}

/// Marks that maps here are owned, not borrowed.
pub(super) type Owned = MapData;
