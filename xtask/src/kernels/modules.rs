//! Which module files a kernel needs for the features we name, in the order in which they load.
//!
//! It reads depmod's modules.dep and modules.builtin; it loads nothing.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What the kernel ring asks of a kernel: virtual networks, netfilter for the iptables capture in both of its
/// dialects, socket diagnostics, and kTLS.
pub(super) const WANTED: [&str; 41] = [
    // The checksum that libcrc32c, and with it all of netfilter, looks up by name without depending on it.
    "crc32c_generic",
    "bridge",
    "dummy",
    "inet_diag",
    "ip6_tables",
    "ip6table_filter",
    "ip6table_mangle",
    "ip6table_nat",
    "ip6table_raw",
    "ip_tables",
    "iptable_filter",
    "iptable_mangle",
    "iptable_nat",
    "iptable_raw",
    "ip6t_REJECT",
    "ipt_REJECT",
    "mptcp_diag",
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_chain_nat",
    "nft_compat",
    "nft_ct",
    "nft_nat",
    "nft_redir",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "sch_netem",
    "tcp_diag",
    "tls",
    "udp_diag",
    "veth",
    "xt_REDIRECT",
    "xt_addrtype",
    "xt_cgroup",
    "xt_comment",
    "xt_conntrack",
    "xt_mark",
    "xt_multiport",
    "xt_owner",
    "xt_tcpudp",
];

/// The modules of one kernel and what each needs first.
#[derive(Debug, Default)]
pub(super) struct Modules {
    /// File → the files it needs, by module name.
    loadable: HashMap<String, Module>,
    builtin: HashSet<String>,
}

#[derive(Debug)]
struct Module {
    file: String,
    /// Module names, nearest dependency first, as depmod writes them.
    needs: Vec<String>,
}

/// The outcome of asking for modules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Files relative to the kernel's module directory, each after everything it needs.
    pub(super) files: Vec<String>,
    /// Names that this kernel has neither as a module nor built in.
    pub(super) unknown: Vec<String>,
}

impl Modules {
    /// Reads the index in a kernel's module directory.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        Ok(Self::parse(&read("modules.dep")?, &read("modules.builtin")?))
    }

    fn parse(dependencies: &str, builtin: &str) -> Self {
        let loadable = dependencies.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            let needs = needs.split_whitespace().map(module_name).collect();
            Some((module_name(file), Module { file: file.to_owned(), needs }))
        });
        Self { loadable: loadable.collect(), builtin: builtin.lines().map(module_name).collect() }
    }

    /// The files that give a kernel the features `names`.
    pub(super) fn select(&self, names: &[&str]) -> Selection {
        let mut selection = Selection::default();
        let mut seen = HashSet::new();
        for name in names {
            self.visit(&module_name(name), &mut seen, &mut selection);
        }
        selection
    }

    /// Depth first, so that what a module needs comes before it. A cycle, which depmod rules out, would end too.
    fn visit(&self, name: &str, seen: &mut HashSet<String>, selection: &mut Selection) {
        if !seen.insert(name.to_owned()) || self.builtin.contains(name) {
            return;
        }
        let Some(module) = self.loadable.get(name) else {
            selection.unknown.push(name.to_owned());
            return;
        };
        for needed in &module.needs {
            self.visit(needed, seen, selection);
        }
        selection.files.push(module.file.clone());
    }
}

/// The name of the module in a file: dashes and underscores are the same to the kernel.
fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split(".ko").next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/net/nf_nat.ko: kernel/net/nf_conntrack.ko kernel/lib/libcrc32c.ko
kernel/net/nf_conntrack.ko: kernel/lib/libcrc32c.ko
kernel/lib/libcrc32c.ko:
kernel/net/xt_REDIRECT.ko.xz: kernel/net/x_tables.ko kernel/net/nf_nat.ko kernel/net/nf_conntrack.ko
kernel/net/x_tables.ko:
kernel/drivers/net/veth.ko:
";

    fn select(names: &[&str]) -> Selection {
        Modules::parse(DEPENDENCIES, "kernel/net/unix/af-packet.ko\n").select(names)
    }

    #[test]
    fn a_module_comes_after_everything_it_needs() {
        let files = select(&["xt_REDIRECT", "veth"]).files;
        let place = |name: &str| files.iter().position(|file| file.contains(name)).unwrap();
        assert_eq!(files.len(), 6);
        assert!(place("libcrc32c") < place("nf_conntrack"));
        assert!(place("nf_conntrack") < place("nf_nat"));
        assert!(place("nf_nat") < place("xt_REDIRECT") && place("x_tables") < place("xt_REDIRECT"));
    }

    #[test]
    fn a_module_asked_for_twice_loads_once() {
        assert_eq!(select(&["veth", "veth"]).files, ["kernel/drivers/net/veth.ko"]);
    }

    #[test]
    fn what_is_built_in_needs_no_file() {
        assert_eq!(select(&["af_packet"]), Selection::default());
    }

    #[test]
    fn what_a_kernel_lacks_is_named() {
        assert_eq!(select(&["xt_cgroup"]).unknown, ["xt_cgroup"]);
    }
}
