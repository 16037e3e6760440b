//! The embedded BPF object: loading it over a workload's pins, and handing out its maps and programs.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use aya::maps::{Map, MapData};
use aya::programs::Program as AyaProgram;
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use aya_log::EbpfLogger;

use crate::sys::bpf::AttachType;
use crate::sys::ready::watched;

/// The object that `cargo xtask build-ebpf` built, with BTF.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sidestep.bpf.o"));

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

/// The object in the kernel.
pub(super) struct Object {
    ebpf: Ebpf,
}

impl Object {
    /// Loads maps and programs. Of the maps that have a path, those that are pinned there are taken, the others made and
    /// pinned.
    pub(super) fn load(
        paths: impl IntoIterator<Item = (&'static str, PathBuf)>,
        programs: &[Program],
    ) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        for (name, path) in paths {
            loader.map_pin_path(name, path);
        }
        let mut ebpf = loader.load(OBJECT).context("load the BPF object")?;
        for Program { name, .. } in programs {
            load_program(&mut ebpf, name)?;
        }
        Ok(Self { ebpf })
    }

    /// Hands on what the programs log, if the object was built with their log lines (`cargo xtask build-ebpf --trace`).
    pub(super) fn trace(&mut self) -> Result<impl Future<Output = ()> + Send + use<>> {
        let mut logger = match self.ebpf.map("AYA_LOGS") {
            Some(_) => {
                let logger = EbpfLogger::init(&mut self.ebpf).context("read the log of the programs")?;
                Some(watched(logger)?)
            }
            None => None,
        };
        Ok(async move {
            let Some(logger) = &mut logger else { return };
            while let Ok(mut ready) = logger.readable_mut().await {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        })
    }

    /// Takes a map out of the object.
    pub(super) fn map(&mut self, name: &'static str) -> Result<Map> {
        self.ebpf.take_map(name).ok_or_else(|| anyhow!("expected the map {name} in the object, once"))
    }

    /// A loaded program as a descriptor.
    pub(super) fn program(&self, program: Program) -> Result<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        let loaded = self.ebpf.program(program.name).with_context(|| missing(program.name))?;
        let fd = match loaded {
            AyaProgram::CgroupSock(program) => program.fd(),
            AyaProgram::CgroupSockAddr(program) => program.fd(),
            AyaProgram::CgroupSockopt(program) => program.fd(),
            AyaProgram::SockOps(program) => program.fd(),
            AyaProgram::SkLookup(program) => program.fd(),
            _ => return Err(anyhow!(missing(program.name))),
        };
        Ok(fd.with_context(|| missing(program.name))?.as_fd())
    }
}

fn missing(name: &str) -> String {
    format!("expected the program {name} in the object, loaded")
}

fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let loaded = match ebpf.program_mut(name).with_context(|| missing(name))? {
        AyaProgram::CgroupSock(program) => program.load(),
        AyaProgram::CgroupSockAddr(program) => program.load(),
        AyaProgram::CgroupSockopt(program) => program.load(),
        AyaProgram::SockOps(program) => program.load(),
        AyaProgram::SkLookup(program) => program.load(),
        _ => return Err(anyhow!(missing(name))),
    };
    loaded.with_context(|| format!("load the program {name}: the kernel's verifier refused it"))
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
    let mut ebpf = EbpfLoader::new().load(OBJECT).context("load the BPF object")?;
    PROGRAMS
        .iter()
        .map(|&Program { name, .. }| {
            let verified_instructions =
                load_program(&mut ebpf, name).map_err(|error| gist(&format!("{error:#}")));
            let verified_instructions = match verified_instructions {
                // Not every kernel tells (Linux 5.16).
                Ok(()) => Ok(ebpf
                    .program(name)
                    .with_context(|| missing(name))?
                    .info()?
                    .verified_instruction_count()
                    .unwrap_or_default()),
                Err(refusal) => Err(refusal),
            };
            Ok(Insight { name, verified_instructions })
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

/// Takes a map of the object as one of aya's typed maps.
pub(super) fn typed<T>(object: &mut Object, name: &'static str) -> Result<T>
where
    T: TryFrom<Map, Error = aya::maps::MapError>,
{
    T::try_from(object.map(name)?).with_context(|| format!("open the map {name}"))
}

/// Marks that maps here are owned, not borrowed.
pub(super) type Owned = MapData;
