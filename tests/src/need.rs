//! What a test needs from the machine. A test that cannot run says so where it is counted, and never passes
//! in silence when it must run.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};

use crate::{cgroup, sidestep};

/// A program that some tests call.
pub type Tool = &'static str;

/// Something that a machine may lack.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// Effective user id 0.
    Root,
    /// A program in `PATH`.
    Tool(Tool),
    /// A file that a package of the distribution brings.
    File(&'static str),
    /// At least this kernel, major and minor.
    Kernel(u32, u32),
    /// A mounted cgroup2 hierarchy.
    Cgroup2,
    /// Memory that can be bounded by cgroup.
    MemoryController,
    /// Multipath TCP compiled in and enabled.
    Mptcp,
    /// IPv6 compiled in.
    Ipv6,
    /// So many MiB of memory that could be taken.
    Memory(u64),
    /// A processor of its own: emulated by QEMU, everything takes ten times as long, and times mean nothing.
    Speed,
    /// A limit on open descriptors that can be raised to so many.
    Descriptors(u64),
    /// The product as it ships: this program and it are built alike.
    Optimized,
    /// A golden file for the running kernel, which is there or not.
    Golden(bool),
    /// The product's binary.
    Sidestep,
    /// The product as one file that needs no libraries, for an image FROM scratch.
    StaticSidestep,
    /// An Envoy binary, named by `SIDESTEP_ENVOY`.
    Envoy,
    /// The OpenTelemetry collector rotel, named by `SIDESTEP_ROTEL`.
    Rotel,
    /// Python and its package `h2`, in a directory named by `SIDESTEP_H2`.
    ForeignHttp2,
    /// Python and its packages `grpcio` and `websockets`, in a directory named by `SIDESTEP_HTTP_PACKAGES`.
    ForeignHttp,
    /// Python with Helm's engine and the schemas of Kubernetes, in a directory named by `SIDESTEP_KUBERNETES`.
    KubernetesSchemas,
}

impl Need {
    /// What every kernel test needs to make workloads.
    pub const WORKLOADS: [Self; 3] = [Self::Root, Self::Tool("ip"), Self::Cgroup2];

    /// Why the machine does not meet the need, or nothing when it does.
    #[must_use]
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Root => (!nix::unistd::geteuid().is_root()).then(|| "needs root".into()),
            Self::Tool(name) => find(name).is_none().then(|| format!("needs the program {name} in PATH")),
            Self::File(path) => (!Path::new(path).exists()).then(|| format!("needs the file {path}")),
            Self::Kernel(major, minor) => older_than(major, minor),
            Self::Cgroup2 => cgroup::mount().is_none().then(|| "needs a mounted cgroup2 hierarchy".into()),
            Self::MemoryController => cgroup::memory_controller()
                .is_none()
                .then(|| "needs the memory controller of cgroups".into()),
            Self::Mptcp => match std::fs::read_to_string("/proc/sys/net/mptcp/enabled") {
                Ok(text) if text.trim() == "1" => None,
                _ => Some("needs a kernel with MPTCP enabled".into()),
            },
            Self::Ipv6 => {
                (!Path::new("/proc/sys/net/ipv6").exists()).then(|| "needs a kernel with IPv6".into())
            }
            Self::Memory(mebibytes) => less_than(mebibytes),
            Self::Speed => emulated().then(|| "needs a processor that is not emulated".into()),
            Self::Descriptors(count) => match getrlimit(Resource::RLIMIT_NOFILE) {
                Ok((_, hard)) if hard >= count => None,
                found => Some(format!("needs {count} open descriptors, the limit is {found:?}")),
            },
            Self::Optimized => cfg!(debug_assertions).then(|| "needs a release build".into()),
            Self::Golden(there) => (!there).then(|| {
                "needs a golden file for this kernel; make one with SIDESTEP_BLESS=1 and name it in the test".into()
            }),
            Self::ForeignHttp2 => python("SIDESTEP_H2", &["h2"]),
            Self::ForeignHttp => python("SIDESTEP_HTTP_PACKAGES", &["grpc", "websockets"]),
            Self::KubernetesSchemas => {
                python("SIDESTEP_KUBERNETES", &["helm_python", "kubernetes_validate", "yaml"])
            }
            Self::Rotel => {
                let binary = std::env::var_os("SIDESTEP_ROTEL").map(PathBuf::from);
                let there = binary.is_some_and(|binary| binary.is_file());
                (!there).then(|| "needs the collector rotel; set SIDESTEP_ROTEL to its binary".into())
            }
            Self::Envoy => envoy().is_none().then(|| "needs Envoy; set SIDESTEP_ENVOY to its binary".into()),
            Self::StaticSidestep => {
                let binary = std::fs::read(sidestep::binary()).unwrap_or_default();
                // An ELF file that names a loader needs libraries, and has the name near its beginning.
                let head = &binary[..binary.len().min(4096)];
                let loads = head.windows(10).any(|window| window == b"/ld-linux-");
                (binary.is_empty() || loads).then(|| {
                    "needs a static sidestep; `cargo xtask build --release --static` makes one".into()
                })
            }
            Self::Sidestep => {
                let binary = sidestep::binary();
                (!binary.is_file()).then(|| {
                    format!("needs the product at {}; build it or set SIDESTEP_BIN", binary.display())
                })
            }
        }
    }
}

