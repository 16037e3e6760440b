//! What is known of the mesh: its workloads and services by their addresses.
//!
//! A snapshot: replaced as a whole, never changed. Whoever fills it (the configuration file, later a feed) has checked
//! it through [`DirectoryBuilder`]; whoever reads it decides what a destination means.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use thiserror::Error;

use super::{Identity, OriginalDst, Protocol};

/// How a workload can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Through the tunnel, at port 15008 of its own address.
    Tunnel,
    /// As it is.
    Plain,
}

/// A workload as others know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its name, unique within its namespace.
    pub name: String,
    /// Who it proves to be; its namespace and service account are in it.
    pub identity: Identity,
    /// Where it is; each address belongs to one workload.
    pub addresses: Vec<IpAddr>,
    /// How to reach it.
    pub reach: Reach,
    /// The node it runs on, if known.
    pub node: Option<String>,
}

/// A port of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// What clients dial.
    pub port: u16,
    /// Where endpoints listen.
    pub target_port: u16,
    /// What they speak, if it was declared; otherwise connections are looked at.
    pub protocol: Option<Protocol>,
}

/// A name with virtual addresses that stands for endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its host name, such as `db.shop.svc.cluster.local`.
    pub hostname: String,
    /// Its virtual addresses; none of them is a workload's.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Where its endpoints are; each is a workload's address or one that nothing is known of.
    pub endpoints: Vec<IpAddr>,
}

/// What a destination turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A workload's own address.
    Workload(&'a Arc<Workload>),
    /// A virtual address: one of these is to be picked. May be empty.
    Service {
        /// Which service.
        service: &'a Arc<Service>,
        /// The port that was dialled.
        port: ServicePort,
    },
    /// A service's address, but none of its ports.
    NoSuchPort(&'a Arc<Service>),
    /// Nothing is known of it.
    Unknown,
}

/// Workloads and services by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    workloads: HashMap<IpAddr, Arc<Workload>>,
    services: HashMap<IpAddr, Arc<Service>>,
    /// By hostname.
    names: BTreeMap<String, Arc<Service>>,
}

/// Several services have a hostname that begins with the labels that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

impl Directory {
    /// What `original` stands for.
    #[must_use]
    pub fn resolve(&self, original: OriginalDst) -> Destination<'_> {
        let (address, port) = (original.0.ip(), original.0.port());
        if let Some(workload) = self.workloads.get(&address) {
            return Destination::Workload(workload);
        }
        let Some(service) = self.services.get(&address) else { return Destination::Unknown };
        match service.ports.iter().find(|known| known.port == port) {
            Some(&port) => Destination::Service { service, port },
            None => Destination::NoSuchPort(service),
        }
    }

    /// The service whose hostname is `name`, or else the one whose hostname begins with these labels.
    ///
    /// # Errors
    /// Several begin with them.
    pub fn service_named(&self, name: &str) -> Result<Option<&Arc<Service>>, Ambiguous> {
        if let Some(service) = self.names.get(name) {
            return Ok(Some(service));
        }
        let labels = format!("{name}.");
        let mut found =
            self.names.range(labels.clone()..).take_while(|(hostname, _)| hostname.starts_with(&labels));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Ambiguous),
            (one, _) => Ok(one.map(|(_, service)| service)),
        }
    }

    /// The workload at `address`.
    #[must_use]
    pub fn workload(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.workloads.get(&address)
    }

    /// Every workload, with each of its addresses.
    pub fn workloads(&self) -> impl Iterator<Item = (IpAddr, &Arc<Workload>)> {
        self.workloads.iter().map(|(&address, workload)| (address, workload))
    }

    /// Every service, once for each of its addresses.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }
}

/// Collects a [`Directory`], and refuses what contradicts itself.
#[derive(Clone, Debug, Default)]
pub struct DirectoryBuilder(Directory);

impl DirectoryBuilder {
    /// Adds a workload.
    ///
    /// # Errors
    /// One of its addresses is taken.
    pub fn workload(&mut self, workload: Workload) -> Result<(), DirectoryError> {
        let workload = Arc::new(workload);
        for &address in &workload.addresses {
            self.expect_free(address)?;
            self.0.workloads.insert(address, Arc::clone(&workload));
        }
        Ok(())
    }

