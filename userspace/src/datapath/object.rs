//! The object in the kernel: its maps, made or found where they are pinned, and its programs over them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use aya::maps::{Map, MapData};
use aya_log::EbpfLogger;
use sidestep_abi::maps::{DENIALS, DENIALS_BYTES_ON_NODE, STAGE, STAGE_CAPACITY_ON_NODE, STAGES};

use crate::datapath::template::{Template, is_constant};
use crate::sys::bpf::{self, AttachType};
use crate::sys::page;
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
    room: Room,
}

/// How much there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// As much as the object says.
    OfObject,
    /// What one of hundreds gets: see the constants of the ABI.
    OneOfMany,
}

impl Room {
    /// How many entries or bytes a map gets, where that is not the object's to say.
    fn of(self, name: &str) -> Option<u32> {
        let room = match (self, name) {
            (Self::OneOfMany, STAGE) => STAGE_CAPACITY_ON_NODE,
            (Self::OneOfMany, DENIALS) => DENIALS_BYTES_ON_NODE.max(page::size()),
            _ => return None,
        };
        u32::try_from(room).ok()
    }
}

impl Maps {
    pub(super) fn at(paths: BTreeMap<String, PathBuf>) -> Self {
        Self { paths, room: Room::OfObject }
    }

    /// The same for one workload of many.
    pub(super) fn of_many(self) -> Self {
        Self { room: Room::OneOfMany, ..self }
    }

    /// Whether a map is pinned already that is not shared with others.
    fn hold_any(&self, shared: &str) -> bool {
        self.paths.iter().any(|(name, path)| name != shared && path.exists())
    }

    /// Opens one. Whoever needs it seldom opens it each time: a descriptor less to hold.
    pub(super) fn open(&self, name: &str) -> Result<Map> {
        let path = self.path(name)?;
        let data = MapData::from_pin(path).with_context(|| format!("open {}", path.display()))?;
        Map::from_map_data(data).with_context(|| format!("open the map {name}"))
    }

    /// Where one is pinned.
    pub(super) fn path(&self, name: &str) -> Result<&Path> {
        let path = self.paths.get(name).ok_or_else(|| anyhow!("expected a place for the map {name}"))?;
        Ok(path)
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
                        let map = make(name, definition.clone(), places.room, &template)?;
                        map.pin(path).with_context(|| format!("pin the map {name}"))?;
                        map
                    }
                }),
            };
            maps.push(map);
        }
        Ok(Self { template, maps, programs: Vec::new(), found })
    }

    /// Loads everything that a workload of a node needs, for one that is still to come: that is most of what its start costs.
    /// Nothing is pinned, and the map that all of them share is the one that is.
    pub(super) fn ahead((shared, path): (&str, &Path)) -> Result<Self> {
        let template = Template::of_this_process()?;
        let maps = template
            .maps()
            .map(|(name, definition)| match name {
                STAGES => Ok(None),
                name if name == shared => {
                    MapData::from_pin(path).map(Some).with_context(|| format!("open {}", path.display()))
                }
                _ => make(name, definition.clone(), Room::OneOfMany, &template).map(Some),
            })
            .collect::<Result<_>>()?;
        let mut object = Self { template, maps, programs: Vec::new(), found: Found::NotAll };
        // Nobody has a foreign proxy there.
        for program in PROGRAMS.into_iter().filter(|program| program.hook != AttachType::Getsockopt) {
            object.program(program)?;
        }
        Ok(object)
    }

    /// Makes what was loaded ahead that of a workload, by pinning its maps. Hands it back as a whole where the workload has
    /// some already, or shares another map than was thought.
    pub(super) fn settle(self, places: &Maps, shared: &str) -> Result<Result<Self, Self>> {
        let pinned = MapData::from_pin(places.path(shared)?).context("open a map that workloads share")?;
        let pinned = pinned.info().context("ask the kernel about a map that workloads share")?.id();
        if places.hold_any(shared) || self.map_id(shared)? != pinned {
            return Ok(Err(self));
        }
        for ((name, _), map) in self.template.maps().zip(&self.maps) {
            if let (Some(map), Some(path)) = (map, places.paths.get(name).filter(|_| name != shared)) {
                map.pin(path).with_context(|| format!("pin the map {name}"))?;
            }
        }
        Ok(Ok(self))
    }

    /// Makes every map anew and pins none.
    fn unpinned() -> Result<Self> {
        let template = Template::of_this_process()?;
        let maps = template
            .maps()
            .map(|(name, definition)| make(name, definition.clone(), Room::OfObject, &template).map(Some))
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
fn make(name: &str, mut definition: aya_obj::Map, room: Room, template: &Template) -> Result<MapData> {
    if let Some(room) = room.of(name) {
        definition.set_max_entries(room);
    }
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
