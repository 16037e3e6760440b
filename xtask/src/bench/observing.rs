//! What a sidecar weighs that reads requests, logs, counts and traces them: idle, and with what it keeps of a thousand
//! destinations.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use super::mode::Mode;
use super::pair::serve;
use super::table::Table;
use super::way::sections;
use crate::lab::peer::{Answer, Service};
use crate::lab::{Lab, Log, Pod, Sidecar, Wire, this_program};

/// How many destinations are many.
pub(crate) const DESTINATIONS: usize = 1_000;
/// The port of a service's virtual address.
const PORT: u16 = 80;

/// Resident memory of one sidecar, in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Observing {
    /// Ready, and nobody has asked for anything.
    pub(crate) idle_bytes: u64,
    /// It knows all destinations and has served as many connections as there are, all to one of them.
    pub(crate) one_bytes: u64,
    /// It has served one to each of them.
    pub(crate) all_bytes: u64,
}

impl Observing {
    /// What is kept of all destinations but the first, in bytes.
    pub(crate) fn growth(&self) -> u64 {
        self.all_bytes.saturating_sub(self.one_bytes)
    }

    /// A row for each state.
    pub(crate) fn tables(&self) -> Vec<(String, Table)> {
        let mut table = Table::with_head(["state", "resident"]);
        for (state, bytes) in [
            ("idle".to_owned(), self.idle_bytes),
            (format!("{DESTINATIONS} requests to one of {DESTINATIONS} services"), self.one_bytes),
            ("as many more, one to each of them".to_owned(), self.all_bytes),
        ] {
            table.add(vec![state, format!("{:.1} MB", bytes as f64 / 1e6)]);
        }
        vec![("Memory of one sidecar that observes requests, resident".to_owned(), table)]
    }
}

/// Weighs.
pub(crate) fn weigh(lab: &Lab) -> Result<Observing> {
    let (client, server) = Wire::join(lab, "observing-")?;
    let ports = [Service::Http, Service::Collector].map(Service::port);
    let _server = serve(lab, &server, &ports.map(|port| server.v4(port)))?;
    let mut sections =
        sections(Mode::HttpEbpf, &server).context("a sidecar that reads HTTP has no configuration")?;
    let idle = Sidecar::start(lab, &client, &sections, Log::Kept)?;
    let idle_bytes = idle.resident_bytes()?;
    idle.stop()?;
    let destinations: Vec<SocketAddr> = (0..DESTINATIONS).map(virtual_address).collect();
    sections["services"] = services(&destinations, &server);
    sections["outbound"] = json!({ "rules": [{ "proxy": "10.96.0.0/16" }] });
    let sidecar = Sidecar::start(lab, &client, &sections, Log::Kept)?;
    let first = vec![virtual_address(0); DESTINATIONS];
    let one_bytes = visit(&client, &first).and_then(|()| sidecar.resident_bytes())?;
    let all_bytes = visit(&client, &destinations).and_then(|()| sidecar.resident_bytes())?;
    Ok(Observing { idle_bytes, one_bytes, all_bytes })
}

/// Asks each once, on a connection of its own.
fn visit(client: &Pod, destinations: &[SocketAddr]) -> Result<()> {
    let mut tour = client.app(this_program());
    tour.args(["peer", "tour"]).args(destinations.iter().map(SocketAddr::to_string));
    let answer = Answer::of(&mut tour)?;
    ensure!(
        answer.operations == destinations.len() as u64,
        "expected {} answers, found {}",
        destinations.len(),
        answer.operations
    );
    Ok(())
}

fn virtual_address(number: usize) -> SocketAddr {
    // Below the last octet's end: there are far fewer than 65,536.
    let [.., high, low] = (number + 1).to_be_bytes();
    SocketAddr::from(([10, 96, high, low], PORT))
}

fn services(destinations: &[SocketAddr], server: &Pod) -> Value {
    let listed = destinations.iter().enumerate().map(|(number, at)| {
        json!({
            "hostname": format!("service-{number}.lab.svc.cluster.local"),
            "addresses": [at.ip()],
            "ports": [{ "port": PORT, "target-port": Service::Http.port() }],
            "endpoints": [server.v4(0).ip()],
        })
    });
    listed.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_destination_has_an_address_of_its_own() {
        let all: BTreeSet<SocketAddr> = (0..DESTINATIONS).map(virtual_address).collect();
        assert_eq!(all.len(), DESTINATIONS);
        assert!(all.iter().all(|at| at.to_string().starts_with("10.96.")));
    }

    #[test]
    fn what_is_kept_is_what_the_further_destinations_add() {
        let observing = Observing { idle_bytes: 12_000_000, one_bytes: 14_000_000, all_bytes: 19_500_000 };
        assert_eq!(observing.growth(), 5_500_000);
        assert!(observing.tables()[0].1.to_string().contains("19.5 MB"));
    }
}
