//! Very many workloads on this machine, each with a namespace, a cgroup and a sidecar process of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::kernel_memory;
use crate::bench::account::cpu_ns;
use crate::lab::{Lab, Log, Pod, Program, Sidecar, standing, this_program};

/// How many sidecars start at the same time: most of a start is waiting for the kernel.
const GROUP: usize = 25;
/// How long a group may take to be ready.
const STARTING: Duration = Duration::from_secs(60);
/// How long the connection of one workload may take.
const OPENING: Duration = Duration::from_secs(10);
/// How long the kernel may take to clean up after a node.
const SETTLING: Duration = Duration::from_secs(20);
/// Where an app of a workload listens; one that no sidecar uses.
const PORT: u16 = 7100;

/// Workloads that stand until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Node {
    workloads: Vec<Workload>,
}

/// A workload and its sidecar.
#[derive(Debug)]
struct Workload {
    held: Option<Held>,
    sidecar: Sidecar,
    pod: Rc<Pod>,
}

/// One connection of a workload's app, which ends with this.
#[derive(Debug)]
struct Held {
    _client: Program,
    _server: TcpStream,
}

/// What all sidecars weigh together, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weight {
    /// Their part of the memory that is in use: pages that they share count once (proc_pid_smaps_rollup, `Pss`).
    pub(super) proportional: u64,
    /// Their maps and programs in the kernel.
    pub(super) kernel: u64,
}

impl Node {
    /// How many workloads stand.
    pub(super) fn len(&self) -> usize {
        self.workloads.len()
    }

    /// Adds workloads until there are as many.
    pub(super) fn grow(&mut self, lab: &Lab, to: usize) -> Result<()> {
        while self.workloads.len() < to {
            let first = self.workloads.len();
            for number in first..to.min(first + GROUP) {
                lab.patience().check()?;
                self.workloads.push(Workload::begin(lab, number)?);
            }
            for workload in &mut self.workloads[first..] {
                workload.sidecar.until_ready(lab.patience().up_to(STARTING))?;
            }
        }
        Ok(())
    }

    /// Gives every workload a connection through its sidecar that stands from now on.
    pub(super) fn hold(&mut self, lab: &Lab) -> Result<()> {
        for workload in self.workloads.iter_mut().filter(|workload| workload.held.is_none()) {
            lab.patience().check()?;
            workload.held = Some(Held::open(lab, &workload.pod)?);
        }
        Ok(())
    }

    /// Ends those connections.
    pub(super) fn let_go(&mut self) {
        for workload in &mut self.workloads {
            workload.held = None;
        }
    }

    /// How long its sidecars have been on a processor, in nanoseconds.
    pub(super) fn cpu_ns(&self) -> Result<u64> {
        self.workloads.iter().map(|workload| cpu_ns(workload.sidecar.pid())).sum()
    }

    /// What its sidecars weigh.
    pub(super) fn weigh(&self) -> Result<Weight> {
        let mut sum = Weight::default();
        for workload in &self.workloads {
            let weight = weigh(&workload.sidecar)?;
            sum.proportional += weight.proportional;
            sum.kernel += weight.kernel;
        }
        Ok(sum)
    }
}

/// Waits until the kernel has done with namespaces that are gone: it takes seconds of a processor for hundreds of them, on
/// a queue of its own that names its worker while it works (`wq_worker_comm` in kernel/workqueue.c).
pub(super) fn settle(lab: &Lab) -> Result<()> {
    let is_busy = || {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut names = processes.filter_map(|it| fs::read_to_string(it.path().join("comm")).ok());
        names.any(|name| is_cleaning(&name))
    };
    // Others may remove namespaces all the time, and then it is them that we measure beside.
    let settled =
        lab.patience().up_to(SETTLING).until("namespaces to be gone", || Ok((!is_busy()).then_some(())));
    lab.patience().check()?;
    drop(settled);
    Ok(())
}

/// Whether a kernel thread of this name is removing namespaces.
fn is_cleaning(name: &str) -> bool {
    name.starts_with("kworker/") && name.trim_end().ends_with("+netns")
}

/// What one sidecar weighs.
pub(super) fn weigh(sidecar: &Sidecar) -> Result<Weight> {
    Ok(Weight { proportional: sidecar.proportional_bytes()?, kernel: kernel_memory::of_bpf(sidecar.pid())? })
}

impl Drop for Node {
    fn drop(&mut self) {
        // All of them at once: one after the other, each would be waited for. Without connections there is nothing to
        // drain.
        self.let_go();
        for workload in &self.workloads {
            workload.sidecar.tell_to_stop();
        }
    }
}

impl Workload {
    fn begin(lab: &Lab, number: usize) -> Result<Self> {
        let pod = Rc::new(Pod::alone(lab, &format!("w{number}"))?);
        let configuration = json!({
            "capture": { "mode": "ebpf" },
            "outbound": { "rules": [{ "proxy": "10.78.0.0/24" }] },
            "inbound": { "ports": "none" },
        });
        let sidecar = Sidecar::begin(lab, &pod, &configuration, Log::Off)
            .with_context(|| format!("start the sidecar of workload {number}"))?;
        Ok(Self { held: None, sidecar, pod })
    }
}

impl Held {
    /// Opens it and sees one message through. The server's end is ours: a socket stays in the namespace where it was
    /// made, and nothing captures it here.
    fn open(lab: &Lab, pod: &Pod) -> Result<Self> {
        let at = pod.v4(PORT);
        let listener = pod.inside(|| TcpListener::bind(at).with_context(|| format!("listen on {at}")))?;
        listener.set_nonblocking(true).context("listen without waiting")?;
        let mut hold = pod.app(this_program());
        hold.args(["peer", "hold", "1", &at.to_string()]);
        let name = format!("the app of {}", pod.name());
        let mut client = Program::start(&name, hold, lab.file(&format!("{}.app.log", pod.name())))?;
        let mut server = lab.patience().up_to(OPENING).until(&format!("a connection of {name}"), || {
            client.check()?;
            Ok(listener.accept().ok().map(|(stream, _)| stream))
        })?;
        server.set_nonblocking(false).context("wait for a message")?;
        server.set_read_timeout(Some(OPENING)).context("set a read timeout")?;
        echo_once(&mut server).with_context(|| format!("answer {name}"))?;
        lab.patience().up_to(OPENING).until(&format!("{name} to hold its connection"), || {
            client.check()?;
            Ok(standing(&client.said()))
        })?;
        Ok(Self { _client: client, _server: server })
    }
}

/// Sends the first message back, in however few pieces it comes.
fn echo_once(stream: &mut TcpStream) -> Result<()> {
    let mut message = [0; 1024];
    let length = stream.read(&mut message).context("read a message")?;
    stream.write_all(&message[..length]).context("send it back")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_told_from_one_that_has_finished_and_from_the_rescuer() {
        assert!(is_cleaning("kworker/u8:473+netns\n"));
        assert!(!is_cleaning("kworker/u8:473-netns\n") && !is_cleaning("kworker/R-netns\n"));
    }
}
