//! What the programs know of their workload: settings, rules, own addresses, listeners.
//!
//! Everything is read through the active generation, so that a change by userspace is seen whole or not at all.

use core::ffi::c_void;

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use aya_ebpf::helpers::generated::{bpf_map_lookup_elem, bpf_sk_release};
use sidestep_abi::address::{Address, is_v4};
use sidestep_abi::maps::{INBOUND_PORT_WORDS, ListenerSlot};
use sidestep_abi::rules::{self, NO_PORT_TABLE, PORT_RANGES, PortTableKey, RuleKey, SET_BITS};
use sidestep_abi::settings::{OnFailure, Settings};
use sidestep_abi::verdict::{Direction, REASONS, Reason, Verdict};

use crate::maps::{
    ACTIVE, INBOUND_PORTS, LISTENERS, OWN_ADDRESSES, PORT_TABLES, REFUSED_PORTS, RULES, SETTINGS,
};

/// The active generation of the workload's settings.
pub(crate) struct Workload {
    generation: u32,
    pub(crate) settings: &'static Settings,
}

impl Workload {
    /// Reads the active generation; `None` until userspace has written one.
    #[inline(always)]
    pub(crate) fn read() -> Option<Self> {
        let generation = *ACTIVE.get(0)? & 1;
        let settings = SETTINGS.get(generation)?;
        (settings.settled == 1).then_some(Self { generation, settings })
    }

    /// Whether the calling task is the instance itself.
    #[inline(always)]
    pub(crate) fn is_instance(&self) -> bool {
        // SAFETY: takes nothing, returns a number.
        self.settings.instance_cgroup != 0
            && self.settings.instance_cgroup == unsafe { bpf_get_current_cgroup_id() }
    }

    /// What the rules of a direction say of the other side's address and the destination's port; `None` where no prefix
    /// contains the address.
    #[inline(always)]
    pub(crate) fn rule(
        &self,
        direction: Direction,
        address: &Address,
        port: u16,
    ) -> Option<(Verdict, Reason)> {
        let set = rules::set(self.generation, direction);
        let rule = RULES.get(&Key::new(SET_BITS + 128, RuleKey { set, address: *address }))?;
        Some(if rule.port_table == NO_PORT_TABLE {
            (verdict_of(rule.verdict), reason_of(rule.reason))
        } else {
            Self::of_port(PortTableKey { set, table: rule.port_table }, port)
        })
    }

    /// What holds for destinations that no rule names.
    #[inline(always)]
    pub(crate) fn default_verdict(&self) -> Verdict {
        verdict_of(self.settings.default_verdict)
    }

    /// What a table of port ranges says of a port.
    #[inline(always)]
    fn of_port(key: PortTableKey, port: u16) -> (Verdict, Reason) {
        // SAFETY: userspace never changes a table of the active generation; the entry outlives this program
        // run because hash entries are freed after a grace period.
        let Some(table) = (unsafe { PORT_TABLES.get(key) }) else {
            return (Verdict::Deny, Reason::BrokenRule);
        };
        let mut index = 0;
        while index < PORT_RANGES {
            let range = &table.ranges[index];
            if range.first <= port && port <= range.last {
                return (verdict_of(range.verdict), reason_of(range.reason));
            }
            index += 1;
        }
        (Verdict::Deny, Reason::BrokenRule)
    }

    /// Whether inbound connections to `port` are captured.
    #[inline(always)]
    pub(crate) fn captures_inbound(&self, port: u16) -> bool {
        INBOUND_PORTS.get(self.word_of(port)).is_some_and(|ports| ports & (1 << (port & 63)) != 0)
    }

    /// Whether `port`, which is captured, takes no plain text from anybody.
    #[inline(always)]
    pub(crate) fn refuses_plain_text(&self, port: u16) -> bool {
        REFUSED_PORTS.get(self.word_of(port)).is_none_or(|ports| ports & (1 << (port & 63)) != 0)
    }

    /// Where the bit of a port lies in the maps of inbound ports.
    #[inline(always)]
    fn word_of(&self, port: u16) -> u32 {
        self.generation * INBOUND_PORT_WORDS + u32::from(port >> 6)
    }

    /// What holds while no listener stands.
    #[inline(always)]
    pub(crate) fn without_instance(&self) -> (Verdict, Reason) {
        if self.settings.on_failure == OnFailure::Open as u8 {
            (Verdict::Direct, Reason::FailOpen)
        } else {
            (Verdict::Deny, Reason::NoInstance)
        }
    }
}

/// Whether the address belongs to the workload's namespace.
#[inline(always)]
pub(crate) fn is_own(address: &Address) -> bool {
    OWN_ADDRESSES.get_ptr(address).is_some()
}

/// Whether the address is loopback: 127.0.0.0/8, `::1`, or the unspecified address, which `connect()` takes for it.
#[inline(always)]
pub(crate) fn is_loopback(address: &Address) -> bool {
    if is_v4(address) {
        return u32::from_be(address[3]) >> 24 == 127 || address[3] == 0;
    }
    address[0] == 0 && address[1] == 0 && address[2] == 0 && (address[3] == 1_u32.to_be() || address[3] == 0)
}

/// Whether the address is IPv6 link-local, fe80::/10.
#[inline(always)]
pub(crate) fn is_link_local(address: &Address) -> bool {
    u32::from_be(address[0]) >> 22 == 0xfe80 >> 6
}

/// Whether a listener stands in the slot. A closed listener leaves its slot by itself.
#[inline(always)]
pub(crate) fn listener_stands(slot: u32) -> bool {
    let map = core::ptr::from_ref(&LISTENERS).cast_mut().cast::<c_void>();
    // SAFETY: the map and the key live as long as the call.
    let socket = unsafe { bpf_map_lookup_elem(map, core::ptr::from_ref(&slot).cast()) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the look-up took a reference on the socket, and this is the only release of it.
    unsafe { bpf_sk_release(socket) };
    true
}

/// The slot of the listener for one IPv6 port.
#[inline(always)]
pub(crate) fn outbound6_slot(port_index: u32) -> u32 {
    ListenerSlot::Outbound6 as u32 + port_index
}

/// A number from map memory as a verdict; what is no verdict denies.
///
/// Left a number as long as possible, here and in [`reason_of`]: where each value has a branch of its own, the verifier walks
/// everything behind it once for each, which was most of the time that a workload took to start.
#[inline(always)]
fn verdict_of(number: u8) -> Verdict {
    if number > Verdict::Deny as u8 {
        return Verdict::Deny;
    }
    // SAFETY: the verdicts are numbered from 0 to that of Deny without a gap.
    unsafe { core::mem::transmute::<u8, Verdict>(number) }
}

/// A number from map memory as a reason; what is none is taken for a rule.
#[inline(always)]
fn reason_of(number: u8) -> Reason {
    if usize::from(number) >= REASONS {
        return Reason::Rule;
    }
    // SAFETY: the reasons are numbered from 0 without a gap.
    unsafe { core::mem::transmute::<u8, Reason>(number) }
}
