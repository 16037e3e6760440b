//! The product under test, started as a person starts it.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Once, OnceLock};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::access::AccessLog;
use crate::leftovers::pin_directories;
use crate::metrics::{self, Sample};
use crate::patience::eventually;
use crate::place::{beside_tests, peer_binary};
use crate::pod::unpin;
use crate::process::Process;
use crate::{Place, Pod};

/// Where the kernel's pins are kept.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Which binary is under test in this process, whatever the environment says.
static CHOSEN: OnceLock<PathBuf> = OnceLock::new();

/// Chooses the product's binary for this process, unless that was done before.
pub fn choose_binary(binary: &Path) {
    let _before = CHOSEN.set(binary.to_owned());
}

/// The product's binary: what was chosen, else `SIDESTEP_BIN`, else `sidestep` beside the directory of the test binary.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(chosen) = CHOSEN.get() {
        return chosen.clone();
    }
    std::env::var_os("SIDESTEP_BIN").map_or_else(|| beside_tests("sidestep"), PathBuf::from)
}

/// A file of the checkout that people use as it is.
#[must_use]
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// A configuration file in the making. Written as JSON, which is YAML too.
#[derive(Clone, Debug)]
pub struct Config {
    document: Value,
    admin: SocketAddr,
}

impl Config {
    /// Everything at its default, with the pod's workload name and an admin address on loopback.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let document = json!({ "workload": pod.workload, "capture": { "mode": "ebpf" } });
        Self { document, admin: SocketAddr::from(([127, 0, 0, 1], 15021)) }
    }

    /// Replaces a top-level section.
    ///
    /// # Panics
    /// Never: the document is a map.
    #[must_use]
    pub fn with(mut self, section: &str, content: Value) -> Self {
        self.document[section] = content;
        self
    }

    /// Adds fields to a top-level section.
    ///
    /// # Panics
    /// When either is no mapping.
    #[must_use]
    pub fn merged(mut self, section: &str, more: Value) -> Self {
        match (self.document[section].as_object_mut(), more) {
            (Some(fields), Value::Object(more)) => fields.extend(more),
            (_, more) => panic!("expected two mappings to merge for {section}, found {more}"),
        }
        self
    }

    /// Captures no inbound connections.
    #[must_use]
    pub fn without_inbound(self) -> Self {
        self.with("inbound", json!({ "ports": "none" }))
    }

    /// Serves readiness and metrics on another loopback port, for a second process in the same pod.
    #[must_use]
    pub const fn on_admin_port(mut self, port: u16) -> Self {
        self.admin.set_port(port);
        self
    }

    fn write(&self, file: &Path, log: &AccessLog) {
        let mut document = self.document.clone();
        document["admin"] = json!({ "address": self.admin.to_string() });
        document["access-log"] = json!({ "path": log.path(), "format": "json" });
        replace(file, &format!("{document:#}\n"));
    }
}

/// Replaces a file in one step, as editors and Kubernetes do.
pub(crate) fn replace(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, file))
        .unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
}

/// A running `sidestep sidecar` or `sidestep capture` with its configuration, access log and metrics.
#[derive(Debug)]
pub struct Sidestep<'pod> {
    /// The process.
    pub process: Process,
    /// Its access log.
    pub log: AccessLog,
    pod: &'pod Pod,
    admin: SocketAddr,
    file: PathBuf,
    _directory: TempDir,
}

