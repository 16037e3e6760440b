//! Every map of the object. Their names and sizes are those of [`sidestep_abi::maps`]; what their keys and values
//! mean stands with their types there.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{Array, HashMap, HashOfMaps, LpmTrie, PerCpuArray, RingBuf, SkStorage, SockMap};
use aya_ebpf::macros::btf_map;
use sidestep_abi::address::Address;
use sidestep_abi::event::Denial;
use sidestep_abi::handoff::{Handoff, StageKey};
use sidestep_abi::maps::{
    DENIALS_BYTES, INBOUND_PORT_WORDS, LISTENERS_CAPACITY, OWN_ADDRESSES_CAPACITY, PORT_TABLES_CAPACITY,
    RULES_CAPACITY, STAGE_CAPACITY, STAGES_CAPACITY,
};
use sidestep_abi::rules::{PortTable, PortTableKey, RuleKey, RuleValue, SETS};
use sidestep_abi::settings::{Origin, Owner, Settings};
use sidestep_abi::verdict;

/// Entries are allocated when they are used: most workloads fill a small part of a map.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;
/// Generations that lie side by side in a map.
const GENERATIONS: usize = 2;

#[btf_map]
pub(crate) static ACTIVE: Array<u32, 1> = Array::new();

#[btf_map]
pub(crate) static SETTINGS: Array<Settings, GENERATIONS> = Array::new();

/// Only userspace reads it; it lies here so that it is created, pinned and adopted with the rest.
#[btf_map]
pub(crate) static OWNERS: Array<Owner, 1> = Array::new();

/// Only userspace reads it.
#[btf_map]
pub(crate) static ORIGIN: Array<Origin, 1> = Array::new();

#[btf_map]
pub(crate) static RULES: LpmTrie<RuleKey, RuleValue, { SETS * RULES_CAPACITY }> = LpmTrie::new();

#[btf_map]
pub(crate) static PORT_TABLES: HashMap<PortTableKey, PortTable, { SETS * PORT_TABLES_CAPACITY }, ON_DEMAND> =
    HashMap::new();

#[btf_map]
pub(crate) static OWN_ADDRESSES: HashMap<Address, u32, OWN_ADDRESSES_CAPACITY, ON_DEMAND> = HashMap::new();

#[btf_map]
pub(crate) static INBOUND_PORTS: Array<u64, { GENERATIONS * INBOUND_PORT_WORDS as usize }> = Array::new();

#[btf_map]
pub(crate) static REFUSED_PORTS: Array<u64, { GENERATIONS * INBOUND_PORT_WORDS as usize }> = Array::new();

#[btf_map]
pub(crate) static HANDOFFS: SkStorage<Handoff> = SkStorage::new();

/// The notes of connections on their way.
pub(crate) type Stage = HashMap<StageKey, Handoff, STAGE_CAPACITY, ON_DEMAND>;

#[btf_map]
pub(crate) static STAGE: Stage = HashMap::new();

#[btf_map]
pub(crate) static STAGES: HashOfMaps<u64, Stage, STAGES_CAPACITY, ON_DEMAND> = HashOfMaps::new();

#[btf_map]
pub(crate) static LISTENERS: SockMap<LISTENERS_CAPACITY> = SockMap::new();

#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<u64, { verdict::COUNTERS as usize }> = PerCpuArray::new();

#[btf_map]
pub(crate) static DENIALS: RingBuf<Denial, DENIALS_BYTES> = RingBuf::new();
