//! Where an outbound connection goes: as it is, through a tunnel, or nowhere.

use std::sync::Arc;

use super::balance::{Balance, Picked};
use crate::model::{
    Destination, Directory, Identity, OriginalDst, OwnAddresses, Reach, Reason, Service, UpstreamAddr,
    Workload, tunnel_address,
};
use std::net::{IpAddr, SocketAddr};

/// What becomes of destinations that the directory does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// They are dialled as they are.
    #[default]
    Relay,
    /// They are refused.
    Refuse,
}

/// What is known of the mesh, replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    /// Workloads and services.
    pub directory: Arc<Directory>,
    /// What becomes of everything else.
    pub unknown: Unknown,
    /// Addresses of the workload itself: nobody ends a tunnel there for who is there already.
    own: OwnAddresses,
}

impl Neighbours {
    /// Those of a workload whose own addresses are not known yet.
    #[must_use]
    pub fn new(directory: Arc<Directory>, unknown: Unknown) -> Self {
        Self { directory, unknown, own: OwnAddresses::default() }
    }

    /// The same for a workload that has these addresses.
    pub(super) fn of(self, own: OwnAddresses) -> Self {
        Self { own, ..self }
    }
}

/// Where a connection goes.
#[derive(Debug)]
pub(super) struct Route {
    /// The connection counts for this endpoint while it lives.
    pub(super) picked: Option<Picked>,
    pub(super) way: Way,
    /// The service that it belongs to.
    pub(super) service: Option<Arc<Service>>,
    /// Who is there.
    pub(super) workload: Option<Arc<Workload>>,
}

impl Route {
    /// To an address that nothing is known of.
    pub(super) const fn plain(original: OriginalDst) -> Self {
        Self { picked: None, way: Way::Plain(UpstreamAddr(original.0)), service: None, workload: None }
    }
}

/// How it gets there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// Dialled as it is.
    Plain(UpstreamAddr),
    /// Through a tunnel.
    Tunnel(Hop),
}

/// The way through a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hop {
    /// Where the connection is to end.
    pub(super) target: OriginalDst,
    /// Where the tunnel ends.
    pub(super) tunnel: SocketAddr,
    /// Who has to be there.
    pub(super) identity: Identity,
}

/// Why a connection goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoRoute {
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// Finds the way to `original`.
pub(super) fn find(
    neighbours: &Neighbours,
    balance: &Balance,
    original: OriginalDst,
) -> Result<Route, NoRoute> {
    let directory = &*neighbours.directory;
    let refused = |reason, message| Err(NoRoute { reason, message });
    match directory.resolve(original) {
        Destination::Workload(workload) => Ok(Route {
            picked: None,
            way: way(neighbours, original.0),
            service: None,
            workload: Some(Arc::clone(workload)),
        }),
        Destination::Service { service, port } => {
            let endpoint = |address: &IpAddr| SocketAddr::new(*address, port.target_port);
            let Some(picked) = balance.pick(&service.endpoints, endpoint) else {
                return refused(Reason::NoEndpoint, format!("{} has no endpoint", service.hostname));
            };
            Ok(toward(neighbours, Arc::clone(service), picked))
        }
        Destination::NoSuchPort(service) => {
            let port = original.0.port();
            refused(Reason::NoEndpoint, format!("{} has no port {port}", service.hostname))
        }
        Destination::Unknown => match neighbours.unknown {
            Unknown::Relay => Ok(Route::plain(original)),
            Unknown::Refuse => refused(
                Reason::UnknownDestination,
                format!(
                    "no workload and no service has the address {} (outbound.unknown is refuse)",
                    original.0.ip()
                ),
            ),
        },
    }
}

/// The way to an endpoint of a service.
pub(super) fn toward(neighbours: &Neighbours, service: Arc<Service>, picked: Picked) -> Route {
    let way = way(neighbours, picked.address());
    let workload = neighbours.directory.workload(picked.address().ip()).map(Arc::clone);
    Route { picked: Some(picked), way, service: Some(service), workload }
}

