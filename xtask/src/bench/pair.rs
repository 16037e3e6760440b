//! A client and a server in pods of their own, with one way between them, up for as long as its value lives.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::mode::Mode;
use super::seating::{Cores, Hop, Role, Seating, seat};
use super::work::Work;
use crate::lab::peer::Answer;
use crate::lab::{Lab, Log, Pod, Program, Sidecar, Wire, this_program};
use crate::process::{capture, find_program};

/// One mode, ready to be measured at any time: raising it is not part of any sample.
#[derive(Debug)]
pub(crate) struct Pair {
    mode: Mode,
    sidecar: Option<Sidecar>,
    server: Program,
    client_pod: Rc<Pod>,
    server_pod: Rc<Pod>,
}

impl Pair {
    /// Makes the pods and starts server and sidecar.
    pub(crate) fn raise(lab: &Lab, mode: Mode) -> Result<Self> {
        let (client_pod, server_pod) = Wire::join(lab, &format!("{}-", mode.word()))?;
        let ports = Work::ALL.map(|work| server_pod.v4(work.port()));
        let server = serve(lab, &server_pod, ports)?;
        let configuration = mode.configuration();
        let sidecar = configuration
            .map(|sections| Sidecar::start(lab, &client_pod, &sections, Log::Off))
            .transpose()?;
        Ok(Self { mode, sidecar, server, client_pod, server_pod })
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes one sample.
    pub(crate) fn measure(&self, work: Work, seating: Seating, cores: Cores) -> Result<Answer> {
        let core = self.seat(seating, cores)?;
        Answer::of(&mut work.client(&self.client_pod, self.server_at(work), Some(core)))
            .with_context(|| format!("{} with {}", work.title(), self.mode.title()))
    }

    /// Moves server and proxy to their cores, and returns the client's.
    pub(crate) fn seat(&self, seating: Seating, cores: Cores) -> Result<usize> {
        let hop = match self.mode {
            Mode::NoCapture | Mode::Direct => Hop::None,
            Mode::RelayEbpf | Mode::RelayIptables => Hop::Relay,
        };
        seat(self.server.pid(), seating.core(cores, Role::Server, hop))?;
        if let Some(sidecar) = &self.sidecar {
            seat(sidecar.pid(), seating.core(cores, Role::Proxy, hop))?;
        }
        Ok(seating.core(cores, Role::Client, hop))
    }

    /// Where clients belong.
    pub(crate) fn client_pod(&self) -> &Pod {
        &self.client_pod
    }

    /// Where the server does a kind of work.
    pub(crate) fn server_at(&self, work: Work) -> SocketAddr {
        self.server_pod.v4(work.port())
    }

    pub(crate) fn server_pid(&self) -> Pid {
        self.server.pid()
    }

    /// Our sidecar beside the client, where there is one.
    pub(crate) fn sidecar(&self) -> Option<&Sidecar> {
        self.sidecar.as_ref()
    }

    /// The proxy's process, where there is one.
    pub(crate) fn sidecar_pid(&self) -> Option<Pid> {
        self.sidecar.as_ref().map(Sidecar::pid)
    }

    /// How many connections the mode has steered so far, by its own count: the kernel's counters for eBPF, the rules'
    /// for iptables. None where nothing is to be steered.
    pub(crate) fn steered(&self) -> Result<Option<u64>> {
        match (&self.sidecar, self.mode) {
            (Some(sidecar), Mode::RelayEbpf) => sidecar.verdicts("outbound", "proxy").map(Some),
            (Some(_), Mode::RelayIptables) => {
                let rules = capture(self.in_namespace("iptables-save").args(["-c", "-t", "nat"]))?;
                Ok(Some(redirects(&rules)))
            }
            _ => Ok(None),
        }
    }

    /// Makes the kernel forget the connections it tracks, as far as there is a tool for it.
    pub(crate) fn forget_connections(&self) -> Result<()> {
        if self.mode == Mode::RelayIptables && find_program("conntrack").is_some() {
            capture(self.in_namespace("conntrack").arg("--flush"))?;
        }
        Ok(())
    }

    fn in_namespace(&self, program: &str) -> Command {
        self.client_pod.app(program)
    }
}

/// Starts the server that echoes at the first and answers at the second address, and waits until it does.
pub(super) fn serve(lab: &Lab, pod: &Pod, at: [SocketAddr; 2]) -> Result<Program> {
    let mut command = pod.app(this_program());
    command.args(["peer", "serve"]).args(at.map(|address| address.to_string()));
    start_server(lab, pod, command, &at)
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

/// Adds up how many packets met a REDIRECT rule, from the output of `iptables-save -c`. Only the first packet of a
/// connection meets the nat table.
fn redirects(rules: &str) -> u64 {
    let counts = rules.lines().filter(|line| line.contains("-j REDIRECT")).filter_map(|line| {
        let (packets, _bytes) = line.strip_prefix('[')?.split_once(':')?;
        packets.parse::<u64>().ok()
    });
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_counted_by_connection() {
        let rules = "*nat\n:OUTPUT ACCEPT [1:60]\n[1:60] -A OUTPUT -p tcp -j SIDESTEP\n\
                     [40:2400] -A SIDESTEP -p tcp -j REDIRECT --to-ports 15001\n\
                     [2:120] -A SIDESTEP -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n";
        assert_eq!(redirects(rules), 42);
        assert_eq!(redirects(""), 0);
    }
}
