//! Thousands of connections that do nothing: what they weigh in the sidecar, and how many few local ports allow.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::json;

use super::pair::start_server;
use crate::lab::{Lab, Log, Pod, Program, Sidecar, Wire, standing, this_program};

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

/// Resident memory of one sidecar.
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
    let (_standing, crowd) = Hall::open(lab, "crowd-")?.weigh(lab, CONNECTIONS)?;
    Ok(crowd)
}

/// How many of [`WITH_FEW_PORTS`] captured connections stand when the pod has [`FEW_PORTS`] local ports.
pub(crate) fn count_with_few_ports(lab: &Lab) -> Result<usize> {
    let hall = Hall::open(lab, "few-")?;
    hall.client.narrow_local_ports(FEW_PORTS)?;
    Ok(hall.fill(lab, WITH_FEW_PORTS)?.standing)
}

/// A sidecar between a place for clients and a server with room for everybody.
#[derive(Debug)]
pub(super) struct Hall {
    pub(super) sidecar: Sidecar,
    _server: Program,
    pub(super) client: Rc<Pod>,
    pub(super) server_pod: Rc<Pod>,
    at: Vec<SocketAddr>,
}

/// A client and its connections, which end with it.
#[derive(Debug)]
pub(super) struct Standing {
    client: Program,
    standing: usize,
}

impl Hall {
    pub(super) fn open(lab: &Lab, role: &str) -> Result<Self> {
        let (client, server_pod) = Wire::join(lab, role)?;
        let at: Vec<SocketAddr> = PORTS.map(|port| server_pod.v4(port)).collect();
        let mut collect = server_pod.app(this_program());
        collect.args(["peer", "collect"]).args(at.iter().map(SocketAddr::to_string));
        let server = start_server(lab, &server_pod, collect, &at)?;
        let sidecar = Sidecar::start(lab, &client, &json!({ "inbound": { "ports": "none" } }), Log::Off)?;
        Ok(Self { sidecar, _server: server, client, server_pod, at })
    }

    /// Opens connections, and weighs the proxy before and after.
    pub(super) fn weigh(&self, lab: &Lab, count: usize) -> Result<(Standing, Crowd)> {
        let idle_bytes = self.sidecar.resident_bytes()?;
        let crowd = self.fill(lab, count)?;
        ensure!(
            crowd.standing == count,
            "only {} of {count} connections stand: {}",
            crowd.standing,
            crowd.client.said()
        );
        let crowded_bytes = self.sidecar.resident_bytes()?;
        let steered = self.sidecar.verdicts("outbound", "proxy")?;
        Ok((crowd, Crowd { idle_bytes, crowded_bytes, connections: count, steered }))
    }

    /// Opens connections, and waits until no more are being opened.
    fn fill(&self, lab: &Lab, count: usize) -> Result<Standing> {
        let mut hold = self.client.app(this_program());
        hold.args(["peer", "hold", &count.to_string()]).args(self.at.iter().map(SocketAddr::to_string));
        let name = format!("a client with {count} connections");
        let mut client = Program::start(&name, hold, lab.file(&format!("{}.log", self.client.name())))?;
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
