//! Thousands of connections that do nothing: what they weigh in the proxies of a way, and how many few local ports allow.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::mode::Mode;
use super::pair::start_server;
use super::way::{Side, Way};
use crate::lab::{Lab, Pod, Program, Sidecar, Wire, standing, this_program};

/// How many connections stand at once. Each is two descriptors of the proxy's, and 20,000 are a common hard limit.
pub(crate) const CONNECTIONS: usize = 8_000;
/// How many local ports are few.
pub(crate) const FEW_PORTS: u16 = 1_000;
/// How many connections few local ports have to allow.
pub(crate) const WITH_FEW_PORTS: usize = 5_000;
/// The server's ports: as many destinations as it takes for the upstream legs, each of which needs a local port of its
/// own towards its destination.
const PORTS: std::ops::Range<u16> = 7100..7110;
/// How long opening them all may take.
const OPENING: Duration = Duration::from_secs(60);

/// Resident memory of one proxy.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Crowd {
    /// Ready, before the first connection, in bytes.
    pub(crate) idle_bytes: u64,
    /// With all connections standing, in bytes.
    pub(crate) crowded_bytes: u64,
    /// How many connections those are.
    pub(crate) connections: usize,
    /// How many of them the kernel counted as steered to the proxy.
    pub(crate) steered: u64,
}

impl Crowd {
    /// What one connection weighs, in bytes.
    pub(crate) fn bytes_per_connection(&self) -> f64 {
        self.crowded_bytes.saturating_sub(self.idle_bytes) as f64 / self.connections as f64
    }
}

/// Weighs.
pub(crate) fn weigh(lab: &Lab) -> Result<Crowd> {
    let (_standing, crowd) = Hall::open(lab, "crowd-", Mode::RelayEbpf)?.weigh(lab, CONNECTIONS)?;
    Ok(crowd.near)
}

/// How many of [`WITH_FEW_PORTS`] captured connections stand when the pod has [`FEW_PORTS`] local ports.
pub(crate) fn count_with_few_ports(lab: &Lab) -> Result<usize> {
    let hall = Hall::open(lab, "few-", Mode::RelayEbpf)?;
    hall.client().narrow_local_ports(FEW_PORTS)?;
    Ok(hall.fill(lab, WITH_FEW_PORTS)?.standing)
}

/// A way between a place for clients and a server with room for everybody.
#[derive(Debug)]
pub(super) struct Hall {
    way: Way,
    _server: Program,
    at: Vec<SocketAddr>,
}

/// What the proxies of a way weigh with the same connections.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Weighed {
    /// The one beside the client.
    pub(crate) near: Crowd,
    /// The one beside the server, where there is one.
    pub(crate) far: Option<Crowd>,
}

/// A client and its connections, which end with it.
#[derive(Debug)]
pub(super) struct Standing {
    client: Program,
    standing: usize,
}

impl Hall {
    pub(super) fn open(lab: &Lab, role: &str, mode: Mode) -> Result<Self> {
        let (client, server_pod) = Wire::join(lab, role)?;
        let at: Vec<SocketAddr> = PORTS.map(|port| server_pod.v4(port)).collect();
        let mut collect = server_pod.app(this_program());
        collect.args(["peer", "collect"]).args(at.iter().map(SocketAddr::to_string));
        let server = start_server(lab, &server_pod, collect, &at)?;
        let way = Way::open(lab, mode, [&client, &server_pod], &at)?;
        Ok(Self { way, _server: server, at })
    }

    /// Where clients belong.
    pub(super) fn client(&self) -> &Pod {
        &self.way.client_pod
    }

    /// Where servers belong.
    pub(super) fn server(&self) -> &Pod {
        &self.way.server_pod
    }

    /// Our sidecar beside the client.
    pub(super) fn sidecar(&self) -> Result<&Sidecar> {
        self.way.sidecar(Side::Near).context("the way of these connections has no sidecar of ours")
    }

    /// How many connections were steered to the proxy so far.
    pub(super) fn steered(&self) -> Result<u64> {
        self.way.steered()?.context("these connections are not steered")
    }

    /// Opens connections, and weighs the proxies before and after.
    pub(super) fn weigh(&self, lab: &Lab, count: usize) -> Result<(Standing, Weighed)> {
        let weights = || Side::ALL.map(|side| self.way.resident_bytes(side).transpose());
        let idle = weights();
        let crowd = self.fill(lab, count)?;
        ensure!(
            crowd.standing == count,
            "only {} of {count} connections stand: {}",
            crowd.standing,
            crowd.client.said()
        );
        let crowded = weights();
        let steered = self.steered()?;
        let mut each = idle.into_iter().zip(crowded).map(|(idle, crowded)| {
            let (Some(idle), Some(crowded)) = (idle, crowded) else { return anyhow::Ok(None) };
            let (idle_bytes, crowded_bytes) = (idle?, crowded?);
            Ok(Some(Crowd { idle_bytes, crowded_bytes, connections: count, steered }))
        });
        let near = each.next().transpose()?.flatten().context("there is no proxy beside the client")?;
        let far = each.next().transpose()?.flatten();
        Ok((crowd, Weighed { near, far }))
    }

    /// Opens connections, and waits until no more are being opened.
    fn fill(&self, lab: &Lab, count: usize) -> Result<Standing> {
        let mut hold = self.client().app(this_program());
        hold.args(["peer", "hold", &count.to_string()]).args(self.at.iter().map(SocketAddr::to_string));
        let name = format!("a client with {count} connections");
        let mut client = Program::start(&name, hold, lab.file(&format!("{}.log", self.client().name())))?;
        let standing = lab.patience().up_to(OPENING).until(&name, || {
            client.check()?;
            Ok(standing(&client.said()))
        })?;
        Ok(Standing { client, standing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_weighs_what_it_adds() {
        let crowd =
            Crowd { idle_bytes: 8_000_000, crowded_bytes: 88_000_000, connections: 8_000, steered: 8_000 };
        assert_eq!(crowd.bytes_per_connection(), 10_000.0);
    }
}