/// Whether the calling test can run. If not, the reason is added to the file in `SIDESTEP_SKIPS`.
///
/// # Panics
/// When something is missing and `SIDESTEP_MUST_RUN` is 1, or when the skip cannot be recorded.
#[must_use]
pub fn met(needs: &[Need]) -> bool {
    let missing: Vec<String> = needs.iter().filter_map(|need| need.missing()).collect();
    if missing.is_empty() {
        return true;
    }
    let reason = missing.join(", ");
    assert!(std::env::var("SIDESTEP_MUST_RUN").as_deref() != Ok("1"), "must run but cannot: {reason}");
    let thread = std::thread::current();
    let line = format!("{}: {reason}\n", thread.name().unwrap_or("unnamed test"));
    eprint!("skipped {line}");
    if let Some(path) = std::env::var_os("SIDESTEP_SKIPS") {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .unwrap_or_else(|error| panic!("record the skip in {}: {error}", path.display()));
    }
    false
}

/// Returns from the calling test, with the skip recorded, unless all needs are met.
#[macro_export]
macro_rules! needs {
    ($($need:expr),+ $(,)?) => {
        if !$crate::need::met(&[$($need),+]) {
            return;
        }
    };
}

/// Returns from the calling test unless workloads can be made here, and the further needs are met.
#[macro_export]
macro_rules! needs_workloads {
    ($($need:expr),* $(,)?) => {
        let needs: Vec<$crate::Need> = $crate::Need::WORKLOADS.into_iter().chain([$($need),*]).collect();
        if !$crate::need::met(&needs) {
            return;
        }
    };
}

/// Returns from the calling test unless the product can capture here, and the further needs are met.
#[macro_export]
macro_rules! needs_capture {
    ($($need:expr),* $(,)?) => {
        $crate::needs_workloads!($crate::Need::Kernel(6, 1), $crate::Need::Sidestep $(, $need)*)
    };
}

/// The Envoy binary that `SIDESTEP_ENVOY` names, if it is there.
#[must_use]
pub fn envoy() -> Option<PathBuf> {
    std::env::var_os("SIDESTEP_ENVOY").map(PathBuf::from).filter(|file| file.is_file())
}

/// Where in `PATH` a program is.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Why there is no Python with these packages in the directory that a variable names, or nothing when there is.
fn python(variable: &str, packages: &[&str]) -> Option<String> {
    let directory = std::env::var_os(variable).map(PathBuf::from);
    let there = directory.is_some_and(|it| packages.iter().all(|package| it.join(package).is_dir()));
    (!there || find("python3").is_none()).then(|| {
        format!("needs python3 with {}; set {variable} to the directory they are in", packages.join(" and "))
    })
}

fn less_than(mebibytes: u64) -> Option<String> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes =
        available.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    (kibibytes / 1024 < mebibytes)
        .then(|| format!("needs {mebibytes} MiB of memory, {} are available", kibibytes / 1024))
}

/// Whether QEMU emulates the processor: its own models carry its name, those that pass the host's through do not.
fn emulated() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|cpus| cpus.contains("QEMU"))
}

fn older_than(major: u32, minor: u32) -> Option<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.trim().parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (found < (major, minor)).then(|| format!("needs Linux {major}.{minor}, this is {}", release.trim()))
}
