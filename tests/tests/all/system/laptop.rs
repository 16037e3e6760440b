//! Where the README's commands run: a machine with `sidestep` in its `PATH`, somebody at example.com, and a file system
//! of BPF and a directory of sockets of its own, so that commands without a name meet nobody else's pins and instances.

use std::os::unix::fs::symlink;
use std::path::Path;

use sidestep_tests::need::envoy;
use sidestep_tests::{Place, Pod, Process, sidestep};
use tempfile::TempDir;

use super::commands::block_fenced;
use super::server::{Server, write};
use super::shipped;
use super::web::nginx_on;

/// An address that the README's rules name (TEST-NET-1 of RFC 5737).
const EXAMPLE4: &str = "192.0.2.80";
/// The same for IPv6 (RFC 3849).
const EXAMPLE6: &str = "2001:db8::80";

/// Makes what a process sees of the machine its own, before it becomes the program.
const SURROUNDINGS: &str = r#"
set -eu
mount --bind "$HOME/hosts" /etc/hosts
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /dev/shm
mkdir -p -m 700 "$HOME/run" /run/sidestep
mount --bind "$HOME/run" /run/sidestep
cd "$HOME"
"#;

/// The surroundings of commands. The pods go after what runs in them.
pub(super) struct Laptop {
    home: TempDir,
    _nginx: Server,
    /// The workload.
    pub(super) pod: Pod,
    _internet: Pod,
}

impl Laptop {
    /// A laptop whose working directory holds `deploy/`, a `sidestep.yaml`, a manifest, and what the README says of policies: a
    /// file of them and the configuration of a workload that is held to it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub(super) fn new(config: &str) -> Self {
        let (pod, mut internet) = Pod::pair();
        internet.add_address(&format!("{EXAMPLE4}/32"));
        internet.add_address(&format!("{EXAMPLE6}/128"));
        let nginx = nginx_on(&internet, 80);
        let home = tempfile::Builder::new().prefix("sidestep-test-").tempdir();
        let home = home.unwrap_or_else(|error| panic!("make a working directory: {error}"));
        let at = |name: &str| home.path().join(name);
        write(
            &at("hosts"),
            &format!("127.0.0.1 localhost\n{EXAMPLE4} example.com\n{EXAMPLE6} example.com\n"),
        );
        write(&at("sidestep.yaml"), config);
        let programs = at("bin");
        std::fs::create_dir(&programs).unwrap_or_else(|error| panic!("make {}: {error}", programs.display()));
        link(&sidestep::binary(), &programs.join("sidestep"));
        if let Some(envoy) = envoy() {
            link(&envoy, &programs.join("envoy"));
        }
        link(&shipped("deploy"), &at("deploy"));
        let readme = shipped("README.md");
        write(&at("policies.yaml"), &block_fenced(&readme, "yaml policies"));
        write(&at("shop.yaml"), &block_fenced(&readme, "yaml deployment"));
        let guarded = block_fenced(&readme, "yaml guarded")
            .replace("/etc/sidestep", &home.path().display().to_string());
        write(&at("orders.yaml"), &guarded);
        Self { home, _nginx: nginx, pod, _internet: internet }
    }

    /// Starts a script.
    ///
    /// # Panics
    /// When it cannot be started.
    pub(super) fn start(&self, place: Place<'_>, script: &str) -> Process {
        let home = self.home.path();
        let mut command = place.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &format!("{SURROUNDINGS}{script}")]);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("HOME", home).env("PATH", format!("{}:{path}", home.join("bin").display()));
        Process::start(command)
    }

    /// Starts a program in the script's place, so that signals meet the program.
    ///
    /// # Panics
    /// When it cannot be started, or is more than one command.
    pub(super) fn become_command(&self, place: Place<'_>, line: &str) -> Process {
        assert_eq!(line.trim().lines().count(), 1, "a service is one command: {line}");
        self.start(place, &format!("exec {line}"))
    }
}

fn link(original: &Path, link: &Path) {
    let original =
        original.canonicalize().unwrap_or_else(|error| panic!("find {}: {error}", original.display()));
    symlink(&original, link).unwrap_or_else(|error| panic!("link {}: {error}", link.display()));
}
