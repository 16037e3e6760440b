//! What stands between a client and a server in one mode: nothing, something in the client's pod, or something in each.

use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, Result};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::account::resident_bytes;
use super::foreign::{self, Carries, Destination, End, Foreign, redirect};
use super::mode::{Capture, Mode, Proxy, TRACED_PERCENT};
use super::streams::STREAMS;
use crate::lab::peer::Service;
use crate::lab::{Authority, Lab, Log, Member, Pod, Sidecar};
use crate::process::{capture, find_program};

/// As many connections as either sidecar of a tunnel takes: more than ever stand, and the tunnels themselves are counted
/// too.
const MOST_CONNECTIONS: usize = 2 * STREAMS;

/// One of the two ends of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The client's.
    Near,
    /// The server's.
    Far,
}

impl Side {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Near, Self::Far];

    /// What fields call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }
}

/// A way that is open as long as its value lives.
#[derive(Debug)]
pub(super) struct Way {
    mode: Mode,
    // The farther last: the nearer is done with it when it goes.
    near: Beside,
    far: Beside,
    pub(super) client_pod: Rc<Pod>,
    pub(super) server_pod: Rc<Pod>,
}

/// What stands in one pod beside its app.
#[derive(Debug, Default)]
struct Beside {
    /// Our sidecar, or our capture for a foreign proxy.
    sidecar: Option<Sidecar>,
    _foreign: Option<Foreign>,
}

/// The pods at both ends, and where the server listens.
struct Ends<'a> {
    client: &'a Rc<Pod>,
    server: &'a Rc<Pod>,
    at: &'a [SocketAddr],
}

impl Ends<'_> {
    fn destination(&self) -> Destination<'_> {
        Destination { at: self.at, collector: self.server.v4(Service::Collector.port()) }
    }
}

