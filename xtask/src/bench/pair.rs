//! A client and a server in pods of their own, with one way between them, up for as long as its value lives.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::account::{Measured, Watched, watch};
use super::foreign::{self, Foreign, redirect};
use super::mode::{Capture, Mode, Proxy};
use super::seating::{Cores, Hop, Role, Seating, seat};
use super::work::Work;
use crate::lab::{Lab, Log, Pod, Program, Sidecar, Wire, this_program};
use crate::process::{capture, find_program};

/// One mode, ready to be measured at any time: raising it is not part of any sample.
#[derive(Debug)]
pub(crate) struct Pair {
    mode: Mode,
    /// Our sidecar, or our capture for a foreign proxy.
    sidecar: Option<Sidecar>,
    _foreign: Option<Foreign>,
    server: Program,
    client_pod: Rc<Pod>,
    server_pod: Rc<Pod>,
}

impl Pair {
    /// Makes the pods and starts the server, and the mode's proxy and capture.
    pub(crate) fn raise(lab: &Lab, mode: Mode) -> Result<Self> {
        let (client_pod, server_pod) = Wire::join(lab, &format!("{}-", mode.word()))?;
        let at = addresses(&server_pod);
        let server = serve(lab, &server_pod, &at)?;
        let foreign = Foreign::start(lab, &client_pod, mode.proxy(), &at)?;
        if foreign.is_some() && mode.capture() == Capture::Iptables {
            redirect::install(lab, &client_pod, mode.proxy())?;
        }
        let configuration = mode.configuration();
        let sidecar = configuration
            .map(|sections| match foreign {
                None => Sidecar::start(lab, &client_pod, &sections, Log::Off),
                Some(_) => Sidecar::capture(lab, &client_pod, &sections, foreign::PORT),
            })
            .transpose()?;
        Ok(Self { mode, sidecar, _foreign: foreign, server, client_pod, server_pod })
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// The processes that carry or steer the mode's connections: everything in the sidecar's place of the client's pod,
    /// workers included. Empty where there is neither proxy nor capture.
    pub(crate) fn proxy_pids(&self) -> Result<Vec<Pid>> {
        self.client_pod.sidecar_processes()
    }

    /// The process that clients talk to.
    pub(crate) fn server_pid(&self) -> Pid {
        self.server.pid()
    }

    /// Our sidecar beside the client, where there is one.
    pub(crate) fn sidecar(&self) -> Option<&Sidecar> {
        self.sidecar.as_ref()
    }

    /// Our own process, where there is one.
    pub(crate) fn sidecar_pid(&self) -> Option<Pid> {
        self.sidecar.as_ref().map(Sidecar::pid)
    }

    /// Where clients belong.
    pub(crate) fn client_pod(&self) -> &Pod {
        &self.client_pod
    }

    /// Where the server does a kind of work.
    pub(crate) fn server_at(&self, work: Work) -> SocketAddr {
        self.server_pod.v4(work.port())
    }

    /// Takes one sample. An open loop needs its rate, in requests per second.
    pub(crate) fn measure(
        &self,
        work: Work,
        seating: Seating,
        cores: Cores,
        rate: Option<f64>,
    ) -> Result<Measured> {
        let client = match (self.seat(seating, cores)?, work) {
            (_, Work::HttpOpenLoop) => seating.core_of_clock(cores),
            (core, _) => core,
        };
        let [server, proxy] = [Role::Server, Role::Proxy].map(|role| seating.core(cores, role, self.hop()));
        let watched = Watched {
            proxies: self.proxy_pids()?,
            server: self.server_pid(),
            cores: [client, server, proxy].into(),
        };
        watch(&mut work.client(&self.client_pod, self.server_at(work), Some(client), rate), &watched)
            .with_context(|| format!("{} with {}", work.title(), self.mode.title()))
    }

    /// Moves server and proxy to their cores, and returns the client's.
    pub(crate) fn seat(&self, seating: Seating, cores: Cores) -> Result<usize> {
        let hop = self.hop();
        seat(self.server_pid(), seating.core(cores, Role::Server, hop))?;
        for process in self.proxy_pids()? {
            seat(process, seating.core(cores, Role::Proxy, hop))?;
        }
        Ok(seating.core(cores, Role::Client, hop))
    }

    fn hop(&self) -> Hop {
        match self.mode.proxy() {
            Proxy::None => Hop::None,
            _ => Hop::Relay,
        }
    }

    /// How many connections the mode has steered so far, by its own count: the kernel's counters for eBPF, the rules'
    /// for iptables. None where nothing is to be steered.
    pub(crate) fn steered(&self) -> Result<Option<u64>> {
        match (self.mode.capture(), &self.sidecar) {
            (Capture::Ebpf, Some(sidecar)) => sidecar.verdicts("outbound", "proxy").map(Some),
            (Capture::Iptables, _) => redirect::count(&self.client_pod).map(Some),
            _ => Ok(None),
        }
    }

    /// Makes the kernel forget the connections it tracks, as far as there is a tool for it: a table full of those that
    /// are over would be held against whoever needs it.
    pub(crate) fn forget_connections(&self) -> Result<()> {
        if self.mode.capture() == Capture::Iptables && find_program("conntrack").is_some() {
            capture(self.client_pod.app("conntrack").arg("--flush"))?;
        }
        Ok(())
    }
}

/// Where a server for all kinds of work listens, each address once.
fn addresses(pod: &Pod) -> Vec<SocketAddr> {
    let ports: BTreeSet<u16> = Work::ALL.map(Work::port).into();
    ports.into_iter().map(|port| pod.v4(port)).collect()
}

/// Starts the server that serves each address by its port, and waits until it does.
pub(super) fn serve(lab: &Lab, pod: &Pod, at: &[SocketAddr]) -> Result<Program> {
    let mut command = pod.app(this_program());
    command.args(["peer", "serve"]).args(at.iter().map(SocketAddr::to_string));
    start_server(lab, pod, command, at)
}

/// Starts a server and waits until it can be reached at all its addresses.
pub(super) fn start_server(lab: &Lab, pod: &Pod, command: Command, at: &[SocketAddr]) -> Result<Program> {
    let name = format!("the server of {}", pod.name());
    let mut server = Program::start(&name, command, lab.file(&format!("{}.server.log", pod.name())))?;
    for &address in at {
        lab.patience().until(&format!("{name} to listen on {address}"), || {
            server.check()?;
            let reached =
                pod.inside(|| Ok(TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()))?;
            Ok(reached.then_some(()))
        })?;
    }
    Ok(server)
}