/// The way to an address that may be a workload's.
fn way(neighbours: &Neighbours, address: SocketAddr) -> Way {
    match neighbours.directory.workload(address.ip()) {
        _ if neighbours.own.contains(address.ip()) => Way::Plain(UpstreamAddr(address)),
        Some(workload) if workload.reach == Reach::Tunnel => Way::Tunnel(Hop {
            target: OriginalDst(address),
            tunnel: tunnel_address(address.ip()),
            identity: workload.identity.clone(),
        }),
        Some(_) | None => Way::Plain(UpstreamAddr(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DirectoryBuilder, Service, ServicePort, Workload};

    fn neighbours(unknown: Unknown) -> Neighbours {
        let mut builder = DirectoryBuilder::default();
        for (name, address, reach) in [("db", "10.0.0.9", Reach::Tunnel), ("old", "10.0.0.8", Reach::Plain)] {
            let identity = format!("spiffe://td/ns/shop/sa/{name}").parse().unwrap();
            let addresses = vec![address.parse().unwrap()];
            builder
                .workload(Workload { name: name.to_owned(), identity, addresses, reach, node: None })
                .unwrap();
        }
        for (address, endpoints) in
            [("10.96.0.1", vec!["10.0.0.9".parse().unwrap()]), ("10.96.0.2", Vec::new())]
        {
            let ports = vec![ServicePort { port: 5432, target_port: 15432, protocol: None }];
            let addresses = vec![address.parse().unwrap()];
            builder.service(Service { hostname: "db.shop".to_owned(), addresses, ports, endpoints }).unwrap();
        }
        Neighbours::new(Arc::new(builder.build()), unknown)
    }

    fn to(destination: &str, unknown: Unknown) -> Result<Way, Reason> {
        let original = OriginalDst(destination.parse().unwrap());
        find(&neighbours(unknown), &Balance::default(), original)
            .map(|route| route.way)
            .map_err(|none| none.reason)
    }

    fn plain(address: &str) -> Way {
        Way::Plain(UpstreamAddr(address.parse().unwrap()))
    }

    #[test]
    fn a_service_that_leads_back_to_the_workload_itself_needs_no_tunnel() {
        let own = neighbours(Unknown::Relay).of(OwnAddresses::new(vec!["10.0.0.9".parse().unwrap()]));
        let original = OriginalDst("10.96.0.1:5432".parse().unwrap());
        let route = find(&own, &Balance::default(), original).unwrap();
        assert_eq!(route.way, plain("10.0.0.9:15432"));
    }

    #[test]
    fn the_way_depends_on_what_the_destination_is() {
        let tunnel = |target: &str| {
            Way::Tunnel(Hop {
                target: OriginalDst(target.parse().unwrap()),
                tunnel: "10.0.0.9:15008".parse().unwrap(),
                identity: "spiffe://td/ns/shop/sa/db".parse().unwrap(),
            })
        };
        let relay = |destination| to(destination, Unknown::Relay);
        assert_eq!(relay("10.0.0.9:80"), Ok(tunnel("10.0.0.9:80")));
        assert_eq!(
            relay("10.96.0.1:5432"),
            Ok(tunnel("10.0.0.9:15432")),
            "a service's port is not its endpoints'"
        );
        assert_eq!(relay("10.0.0.8:80"), Ok(plain("10.0.0.8:80")));
        assert_eq!(relay("10.1.1.1:80"), Ok(plain("10.1.1.1:80")));
        assert_eq!(relay("10.96.0.1:80"), Err(Reason::NoEndpoint));
        assert_eq!(relay("10.96.0.2:5432"), Err(Reason::NoEndpoint));
        assert_eq!(to("10.1.1.1:80", Unknown::Refuse), Err(Reason::UnknownDestination));
    }
}
