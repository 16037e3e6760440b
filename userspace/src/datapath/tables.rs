//! Settings, rules and ports in the kernel: written beside the active generation, then made valid with one write.

use std::collections::{HashMap as IdByTable, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, Map};
use ipnet::IpNet;
use sidestep_abi::address::{self, Address};
use sidestep_abi::maps::{
    ACTIVE, INBOUND_PORT_WORDS, INBOUND_PORTS, OWN_ADDRESSES, OWN_ADDRESSES_CAPACITY, PORT_TABLES,
    REFUSED_PORTS, RULES, SETTINGS,
};
use sidestep_abi::rules::{
    NO_PORT_TABLE, PORT_RANGES, PortRange, PortTable, PortTableKey, RuleKey, RuleValue, SET_BITS,
    generation_of, set,
};
use sidestep_abi::settings::Settings;

use crate::datapath::object::{Maps, Owned};
use crate::model::Direction;
use crate::policy::{Compiled, Decision, PortDecision, PortSpan};
use crate::sys::bpf;
use crate::sys::rcu::wait_for_running_programs;

/// Everything that becomes valid together.
pub struct Generation<'a> {
    /// The settings; `settled` and `default_verdict` are filled in here.
    pub settings: Settings,
    /// The outbound rules.
    pub rules: &'a Compiled,
    /// The inbound rules, by the caller's address and the port that it dialled. They can only deny: what they say else
    /// leaves the connection to the instance.
    pub callers: &'a Compiled,
    /// Which inbound ports are captured.
    pub captured_inbound: &'a [PortSpan],
    /// Which of them take no plain text from anybody.
    pub without_plain_text: &'a [PortSpan],
}

/// Most prefixes that may lie about until somebody tidies up.
const FEW: usize = 256;

/// What the settings of a generation say of it beside being valid ([`Settings::settled`] = 1): it is empty, and no program
/// looks at it.
const EMPTY: u8 = 0;
/// It is being written.
const UNFINISHED: u8 = 2;

/// The tables of one workload. They are written seldom, and open only meanwhile.
pub struct Tables {
    maps: Arc<Maps>,
    /// Whether this process has written a generation.
    published: bool,
}

/// The tables while they are open.
struct Open {
    active: Array<Owned, u32>,
    settings: Array<Owned, Settings>,
    rules: LpmTrie<Owned, RuleKey, RuleValue>,
    port_tables: HashMap<Owned, PortTableKey, PortTable>,
    inbound_ports: Map,
    refused_ports: Map,
}

impl Tables {
    pub(super) const fn new(maps: Arc<Maps>) -> Self {
        Self { maps, published: false }
    }