impl Way {
    /// Opens a mode's way to the addresses of a server.
    pub(super) fn open(
        lab: &Lab,
        mode: Mode,
        [client, server]: [&Rc<Pod>; 2],
        at: &[SocketAddr],
    ) -> Result<Self> {
        let ends = Ends { client, server, at };
        let (near, far) = match mode.proxy() {
            Proxy::Tunnel | Proxy::HttpTunnel => tunnel(lab, mode, &ends)?,
            Proxy::EnvoyTls => encrypted(lab, mode, &ends, Carries::Bytes)?,
            Proxy::EnvoyObservedTls => encrypted(lab, mode, &ends, Carries::Requests)?,
            _ => (one_hop(lab, mode, &ends)?, Beside::default()),
        };
        Ok(Self { mode, near, far, client_pod: Rc::clone(client), server_pod: Rc::clone(server) })
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Our own process on a side, where there is one.
    pub(super) fn sidecar(&self, side: Side) -> Option<&Sidecar> {
        match side {
            Side::Near => self.near.sidecar.as_ref(),
            Side::Far => self.far.sidecar.as_ref(),
        }
    }

    /// The processes that carry or steer the mode's connections on a side: everything in the sidecar's place of the pod,
    /// workers included.
    pub(super) fn processes(&self, side: Side) -> Result<Vec<Pid>> {
        match side {
            Side::Near => self.client_pod.sidecar_processes(),
            Side::Far => self.server_pod.sidecar_processes(),
        }
    }

    /// What they have resident together, in bytes; none where there are none.
    pub(super) fn resident_bytes(&self, side: Side) -> Result<Option<u64>> {
        let each: Vec<u64> = self.processes(side)?.into_iter().map(resident_bytes).collect::<Result<_>>()?;
        Ok((!each.is_empty()).then(|| each.iter().sum()))
    }

    /// How many connections have gone the mode's way so far, by its own count: the kernel's counters for eBPF, the rules'
    /// for iptables, and for a tunnel the fewer of those that went in and those that came out of it. None where nothing
    /// is to be steered.
    pub(super) fn steered(&self) -> Result<Option<u64>> {
        let by_ebpf = |sidecar: &Sidecar| sidecar.verdicts("outbound", "proxy");
        match (self.mode.capture(), &self.near.sidecar, &self.far.sidecar) {
            // Who reads requests sends them on over as few streams as it takes.
            (Capture::Ebpf, Some(near), Some(_)) if self.mode.observes() => by_ebpf(near).map(Some),
            // What the farther takes in comes by the tunnel: nothing else is captured there.
            (Capture::Ebpf, Some(near), Some(far)) => Ok(Some(by_ebpf(near)?.min(far.opened("inbound")?))),
            (Capture::Ebpf, Some(near), None) => by_ebpf(near).map(Some),
            (Capture::Iptables, ..) => redirect::count(&self.client_pod).map(Some),
            _ => Ok(None),
        }
    }

    /// Makes the kernel forget the connections it tracks, as far as there is a tool for it: a table full of those that
    /// are over would be held against whoever needs it.
    pub(super) fn forget_connections(&self) -> Result<()> {
        if self.mode.capture() == Capture::Iptables && find_program("conntrack").is_some() {
            capture(self.client_pod.app("conntrack").arg("--flush"))?;
        }
        Ok(())
    }
}

/// What our process in a pod is told, be it the sidecar or the capture for a foreign proxy; where there is none there is
/// nobody to tell.
pub(super) fn sections(mode: Mode, server: &Pod) -> Option<Value> {
    let mut sections = mode.configuration()?;
    if mode.observes() {
        let collector = server.v4(Service::Collector.port());
        sections["tracing"] = json!({
            "endpoint": format!("http://{collector}"),
            "protocol": "grpc",
            "sampling": TRACED_PERCENT / 100.0,
        });
    }
    Some(sections)
}

/// Whether our sidecars log.
fn log(mode: Mode) -> Log {
    if mode.observes() { Log::Kept } else { Log::Off }
}

fn one_hop(lab: &Lab, mode: Mode, ends: &Ends<'_>) -> Result<Beside> {
    let foreign = Foreign::start(lab, ends.client, mode.proxy(), &ends.destination())?;
    if foreign.is_some() && mode.capture() == Capture::Iptables {
        redirect::install(lab, ends.client, mode.proxy())?;
    }
    let configuration = sections(mode, ends.server);
    let sidecar = configuration.map(|sections| match foreign {
        None => Sidecar::start(lab, ends.client, &sections, log(mode)),
        Some(_) => Sidecar::capture(lab, ends.client, &sections, foreign::PORT),
    });
    Ok(Beside { sidecar: sidecar.transpose()?, _foreign: foreign })
}

/// A sidecar of ours on either side. Nothing comes into the server's pod but by the tunnel, which needs no rule.
fn tunnel(lab: &Lab, mode: Mode, ends: &Ends<'_>) -> Result<(Beside, Beside)> {
    let authority = authority(lab, ends)?;
    let members = [Member::of("client", ends.client), Member::of("server", ends.server)];
    let sections = |member: &Member| {
        let more = sections(mode, ends.server).context("our tunnel has no configuration")?;
        let mut sections = member.sections(authority.directory(), &members);
        for (name, section) in more.as_object().into_iter().flatten() {
            sections[name] = section.clone();
        }
        sections["relay"] = json!({ "max-connections": MOST_CONNECTIONS });
        anyhow::Ok(sections)
    };
    let start = |pod, member| Sidecar::start(lab, pod, &sections(member)?, log(mode));
    let far = start(ends.server, &members[1])?;
    let near = start(ends.client, &members[0])?;
    let beside = |sidecar| Beside { sidecar: Some(sidecar), _foreign: None };
    Ok((beside(near), beside(far)))
}

/// An Envoy on either side. What the nearer gets is redirected; the farther is dialled by its address.
fn encrypted(lab: &Lab, mode: Mode, ends: &Ends<'_>, carries: Carries) -> Result<(Beside, Beside)> {
    let authority = authority(lab, ends)?;
    let start = |pod: &Rc<Pod>, side, [own, other]: [Member; 2]| {
        let certificates = lab.file(&format!("{}.certificates", pod.name()));
        authority.issue(&own.identity(), &certificates)?;
        let end = End { side, carries, certificates: &certificates, expects: &other.identity() };
        let foreign = Foreign::start_end(lab, pod, end, &ends.destination())?;
        anyhow::Ok(Beside { sidecar: None, _foreign: Some(foreign) })
    };
    let (client, server) = (Member::of("client", ends.client), Member::of("server", ends.server));
    let far = start(ends.server, Side::Far, [server, client])?;
    let near = start(ends.client, Side::Near, [client, server])?;
    redirect::install(lab, ends.client, mode.proxy())?;
    Ok((near, far))
}

fn authority(lab: &Lab, ends: &Ends<'_>) -> Result<Authority> {
    Authority::establish(lab, &format!("{}.authority", ends.client.name()))
}
