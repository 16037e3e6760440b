//! What kernel this is and what this process may do with it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A kernel version, major and minor: what features are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 6 of 6.1.
    pub major: u32,
    /// 1 of 6.1.
    pub minor: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// The version of the running kernel.
///
/// # Errors
/// If /proc is not mounted, or says something else.
pub fn version() -> Result<Version> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's version below /proc")?;
    parse_release(&release)
        .with_context(|| format!("expected a kernel release like 6.1.0, found {release:?}"))
}

fn parse_release(release: &str) -> Option<Version> {
    let mut numbers = release.trim().split(|character: char| !character.is_ascii_digit());
    Some(Version { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
}

/// A capability, by its number (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Attach to cgroups and namespaces, bind to devices.
    NetAdmin = 12,
    /// Mount the BPF file system, enter namespaces.
    SysAdmin = 21,
    /// Load programs, make maps.
    Bpf = 39,
}

impl Capability {
    /// Its name in manifests, without `CAP_`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "NET_ADMIN",
            Self::SysAdmin => "SYS_ADMIN",
            Self::Bpf => "BPF",
        }
    }
}

/// Whether this process has a capability in effect.
///
/// # Errors
/// If /proc is not mounted.
pub fn has(capability: Capability) -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    Ok(effective(&status).context("expected CapEff in /proc/self/status")? & (1 << capability as u64) != 0)
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether the kernel carries its own type information, which some helpers need.
#[must_use]
pub fn has_btf() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// Whether the network namespace can do IPv6.
#[must_use]
pub fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// Whether sockets can be MPTCP ones here.
#[must_use]
pub fn has_mptcp() -> bool {
    fs::read_to_string("/proc/sys/net/mptcp/enabled").is_ok_and(|enabled| enabled.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_understood() {
        for (release, expected) in
            [("6.1.0-31-amd64\n", (6, 1)), ("6.18.44-fc", (6, 18)), ("7.0-rc1", (7, 0))]
        {
            assert_eq!(parse_release(release), Some(Version { major: expected.0, minor: expected.1 }));
        }
        assert_eq!(parse_release("unknown"), None);
    }

    #[test]
    fn effective_capabilities_are_read_as_hexadecimal() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