    /// Whether some process has made a generation valid before: this one adopts or takes over.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn is_settled(&self) -> Result<bool> {
        let active: Array<Owned, u32> = self.maps.typed(ACTIVE)?;
        let settings: Array<Owned, Settings> = self.maps.typed(SETTINGS)?;
        let active = active.get(&0, 0).context("read the active generation")? & 1;
        Ok(settings.get(&active, 0).context("read the settings")?.settled == 1)
    }

    /// Makes a generation valid. A connection is judged wholly by the old one or wholly by the new one. Takes about
    /// two microseconds per prefix, and a grace period of the kernel (some ten milliseconds) where a generation is replaced by
    /// the process that wrote it.
    ///
    /// # Errors
    /// If a map cannot be written; the old generation then stays valid.
    pub fn publish(&mut self, generation: &Generation<'_>) -> Result<()> {
        let mut open = Open::of(&self.maps)?;
        let before = open.active()?;
        let next = 1 - before;
        // A predecessor may have died while it wrote this generation, or have left it behind.
        open.empty(next)?;
        let unfinished = Settings { settled: UNFINISHED, ..generation.settings };
        open.settings.set(next, unfinished, 0).context("write the settings")?;
        open.write_rules(set(next, Direction::Outbound), generation.rules)?;
        open.write_rules(set(next, Direction::Inbound), generation.callers)?;
        write_ports(&open.inbound_ports, next, generation.captured_inbound)
            .context("write the captured inbound ports")?;
        write_ports(&open.refused_ports, next, generation.without_plain_text)
            .context("write the ports that take no plain text")?;
        let settings =
            Settings { default_verdict: generation.rules.default as u8, settled: 1, ..generation.settings };
        open.settings.set(next, settings, 0).context("write the settings")?;
        open.active.set(0, next, 0).context("make the new generation valid")?;
        // Who takes hundreds of workloads over does not wait for each: there is time for that when all are served.
        let first = !std::mem::replace(&mut self.published, true);
        let few = generation.rules.prefixes.len() + generation.callers.prefixes.len() <= FEW;
        if !(first && few) {
            open.tidy();
        }
        Ok(())
    }

    /// Removes the generation that is not valid any more, if it is still there. Takes a grace period of the kernel.
    ///
    /// # Errors
    /// If the tables cannot be opened.
    pub fn tidy(&mut self) -> Result<()> {
        Open::of(&self.maps)?.tidy();
        Ok(())
    }

    /// Replaces the addresses of the workload's namespace.
    pub(super) fn set_own_addresses(&mut self, addresses: &[IpAddr]) -> Result<()> {
        let wanted: HashSet<Address> = addresses.iter().copied().map(address::from_ip).collect();
        if wanted.len() > OWN_ADDRESSES_CAPACITY {
            bail!(
                "expected at most {OWN_ADDRESSES_CAPACITY} addresses in the network namespace, found {}: remove some, or \
                 give the prefix to lo as a local route, which needs no address",
                wanted.len()
            );
        }
        let mut own_addresses: HashMap<Owned, Address, u32> = self.maps.typed(OWN_ADDRESSES)?;
        let known: Vec<Address> = own_addresses.keys().collect::<Result<_, _>>()?;
        // First what makes room.
        for address in known.iter().filter(|address| !wanted.contains(*address)) {
            own_addresses.remove(address).context("remove an own address")?;
        }
        for address in &wanted {
            own_addresses.insert(address, 1, 0).context("write an own address")?;
        }
        Ok(())
    }
}

impl Open {
    fn of(maps: &Maps) -> Result<Self> {
        Ok(Self {
            active: maps.typed(ACTIVE)?,
            settings: maps.typed(SETTINGS)?,
            rules: maps.typed(RULES)?,
            port_tables: maps.typed(PORT_TABLES)?,
            inbound_ports: maps.open(INBOUND_PORTS)?,
            refused_ports: maps.open(REFUSED_PORTS)?,
        })
    }

    /// The generation that is valid.
    fn active(&self) -> Result<u32> {
        Ok(self.active.get(&0, 0).context("read the active generation")? & 1)
    }

    /// Empties a generation that is not valid, unless it is known to be empty.
    fn empty(&mut self, generation: u32) -> Result<()> {
        let settings = self.settings.get(&generation, 0).context("read the settings")?;
        if settings.settled == EMPTY {
            return Ok(());
        }
        wait_for_running_programs();
        self.clear(generation)?;
        self.settings
            .set(generation, Settings { settled: EMPTY, ..settings }, 0)
            .context("write the settings")
    }

    fn tidy(&mut self) {
        if let Err(error) = self.active().and_then(|active| self.empty(1 - active)) {
            // The new generation is valid all the same, and the next change clears again.
            tracing::warn!(error = format!("{error:#}"), "rules that hold no longer take up room");
        }
    }

    fn write_rules(&mut self, set: u32, rules: &Compiled) -> Result<()> {
        let mut ids = IdByTable::new();
        for prefix in &rules.prefixes {
            let value = match &prefix.decision {
                Decision::AllPorts(verdict, reason) => RuleValue {
                    verdict: *verdict as u8,
                    reason: *reason as u8,
                    padding: 0,
                    port_table: NO_PORT_TABLE,
                },
                Decision::ByPort(ports) => {
                    let table = self.port_table(set, ports, &mut ids)?;
                    RuleValue { verdict: 0, reason: 0, padding: 0, port_table: table }
                }
            };
            self.rules
                .insert(&rule_key(set, prefix.net), value, 0)
                .with_context(|| format!("write the rule of {}", prefix.net))?;
        }
        Ok(())
    }

