//! Why there are no rules, in words for whoever runs the system.

use std::io;

use thiserror::Error;

/// Why rules could not be put or removed.
#[derive(Debug, Error)]
pub enum NetfilterError {
    /// The system has no iptables.
    #[error(
        "capture by iptables needs the program {program}, found none in PATH, /usr/sbin or /sbin; install the \
         system's iptables package, or capture with ebpf"
    )]
    Missing {
        /// What was looked for.
        program: &'static str,
    },
    /// A program could not be run.
    #[error("cannot run {program}: {cause}")]
    Unrunnable {
        /// Which program.
        program: &'static str,
        /// What the system says.
        cause: io::Error,
    },
    /// A program refused what it was given.
    #[error(
        "{program} cannot {doing}: {said}; it needs CAP_NET_ADMIN in this network namespace, and a kernel with the nat \
         and filter tables, REDIRECT, REJECT and the matches addrtype, cgroup and mark"
    )]
    Refused {
        /// Which program.
        program: &'static str,
        /// What it was to do.
        doing: &'static str,
        /// What it said.
        said: String,
    },
    /// Another process captures in this network namespace.
    #[error(
        "another process captures by iptables in this network namespace; stop it first, or give each workload a \
         namespace of its own"
    )]
    Taken,
    /// A cgroup path that cannot be put into a rule.
    #[error(
        "expected the path of a cgroup below the cgroup2 root, 1 to {limit} bytes without quotes, backslashes and control characters, found {path:?}"
    )]
    CgroupPath {
        /// What was given.
        path: String,
        /// Bytes that it may have.
        limit: usize,
    },
}
