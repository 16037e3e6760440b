//! The embedded BPF object, read and linked once per process however many workloads it is loaded for.
//!
//! What is kept is little: the definitions of the maps, and the instructions of each program with its maps by index. It holds no
//! map and no program in the kernel, only the type information that both refer to.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use aya::include_bytes_aligned;
use aya_obj::generated::{bpf_insn, bpf_map_type};
use aya_obj::{EbpfSectionKind, Object as Parsed};

use crate::datapath::object::{NODE_HANDOFF, PROGRAMS, Program};
use crate::sys::bpf;

/// The object that `cargo xtask build-ebpf` built, with BTF.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sidestep.bpf.o"));
/// The one of this process.
static TEMPLATE: Mutex<Option<Arc<Template>>> = Mutex::new(None);

/// Numbers of include/uapi/linux/bpf.h: an instruction that loads a map, and how it names the map.
const LOAD_WIDE: u8 = 0x18;
const MAP_BY_DESCRIPTOR: u8 = 1;
const MAP_VALUE_BY_DESCRIPTOR: u8 = 2;
const MAP_BY_INDEX: u8 = 5;
const MAP_VALUE_BY_INDEX: u8 = 6;

/// The object, ready to be loaded.
pub(super) struct Template {
    /// Digest of the object file.
    pub(super) digest: u64,
    maps: BTreeMap<String, aya_obj::Map>,
    programs: Vec<Linked>,
    license: CString,
    /// Absent on a kernel that knows no type information.
    types: Option<OwnedFd>,
}

/// The instructions of a program.
struct Linked {
    program: Program,
    instructions: Vec<u64>,
    /// `struct bpf_func_info`, one after the other.
    functions: Vec<u8>,
}

impl Template {
    /// Reads the object, unless this process has.
    pub(super) fn of_this_process() -> Result<Arc<Self>> {
        let mut template = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = &*template {
            return Ok(Arc::clone(template));
        }
        let read = Arc::new(Self::read().context("read the BPF object")?);
        *template = Some(Arc::clone(&read));
        Ok(read)
    }

    fn read() -> Result<Self> {
        let mut parsed = Parsed::parse(OBJECT)?;
        let features = aya::features();
        let types = match features.btf() {
            Some(features) => parsed
                .fixup_and_sanitize_btf(features)?
                .map(|types| bpf::btf_load(&types.to_bytes()))
                .transpose()
                .context("load the type information")?,
            None => None,
        };
        let mut maps: BTreeMap<String, aya_obj::Map> = parsed.maps.drain().collect();
        for map in maps.values_mut().filter(|map| map.map_type() == bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32)
        {
            map.set_value_size(0);
        }
        let text = parsed.functions.keys().map(|(section, _)| *section).collect();
        let by_index = (0..).zip(&maps).map(|(index, (name, map))| (name.as_str(), index, map));
        parsed.relocate_maps(by_index, &text)?;
        parsed.relocate_calls(&text)?;
        parsed.sanitize_functions(features);
        let programs = PROGRAMS
            .iter()
            .chain([&NODE_HANDOFF])
            .map(|&program| {
                let found = parsed
                    .programs
                    .get(program.name)
                    .and_then(|found| parsed.functions.get(&found.function_key()))
                    .ok_or_else(|| anyhow!("expected the program {} in the object", program.name))?;
                let instructions = found.instructions.iter().copied().map(by_map_index).collect();
                Ok(Linked { program, instructions, functions: found.func_info.func_info_bytes() })
            })
            .collect::<Result<_>>()?;
        let mut digest = DefaultHasher::new();
        OBJECT.hash(&mut digest);
        // 0 says that there is none.
        Ok(Self { digest: digest.finish().max(1), maps, programs, license: parsed.license, types })
    }

    /// The maps of the object, in the order of their index.
    pub(super) fn maps(&self) -> impl Iterator<Item = (&str, &aya_obj::Map)> {
        self.maps.iter().map(|(name, map)| (name.as_str(), map))
    }

    /// The definition of a map.
    pub(super) fn map(&self, name: &str) -> Result<&aya_obj::Map> {
        self.maps.get(name).ok_or_else(|| anyhow!("expected the map {name} in the object"))
    }

    /// What maps and programs name their types by.
    pub(super) fn types(&self) -> Option<BorrowedFd<'_>> {
        self.types.as_ref().map(AsFd::as_fd)
    }

    /// Brings a program into the kernel over maps that are open, by index.
    pub(super) fn load(&self, program: Program, maps: &[i32]) -> Result<OwnedFd> {
        let linked = self
            .programs
            .iter()
            .find(|linked| linked.program == program)
            .ok_or_else(|| anyhow!("expected the program {} in the object", program.name))?;
        let load = bpf::Load {
            kind: program.hook.program_type(),
            attach_type: program.hook.verified_for(),
            name: program.name,
            license: &self.license,
            instructions: &linked.instructions,
            functions: self.types().map(|types| (linked.functions.as_slice(), types)),
            maps,
        };
        bpf::program_load(&load).map_err(|(error, words)| {
            anyhow!("{words}{error}")
                .context(format!("load the program {}: the kernel's verifier refused it", program.name))
        })
    }
}

/// Whether the only value of a map is a section of the object that programs may not change.
pub(super) fn is_constant(map: &aya_obj::Map) -> bool {
    map.section_kind() == EbpfSectionKind::Rodata
}

/// An instruction as the kernel reads it, with the map that it loads named by index instead of by descriptor.
fn by_map_index(instruction: bpf_insn) -> u64 {
    let source = match instruction.src_reg() {
        MAP_BY_DESCRIPTOR if instruction.code == LOAD_WIDE => MAP_BY_INDEX,
        MAP_VALUE_BY_DESCRIPTOR if instruction.code == LOAD_WIDE => MAP_VALUE_BY_INDEX,
        register => register,
    };
    let offset = instruction.off.to_le_bytes();
    let immediate = instruction.imm.to_le_bytes();
    let registers = instruction.dst_reg() | source << 4;
    u64::from_le_bytes([
        instruction.code,
        registers,
        offset[0],
        offset[1],
        immediate[0],
        immediate[1],
        immediate[2],
        immediate[3],
    ])
}