    /// The number of a port table, written once however many prefixes share it.
    fn port_table(
        &mut self,
        set: u32,
        ports: &[PortDecision],
        ids: &mut IdByTable<PortTable, u32>,
    ) -> Result<u32> {
        let mut ranges = [PortRange::UNUSED; PORT_RANGES];
        for (range, decision) in ranges.iter_mut().zip(ports) {
            *range = PortRange {
                first: decision.ports.first,
                last: decision.ports.last,
                verdict: decision.verdict as u8,
                reason: decision.reason as u8,
                padding: 0,
            };
        }
        let table = PortTable { ranges };
        if let Some(id) = ids.get(&table) {
            return Ok(*id);
        }
        let id = NO_PORT_TABLE + 1 + ids.len() as u32;
        self.port_tables.insert(PortTableKey { set, table: id }, table, 0).context("write a port table")?;
        ids.insert(table, id);
        Ok(id)
    }

    /// Removes the rules of a generation that is not valid.
    fn clear(&mut self, generation: u32) -> Result<()> {
        let rules: Vec<Key<RuleKey>> = self
            .rules
            .keys()
            .filter(|key| key.as_ref().is_ok_and(|key| generation_of(key.data().set) == generation))
            .collect::<Result<_, _>>()
            .context("list the rules")?;
        for key in &rules {
            self.rules.remove(key).context("remove a rule")?;
        }
        let tables: Vec<PortTableKey> = self
            .port_tables
            .keys()
            .filter(|key| key.as_ref().is_ok_and(|key| generation_of(key.set) == generation))
            .collect::<Result<_, _>>()
            .context("list the port tables")?;
        for key in &tables {
            self.port_tables.remove(key).context("remove a port table")?;
        }
        Ok(())
    }
}

/// Writes one generation of a set of ports.
fn write_ports(map: &Map, generation: u32, ports: &[PortSpan]) -> Result<()> {
    let Map::Array(array) = map else { bail!("expected the ports in an array") };
    bpf::write_words(array.fd(), generation * INBOUND_PORT_WORDS, &words(ports))?;
    Ok(())
}

/// A bit for each port, the lowest port in the lowest bit of the first word.
fn words(ports: &[PortSpan]) -> Vec<u64> {
    let bits = |word: u32, span: &PortSpan| {
        let beginning = word * 64;
        let lowest = u32::from(span.first).saturating_sub(beginning);
        match u32::from(span.last).checked_sub(beginning) {
            Some(highest) if lowest < 64 => u64::MAX << lowest & u64::MAX >> (63 - highest.min(63)),
            _ => 0,
        }
    };
    let word = |word| ports.iter().fold(0, |all, span| all | bits(word, span));
    (0..INBOUND_PORT_WORDS).map(word).collect()
}

fn rule_key(set: u32, net: IpNet) -> Key<RuleKey> {
    let mapped_bits = match net {
        IpNet::V4(_) => 96,
        IpNet::V6(_) => 0,
    };
    let bits = SET_BITS + mapped_bits + u32::from(net.prefix_len());
    Key::new(bits, RuleKey { set, address: address::from_ip(net.network()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_ports_is_a_bit_for_each() {
        let spans = ["0-0", "5-63", "64", "128-300", "319", "320", "65535"];
        let spans: Vec<PortSpan> = spans.iter().map(|span| span.parse().expect("a span")).collect();
        let words = words(&spans);
        for port in 0..=u16::MAX {
            let bit = words[usize::from(port) / 64] >> (port % 64) & 1 == 1;
            assert_eq!(bit, spans.iter().any(|span| span.contains(port)), "{port}");
        }
    }
}
