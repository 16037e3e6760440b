//! `workloads:` and `services:`: what is known of the mesh.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::entry::Entry;
use super::or;
use crate::config::ConfigError;
use crate::config::value::{Hostname, OneOrMany, Port, Value};
use crate::config::yaml::Part;
use crate::model::{
    Destination, Directory, DirectoryBuilder, Identity, OriginalDst, Protocol, Reach, Service, ServicePort,
    TrustDomain, Workload,
};

/// One entry of `workloads`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a workload's name, namespace and so on")]
pub(super) struct WrittenWorkload {
    name: Value<Hostname>,
    namespace: Value<Hostname>,
    service_account: Value<Hostname>,
    trust_domain: Option<Value<TrustDomain>>,
    addresses: OneOrMany<IpAddr>,
    tunnel: Option<Value<Reach>>,
    node: Option<Value<Hostname>>,
}

/// One entry of `services`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a service's hostname, addresses, ports and endpoints")]
pub(super) struct WrittenService {
    hostname: Value<Hostname>,
    addresses: OneOrMany<IpAddr>,
    ports: Vec<WrittenPort>,
    endpoints: OneOrMany<IpAddr>,
}

/// One entry of a service's `ports`.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a port such as { port: 80, target-port: 8080 }"
)]
pub(super) struct WrittenPort {
    port: Value<Port>,
    target_port: Option<Value<Port>>,
    name: Option<Value<Hostname>>,
    app_protocol: Option<String>,
}

/// What the workload itself contributes to what it knows of others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Own<'a> {
    /// It has no identity, and so no tunnels.
    None,
    /// Its identity is what its certificate says.
    Certified,
    /// It has this identity, and others are in its trust domain unless they say otherwise.
    Identity(&'a Identity),
}

/// The directory, if its entries fit together.
pub(super) fn directory(
    workloads: Vec<Spanned<WrittenWorkload>>,
    services: Vec<Spanned<WrittenService>>,
    own: Own<'_>,
    part: Part<'_>,
) -> Result<Directory, ConfigError> {
    let mut builder = DirectoryBuilder::default();
    let mut names = HashSet::new();
    for (index, Spanned { value, referenced, .. }) in workloads.into_iter().enumerate() {
        let at = Entry { list: "workloads", index, location: referenced, part };
        let workload = value.workload(own, at)?;
        let name = format!("{}/{}", workload.identity.namespace(), workload.name);
        if !names.insert(format!("{}/{name}", workload.identity.trust_domain())) {
            return Err(at.invalid("name", format!("expected every workload once, found {name} again")));
        }
        builder.workload(workload).map_err(|error| at.invalid("addresses", error.to_string()))?;
    }
    let mut endpoints = Vec::new();
    for (index, Spanned { value, referenced, .. }) in services.into_iter().enumerate() {
        let at = Entry { list: "services", index, location: referenced, part };
        let service = value.service(at)?;
        if !names.insert(service.hostname.clone()) {
            let message = format!("expected every service once, found {} again", service.hostname);
            return Err(at.invalid("hostname", message));
        }
        endpoints.push((at, service.endpoints.clone()));
        builder.service(service).map_err(|error| at.invalid("addresses", error.to_string()))?;
    }
    let directory = builder.build();
    // Only now is every service known: one may be written behind another whose endpoint it cannot be.
    for (at, endpoints) in endpoints {
        for endpoint in endpoints {
            let known = directory.resolve(OriginalDst(SocketAddr::new(endpoint, 0)));
            if let Destination::Service { service, .. } | Destination::NoSuchPort(service) = known {
                let message = format!(
                    "expected addresses of workloads, found {endpoint}, the virtual address of {}",
                    service.hostname
                );
                return Err(at.invalid("endpoints", message));
            }
        }
    }
    Ok(directory)
}

impl Entry<'_> {
    /// The addresses of an entry that makes no sense without any.
    fn some(self, addresses: OneOrMany<IpAddr>) -> Result<Vec<IpAddr>, ConfigError> {
        let addresses: Vec<IpAddr> = addresses.into_values().collect();
        if addresses.is_empty() {
            return Err(self.invalid("addresses", "expected at least one address, found none"));
        }
        Ok(addresses)
    }
}

impl WrittenWorkload {
    fn workload(self, own: Own<'_>, at: Entry<'_>) -> Result<Workload, ConfigError> {
        let domain = match (self.trust_domain, own) {
            (Some(Value(domain)), _) => domain.as_str().to_owned(),
            (None, Own::Identity(identity)) => identity.trust_domain().to_owned(),
            (None, Own::None | Own::Certified) => {
                let message = "expected a trust domain here or in identity.id, found none";
                return Err(at.invalid("trust-domain", message));
            }
        };
        let reach = or(self.tunnel, Reach::Plain);
        if reach == Reach::Tunnel && matches!(own, Own::None) {
            let message = "expected the section identity, without which there are no tunnels, found none";
            return Err(at.invalid("tunnel", message));
        }
        let identity = domain
            .parse()
            .and_then(|domain| Identity::new(&domain, &self.namespace.0.0, &self.service_account.0.0))
            .map_err(|error| at.invalid("service-account", error.to_string()))?;
        Ok(Workload {
            name: self.name.0.0,
            identity,
            addresses: at.some(self.addresses)?,
            reach,
            node: self.node.map(|Value(Hostname(node))| node),
        })
    }
}

impl WrittenService {
    fn service(self, at: Entry<'_>) -> Result<Service, ConfigError> {
        let ports = self.ports.into_iter().map(|written| {
            let Value(Port(port)) = written.port;
            let target_port = written.target_port.map_or(port, |Value(Port(target))| target);
            // What the application is said to speak wins over what its port's name begins with.
            let said = written.app_protocol.as_deref().and_then(Protocol::of_app_protocol);
            let named = written.name.and_then(|Value(Hostname(name))| Protocol::of_port_name(&name));
            ServicePort { port, target_port, protocol: said.or(named) }
        });
        Ok(Service {
            hostname: self.hostname.0.0,
            addresses: at.some(self.addresses)?,
            ports: ports.collect(),
            endpoints: self.endpoints.into_values().collect(),
        })
    }
}
