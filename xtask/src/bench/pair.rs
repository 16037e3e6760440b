//! A client and a server in pods of their own, with one way between them, up for as long as its value lives.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::account::{Measured, Watched, watch};
use super::mode::Mode;
use super::seating::{Cores, Role, Seating, seat};
use super::way::{Side, Way};
use super::work::Work;
use crate::lab::peer::Service;
use crate::lab::{Lab, Pod, Program, Sidecar, Wire, this_program};

/// One mode, ready to be measured at any time: raising it is not part of any sample.
#[derive(Debug)]
pub(crate) struct Pair {
    way: Way,
    server: Program,
}

impl Pair {
    /// Makes the pods and starts the server, and opens the mode's way between them.
    pub(crate) fn raise(lab: &Lab, mode: Mode) -> Result<Self> {
        let (client_pod, server_pod) = Wire::join(lab, &format!("{}-", mode.word()))?;
        let at = addresses(&server_pod);
        // Nobody but proxies has anything for the collector, which is on no way.
        let collector = server_pod.v4(Service::Collector.port());
        let server = serve(lab, &server_pod, &[at.as_slice(), &[collector]].concat())?;
        let way = Way::open(lab, mode, [&client_pod, &server_pod], &at)?;
        Ok(Self { way, server })
    }

    pub(crate) fn mode(&self) -> Mode {
        self.way.mode()
    }

    /// The processes that carry or steer the mode's connections on one side. Empty where there is neither proxy nor
    /// capture.
    pub(crate) fn proxy_pids(&self, side: Side) -> Result<Vec<Pid>> {
        self.way.processes(side)
    }

    /// What those have resident together now, in bytes; none where there are none.
    pub(crate) fn resident_bytes(&self, side: Side) -> Result<Option<u64>> {
        self.way.resident_bytes(side)
    }

    /// The process that clients talk to.
    pub(crate) fn server_pid(&self) -> Pid {
        self.server.pid()
    }

    /// Our sidecar beside the client, where there is one.
    pub(crate) fn sidecar(&self) -> Option<&Sidecar> {
        self.way.sidecar(Side::Near)
    }

    /// Our own process beside the client, where there is one.
    pub(crate) fn sidecar_pid(&self) -> Option<Pid> {
        self.sidecar().map(Sidecar::pid)
    }

    /// Where clients belong.
    pub(crate) fn client_pod(&self) -> &Pod {
        &self.way.client_pod
    }

    /// Where the server does a kind of work.
    pub(crate) fn server_at(&self, work: Work) -> SocketAddr {
        self.way.server_pod.v4(work.port())
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
        let core = |role| seating.core(cores, role, self.mode().hop());
        let watched = Watched {
            proxies: self.proxy_pids(Side::Near)?,
            far_proxies: self.proxy_pids(Side::Far)?,
            server: self.server_pid(),
            cores: [client, core(Role::Server), core(Role::Proxy), core(Role::FarProxy)].into(),
        };
        watch(&mut work.client(self.client_pod(), self.server_at(work), Some(client), rate), &watched)
            .with_context(|| format!("{} with {}", work.title(), self.mode().title()))
    }

    /// Moves the server and the proxies to their cores, and returns the client's.
    pub(crate) fn seat(&self, seating: Seating, cores: Cores) -> Result<usize> {
        let core = |role| seating.core(cores, role, self.mode().hop());
        seat(self.server_pid(), core(Role::Server))?;
        for (side, role) in [(Side::Near, Role::Proxy), (Side::Far, Role::FarProxy)] {
            for process in self.proxy_pids(side)? {
                seat(process, core(role))?;
            }
        }
        Ok(core(Role::Client))
    }

    /// See [`Way::steered`].
    pub(crate) fn steered(&self) -> Result<Option<u64>> {
        self.way.steered()
    }

    /// See [`Way::forget_connections`].
    pub(crate) fn forget_connections(&self) -> Result<()> {
        self.way.forget_connections()
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
