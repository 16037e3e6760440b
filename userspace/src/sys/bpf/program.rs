//! The part of `bpf(2)` that loads: type information, programs over an array of map descriptors, maps of maps, and the one value
//! of a map that is a section of an object file.
//!
//! With the maps beside the instructions instead of in them (`fd_array`, Linux 5.14), one linked program serves every workload.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::bpf::{ObjectInfo, bpf, number, owned};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_BTF_LOAD: libc::c_int = 18;
const BPF_MAP_FREEZE: libc::c_int = 22;

/// Room for the verifier's words: the longest log of a program of ours is a tenth of it.
const LOG_BYTES: usize = 16 << 20;
/// Bytes of `struct bpf_func_info`.
const FUNCTION_BYTES: usize = 8;
/// Characters of a program's name in the kernel, the last one zero.
const NAME_LENGTH: usize = 16;

/// A program as the kernel takes it (`enum bpf_prog_type` and the like are numbers of include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// `enum bpf_prog_type`.
    pub kind: u32,
    /// `enum bpf_attach_type` that it is verified for; 0 where its kind has but one.
    pub attach_type: u32,
    /// Its name; the kernel keeps fifteen characters.
    pub name: &'a str,
    /// Its license.
    pub license: &'a CStr,
    /// Its instructions (`struct bpf_insn`), eight bytes each.
    pub instructions: &'a [u64],
    /// `struct bpf_func_info` of its functions, and the type information that they refer to.
    pub functions: Option<(&'a [u8], BorrowedFd<'a>)>,
    /// What the instructions refer to by index; those that they do not refer to may be -1.
    pub maps: &'a [i32],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ProgramLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_LENGTH],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: u32,
    core_relo_cnt: u32,
    fd_array: u64,
}

#[repr(C)]
#[derive(Default)]
struct BtfLoad {
    btf: u64,
    btf_log_buf: u64,
    btf_size: u32,
    btf_log_size: u32,
    btf_log_level: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; NAME_LENGTH],
}

/// `struct bpf_prog_info`, of which two numbers are read.
#[repr(C)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    between: [u64; 26],
    verified_instructions: u32,
    attach_btf_object: u32,
    attach_btf_id: u32,
    padding: u32,
}

const _: () = assert!(size_of::<ProgramLoad>() == 128);
const _: () = assert!(std::mem::offset_of!(ProgramLoad, fd_array) == 120);
const _: () = assert!(std::mem::offset_of!(ProgramInfo, verified_instructions) == 216);

/// Loads type information.
///
/// # Errors
/// Those of `BPF_BTF_LOAD`.
pub fn btf_load(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes =
        BtfLoad { btf: btf.as_ptr() as u64, btf_size: btf.len() as u32, ..BtfLoad::default() };
    bpf(BPF_BTF_LOAD, &mut attributes).map(owned)
}

/// A map whose values are maps.
#[derive(Clone, Copy, Debug)]
pub struct Outer<'a> {
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Its name; the kernel keeps fifteen characters.
    pub name: &'a str,
    /// Bytes of a key.
    pub key_size: u32,
    /// Most maps in it.
    pub max_entries: u32,
    /// `BPF_F_…`.
    pub flags: u32,
    /// One of the kind of maps that it may hold.
    pub example: BorrowedFd<'a>,
}

/// Makes a map whose values are maps.
///
/// # Errors
/// Those of `BPF_MAP_CREATE`.
pub fn outer_create(outer: &Outer<'_>) -> io::Result<OwnedFd> {
    let mut attributes = MapCreate {
        map_type: outer.kind,
        key_size: outer.key_size,
        // A descriptor when it is written, an id when it is read.
        value_size: size_of::<u32>() as u32,
        max_entries: outer.max_entries,
        map_flags: outer.flags,
        inner_map_fd: number(&outer.example),
        map_name: name_of(outer.name),
        ..MapCreate::default()
    };
    bpf(BPF_MAP_CREATE, &mut attributes).map(owned)
}

/// A name as the kernel keeps it: with a zero behind.
fn name_of(name: &str) -> [u8; NAME_LENGTH] {
    let mut kept = [0; NAME_LENGTH];
    for (to, from) in kept.iter_mut().zip(name.bytes().take(NAME_LENGTH - 1)) {
        *to = from;
    }
    kept
}

/// Loads a program.
///
/// # Errors
/// The kernel's, with the verifier's words if it has any.
pub fn program_load(program: &Load<'_>) -> Result<OwnedFd, (io::Error, String)> {
    let mut attributes = ProgramLoad {
        prog_type: program.kind,
        insn_cnt: program.instructions.len() as u32,
        insns: program.instructions.as_ptr() as u64,
        license: program.license.as_ptr() as u64,
        prog_name: name_of(program.name),
        expected_attach_type: program.attach_type,
        prog_btf_fd: program.functions.map_or(0, |(_, btf)| number(&btf)),
        func_info_rec_size: program.functions.map_or(0, |_| FUNCTION_BYTES as u32),
        func_info: program.functions.map_or(0, |(functions, _)| functions.as_ptr() as u64),
        func_info_cnt: program
            .functions
            .map_or(0, |(functions, _)| (functions.len() / FUNCTION_BYTES) as u32),
        fd_array: program.maps.as_ptr() as u64,
        ..ProgramLoad::default()
    };
    match bpf(BPF_PROG_LOAD, &mut attributes) {
        Ok(loaded) => Ok(owned(loaded)),
        Err(error) => Err((error, words_about(attributes))),
    }
}

/// What the verifier says of a program that it refuses: asked again, since writing it down takes it several times as long.
fn words_about(mut attributes: ProgramLoad) -> String {
    let mut log = vec![0_u8; LOG_BYTES];
    attributes.log_level = 1;
    attributes.log_size = log.len() as u32;
    attributes.log_buf = log.as_mut_ptr() as u64;
    let _refused_again = bpf(BPF_PROG_LOAD, &mut attributes).map(owned);
    CStr::from_bytes_until_nul(&log).map(|log| log.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The kernel's id of a program, and how many instructions its verifier walked (0 where the kernel does not tell).
///
/// # Errors
/// Those of `BPF_OBJ_GET_INFO_BY_FD`.
pub fn program_numbers(program: impl AsFd) -> io::Result<(u32, u32)> {
    let mut found = ProgramInfo {
        kind: 0,
        id: 0,
        between: [0; 26],
        verified_instructions: 0,
        attach_btf_object: 0,
        attach_btf_id: 0,
        padding: 0,
    };
    let mut attributes = ObjectInfo {
        bpf_fd: number(&program),
        info_len: size_of::<ProgramInfo>() as u32,
        info: std::ptr::from_mut(&mut found) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok((found.id, found.verified_instructions))
}

/// Writes the only value of a map that is a section of an object, and lets nobody change it any more if asked to.
///
/// # Errors
/// Those of `BPF_MAP_UPDATE_ELEM` and `BPF_MAP_FREEZE`.
pub fn fill(map: impl AsFd, value: &[u8], constant: bool) -> io::Result<()> {
    let map = map.as_fd();
    let key = 0_u32;
    let mut attributes = Element {
        map_fd: number(&map),
        key: std::ptr::from_ref(&key) as u64,
        value: value.as_ptr() as u64,
        ..Element::default()
    };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attributes)?;
    if constant {
        bpf(BPF_MAP_FREEZE, &mut number(&map))?;
    }
    Ok(())
}
