//! A real `sidestep sidecar` or `sidestep capture` beside a workload, and the way to get rid of one that died.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::http::{self, Answer};
use super::{Lab, Patience, Pod, Program, names_in};
use crate::process::capture;

/// Where the product pins what outlives its process, one directory per workload.
pub(super) const PINS: &str = "/sys/fs/bpf/sidestep";

/// Where a sidecar answers for itself, inside its pod.
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 15021);

/// A sidecar that serves its pod.
#[derive(Debug)]
pub(crate) struct Sidecar {
    pod: Rc<Pod>,
    sidestep: PathBuf,
    program: Program,
    config: PathBuf,
    access_log: PathBuf,
    end: End,
}

/// Whether a sidecar logs each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    /// As JSON, in a file.
    Kept,
    /// No log: for measuring without it.
    Off,
}

/// How far a sidecar's life has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It runs, or died without cleaning up.
    Open,
    /// It ended as it should.
    Clean,
}

impl Sidecar {
    /// Starts a sidecar with `sections` as its configuration (workload name, admin address and access log are added) and
    /// waits until it is ready.
    pub(crate) fn start(lab: &Lab, pod: &Rc<Pod>, sections: &Value, log: Log) -> Result<Self> {
        Self::begin(lab, pod, sections, log)?.once_ready(lab)
    }

    /// The same without the wait: several may become ready at the same time.
    pub(crate) fn begin(lab: &Lab, pod: &Rc<Pod>, sections: &Value, log: Log) -> Result<Self> {
        Self::launch(lab, pod, &["sidecar"], sections, log)
    }

    /// Starts the capture alone, for a foreign proxy of the pod that listens on a port, and waits until it is ready.
    pub(crate) fn capture(lab: &Lab, pod: &Rc<Pod>, sections: &Value, port: u16) -> Result<Self> {
        Self::launch(lab, pod, &["capture", "--to-port", &port.to_string()], sections, Log::Off)?
            .once_ready(lab)
    }

    fn once_ready(mut self, lab: &Lab) -> Result<Self> {
        self.until_ready(lab.patience())?;
        Ok(self)
    }

    fn launch(lab: &Lab, pod: &Rc<Pod>, arguments: &[&str], sections: &Value, log: Log) -> Result<Self> {
        let access_log = lab.file(&format!("{}.access.log", pod.name()));
        // What an earlier sidecar of the pod has logged is not this one's.
        fs::remove_file(&access_log).or_else(unless_absent)?;
        // In a directory of its own: it is the directory that a sidecar watches, and others write their logs meanwhile.
        let directory = lab.file(pod.name());
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let file = directory.join("sidestep.yaml");
        let document = document(sections, pod.workload(), (log == Log::Kept).then_some(&access_log));
        fs::write(&file, format!("{document:#}\n")).with_context(|| format!("write {}", file.display()))?;
        let mut command = pod.sidecar(lab.sidestep());
        command.args(arguments).arg("--config").arg(&file);
        let name = format!("the sidecar of {}", pod.name());
        let program = Program::start(&name, command, lab.file(&format!("{}.sidecar.log", pod.name())))?;
        Ok(Self {
            pod: Rc::clone(pod),
            sidestep: lab.sidestep().to_owned(),
            program,
            config: file,
            access_log,
            end: End::Open,
        })
    }

    /// Waits until it serves.
    pub(crate) fn until_ready(&mut self, patience: Patience<'_>) -> Result<()> {
        patience.until(&format!("the sidecar of {} to be ready", self.pod.name()), || {
            self.program.check()?;
            Ok(self.ask("/readyz").ok().filter(|answer| answer.status == 200).map(drop))
        })
    }

    /// Asks it to end and does not wait: whoever drops it does.
    pub(crate) fn tell_to_stop(&self) {
        self.program.tell_to_stop();
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        self.program.pid()
    }