impl<'pod> Sidestep<'pod> {
    /// Starts `sidestep sidecar` in the pod's sidecar cgroup and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn sidecar(pod: &'pod Pod, config: &Config) -> Self {
        Self::ready(Self::start(pod, pod.sidecar(), &["sidecar"], config))
    }

    /// Starts `sidestep capture` for a foreign proxy on `to_port`, and `inbound_port` if there is one.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn capture(pod: &'pod Pod, to_port: u16, inbound_port: Option<u16>, config: &Config) -> Self {
        let mut arguments = vec!["capture".to_owned(), "--to-port".to_owned(), to_port.to_string()];
        if let Some(port) = inbound_port {
            arguments.extend(["--inbound-port".to_owned(), port.to_string()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self::ready(Self::start(pod, pod.sidecar(), &arguments, config))
    }

    /// Starts the product at a place of the pod without waiting for anything; `--config` is added.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(pod: &'pod Pod, place: Place<'_>, arguments: &[&str], config: &Config) -> Self {
        Self::start_under(&[], pod, place, arguments, config)
    }

    /// [`Self::start`] with the product run by another program, such as one that counts what it does.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_under(
        tool: &[&str],
        pod: &'pod Pod,
        place: Place<'_>,
        arguments: &[&str],
        config: &Config,
    ) -> Self {
        mount_bpffs();
        let directory = directory();
        let file = directory.path().join("sidestep.yaml");
        let log = AccessLog::at(directory.path().join("access.log"));
        config.write(&file, &log);
        let product = binary();
        let mut words: Vec<&OsStr> = tool.iter().map(OsStr::new).collect();
        words.push(product.as_os_str());
        words.extend(arguments.iter().map(OsStr::new));
        let mut command = place.command(words[0]);
        command.args(&words[1..]).arg("--config").arg(&file);
        let process = Process::start(command);
        Self { process, log, pod, admin: config.admin, file, _directory: directory }
    }

    /// Hands on the product once it says that it is ready.
    ///
    /// # Panics
    /// When it ends or does not say so within the patience.
    #[must_use]
    pub fn ready(self) -> Self {
        eventually("sidestep is ready", || {
            if let Some(status) = self.process.status() {
                panic!("sidestep ended with {status} before it was ready");
            }
            match self.http("/readyz") {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status}: {body}")),
                Err(error) => Err(error.to_string()),
            }
        });
        self
    }

    /// Asks its admin address.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn http(&self, path: &str) -> std::io::Result<(u16, String)> {
        self.pod.namespace.http(self.admin, path)
    }

    /// Replaces its configuration in one step.
    pub fn configure(&self, config: &Config) {
        config.write(&self.file, &self.log);
    }

    /// Replaces its configuration with any text.
    pub fn configure_with_text(&self, text: &str) {
        replace(&self.file, text);
    }

    /// Its metrics now.
    ///
    /// # Panics
    /// When it does not serve them.
    #[must_use]
    pub fn metrics(&self) -> Vec<Sample> {
        match self.http("/metrics") {
            Ok((200, text)) => metrics::parse(&text),
            other => panic!("no metrics: {other:?}"),
        }
    }

    /// Sum of one metric over all labels but those given.
    ///
    /// # Panics
    /// When metrics are not served.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        metrics::sum(&self.metrics(), name, labels)
    }

    /// Waits until a verdict was counted at least `count` times.
    ///
    /// # Panics
    /// When that does not happen within the patience.
    pub fn counted(&self, direction: &str, verdict: &str, reason: &str, count: u64) {
        let labels = [("direction", direction), ("verdict", verdict), ("reason", reason)];
        eventually(&format!("{count} × {direction} {verdict} because of {reason}"), || {
            let samples = self.metrics();
            let found = metrics::sum(&samples, VERDICTS, &labels);
            if found >= count as f64 { Ok(()) } else { Err(samples) }
        });
    }
}

/// The metric that counts verdicts by direction, verdict and reason.
pub const VERDICTS: &str = "sidestep_verdicts_total";

/// A command under `sidestep run`.
#[derive(Debug)]
pub struct Run {
    /// The `sidestep` process.
    pub process: Process,
    /// Its access log.
    pub log: AccessLog,
    _directory: TempDir,
}

impl Drop for Run {
    fn drop(&mut self) {
        let name = format!("run-{}", self.process.pid());
        self.process.kill();
        for directory in pin_directories(&name) {
            unpin(&directory);
        }
    }
}

/// Runs `sidestep run FLAGS -- COMMAND` at a place; the flags are split at blanks. An access log is added.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run(place: Place<'_>, flags: &str, command: &[&str]) -> Run {
    mount_bpffs();
    let directory = directory();
    let log = AccessLog::at(directory.path().join("access.log"));
    let mut line: Command = place.command(binary());
    line.arg("run").arg("--access-log").arg(log.path());
    line.args(flags.split_whitespace()).arg("--").args(command);
    Run { process: Process::start(line), log, _directory: directory }
}

/// Runs `sidestep cleanup` for one workload, which leaves what other tests are doing alone.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn cleanup(pod: &Pod) -> Process {
    mount_bpffs();
    pod.sidecar().start(binary(), ["cleanup", &pod.workload])
}

pub(crate) fn directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("sidestep-test-")
        .tempdir()
        .unwrap_or_else(|error| panic!("make a temporary directory: {error}"))
}

/// Mounts the BPF file system where it is not: systemd does it on real machines, and nobody in a bare one.
pub(crate) fn mount_bpffs() {
    static MOUNTED: Once = Once::new();
    MOUNTED.call_once(|| {
        if statfs(BPFFS).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC) {
            return;
        }
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>)
            .unwrap_or_else(|error| panic!("mount the BPF file system at {BPFFS}: {error}"));
    });
}

/// Runs one of the [`crate::peer`] programs under `sidestep run`; flags and line are split at blanks.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run_peer(place: Place<'_>, flags: &str, line: &str) -> Run {
    let peer = peer_binary().display().to_string();
    let command: Vec<&str> = std::iter::once(peer.as_str()).chain(line.split_whitespace()).collect();
    run(place, flags, &command)
}