    /// Adds a service.
    ///
    /// # Errors
    /// One of its addresses is taken, or one of its ports was given twice.
    pub fn service(&mut self, service: Service) -> Result<(), DirectoryError> {
        for (index, port) in service.ports.iter().enumerate() {
            if service.ports[..index].iter().any(|earlier| earlier.port == port.port) {
                return Err(DirectoryError::PortTwice { hostname: service.hostname, port: port.port });
            }
        }
        let service = Arc::new(service);
        for &address in &service.addresses {
            self.expect_free(address)?;
            self.0.services.insert(address, Arc::clone(&service));
        }
        self.0.names.insert(service.hostname.clone(), service);
        Ok(())
    }

    /// The snapshot.
    #[must_use]
    pub fn build(self) -> Directory {
        self.0
    }

    fn expect_free(&self, address: IpAddr) -> Result<(), DirectoryError> {
        let by = match (self.0.workloads.get(&address), self.0.services.get(&address)) {
            (Some(workload), _) => {
                format!("the workload {}/{}", workload.identity.namespace(), workload.name)
            }
            (None, Some(service)) => format!("the service {}", service.hostname),
            (None, None) => return Ok(()),
        };
        Err(DirectoryError::AddressTaken { address, by })
    }
}

/// Why something cannot be in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DirectoryError {
    /// Two things have one address.
    #[error("expected an address that nothing else has, found {address}, which belongs to {by}")]
    AddressTaken {
        /// Which address.
        address: IpAddr,
        /// Who has it.
        by: String,
    },
    /// A service has a port twice.
    #[error("expected each port of {hostname} once, found {port} twice")]
    PortTwice {
        /// Which service.
        hostname: String,
        /// Which port.
        port: u16,
    },
}

/// The port of the tunnel at a workload's address (HBONE; the same for every workload).
pub const TUNNEL_PORT: u16 = 15008;

/// Where the tunnel to a workload's address is dialled.
#[must_use]
pub const fn tunnel_address(workload: IpAddr) -> SocketAddr {
    SocketAddr::new(workload, TUNNEL_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(name: &str, address: &str) -> Workload {
        Workload {
            name: name.to_owned(),
            identity: format!("spiffe://cluster.local/ns/shop/sa/{name}").parse().unwrap(),
            addresses: vec![address.parse().unwrap()],
            reach: Reach::Tunnel,
            node: None,
        }
    }

    fn service(address: &str, ports: &[(u16, u16)]) -> Service {
        Service {
            hostname: "db.shop".to_owned(),
            addresses: vec![address.parse().unwrap()],
            ports: ports
                .iter()
                .map(|&(port, target_port)| ServicePort { port, target_port, protocol: None })
                .collect(),
            endpoints: vec!["10.0.0.9".parse().unwrap()],
        }
    }

    #[test]
    fn a_destination_is_found_by_its_address_and_a_services_by_its_port_too() {
        let mut builder = DirectoryBuilder::default();
        builder.workload(workload("db", "10.0.0.9")).unwrap();
        builder.service(service("10.96.0.1", &[(5432, 15432)])).unwrap();
        let directory = builder.build();
        let resolve = |text: &str| directory.resolve(OriginalDst(text.parse().unwrap()));
        assert!(matches!(resolve("10.0.0.9:1"), Destination::Workload(workload) if workload.name == "db"));
        assert!(matches!(
            resolve("10.96.0.1:5432"),
            Destination::Service { port: ServicePort { target_port: 15432, .. }, .. }
        ));
        assert!(matches!(resolve("10.96.0.1:80"), Destination::NoSuchPort(_)));
        assert_eq!(resolve("10.0.0.8:80"), Destination::Unknown);
    }

    #[test]
    fn an_address_belongs_to_one_thing_only() {
        let mut builder = DirectoryBuilder::default();
        builder.workload(workload("db", "10.0.0.9")).unwrap();
        let error = builder.workload(workload("other", "10.0.0.9")).unwrap_err().to_string();
        assert!(error.contains("10.0.0.9") && error.contains("shop/db"), "{error}");
        assert!(builder.service(service("10.0.0.9", &[])).is_err());
        assert!(builder.service(service("10.96.0.1", &[(80, 1), (80, 2)])).is_err());
    }
}