    /// Its resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.program.resident_bytes()
    }

    /// Its part of the memory in use, in bytes.
    pub(crate) fn proportional_bytes(&self) -> Result<u64> {
        self.program.proportional_bytes()
    }

    /// The whole lines of its access log so far.
    pub(crate) fn access_lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.access_log).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// What `sidestep_verdicts_total` has counted for a direction, a verdict and any of its reasons.
    pub(crate) fn verdicts(&self, direction: &str, verdict: &str) -> Result<u64> {
        self.counted("sidestep_verdicts_total", &[("direction", direction), ("verdict", verdict)])
    }

    /// How many connections the proxy itself has taken in a direction, each of a tunnel's streams being one.
    pub(crate) fn opened(&self, direction: &str) -> Result<u64> {
        self.counted("sidestep_connections_opened_total", &[("direction", direction)])
    }

    /// Its metrics now, in Prometheus' text format.
    pub(crate) fn metrics(&self) -> Result<String> {
        let answer = self.ask("/metrics")?;
        if answer.status != 200 {
            bail!("expected metrics from {}, found status {}", self.pod.name(), answer.status);
        }
        Ok(answer.body)
    }

    fn counted(&self, metric: &str, labels: &[(&str, &str)]) -> Result<u64> {
        Ok(sum(&self.metrics()?, metric, labels))
    }

    fn ask(&self, path: &str) -> Result<Answer> {
        self.pod.inside(|| http::ask(SocketAddr::from(ADMIN), path))
    }

    /// What `sidestep explain` says of its configuration.
    pub(crate) fn explain(&self, arguments: &[&str]) -> Result<String> {
        let mut sidestep = self.pod.sidecar(&self.sidestep);
        capture(sidestep.args(["explain", "--config"]).arg(&self.config).args(arguments))
    }

    /// Ends it as an operator would, and fails unless it ended well.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.program.stop()?;
        if !status.success() {
            bail!("the sidecar of {} ended with {status} after SIGTERM", self.pod.name());
        }
        self.end = End::Clean;
        Ok(())
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if self.end == End::Clean || self.program.stop().is_ok_and(|status| status.success()) {
            return;
        }
        // A live process, even one that does not end, would keep its pins.
        self.program.kill();
        if let Err(error) = cleanup(|| self.pod.sidecar(&self.sidestep), self.pod.workload()) {
            eprintln!("lab: {error:#}");
        }
    }
}

/// Lets the product remove what a dead process of its own has left of a workload, if it has; `sidestep` makes the
/// command that runs it in the right place.
pub(super) fn cleanup(sidestep: impl Fn() -> Command, workload: &str) -> Result<()> {
    for pins in pins_of(workload) {
        capture(sidestep().args(["cleanup", &pins]))?;
    }
    Ok(())
}

/// The names of a workload's pin directories: two pods may have one name, so the cgroup's id follows it.
fn pins_of(workload: &str) -> Vec<String> {
    let pins = names_in(Path::new(PINS)).into_iter();
    pins.filter(|name| {
        name.strip_prefix(workload).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
    .collect()
}

fn unless_absent(error: io::Error) -> Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error).context("remove an access log"),
    }
}

/// Written as JSON, which is YAML too.
fn document(sections: &Value, workload: &str, access_log: Option<&PathBuf>) -> Value {
    let mut document = sections.clone();
    document["workload"] = json!(workload);
    // Whoever stops a sidecar here has no use for what is still open.
    document["relay"]["drain-timeout"] = json!("500ms");
    document["admin"] = json!({ "address": SocketAddr::from(ADMIN).to_string() });
    if let Some(path) = access_log {
        document["access-log"] = json!({ "path": path, "format": "json" });
    }
    document
}

/// Adds up the samples of a metric that have these labels (Prometheus text format).
fn sum(metrics: &str, metric: &str, labels: &[(&str, &str)]) -> u64 {
    let samples = metrics.lines().filter_map(|line| {
        let (own, value) = line.strip_prefix(metric)?.strip_prefix('{')?.split_once('}')?;
        let has = |(key, value): &(&str, &str)| own.contains(&format!("{key}=\"{value}\""));
        labels.iter().all(has).then(|| value.trim().parse::<f64>().ok())?
    });
    samples.sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_added_up_over_their_reasons() {
        let metrics = "# TYPE sidestep_verdicts_total counter\n\
            sidestep_verdicts_total{direction=\"outbound\",reason=\"rule\",verdict=\"direct\"} 3\n\
            sidestep_verdicts_total{direction=\"outbound\",reason=\"default\",verdict=\"direct\"} 4\n\
            sidestep_verdicts_total{direction=\"inbound\",reason=\"rule\",verdict=\"direct\"} 50\n\
            sidestep_verdicts_total{direction=\"outbound\",reason=\"rule\",verdict=\"proxy\"} 600\n";
        let sum = |labels: &[(&str, &str)]| sum(metrics, "sidestep_verdicts_total", labels);
        assert_eq!(sum(&[("direction", "outbound"), ("verdict", "direct")]), 7);
        assert_eq!(sum(&[("direction", "outbound"), ("verdict", "deny")]), 0);
        assert_eq!(sum(&[("direction", "outbound")]), 607);
    }

    #[test]
    fn every_configuration_has_a_name_an_admin_address_and_a_log() {
        let sections = json!({ "outbound": { "default": "direct" } });
        let document = document(&sections, "w", Some(&PathBuf::from("/t/access.log")));
        assert_eq!(document["outbound"]["default"], "direct");
        assert_eq!(document["workload"], "w");
        assert_eq!(document["relay"]["drain-timeout"], "500ms");
        assert_eq!(document["admin"]["address"], "127.0.0.1:15021");
        assert_eq!(document["access-log"]["path"], "/t/access.log");
    }
}
