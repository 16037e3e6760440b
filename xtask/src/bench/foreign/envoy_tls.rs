//! A pair of Envoys with mutual TLS between the two: the nearer takes what is captured and encrypts it, the farther
//! decrypts it and hands it to the server. Either both carry bytes, or both read and observe requests.
//!
//! The one is told of the other at length and in JSON, for both need a passage for each port of the server. What a
//! competent operator would leave out is left out: timers, requests for certificates over the network, and of those that
//! carry bytes, access logs and statistics too. The farther one listens for the nearer at addresses of its own, so that the
//! server's pod needs no rules. TLS is 1.3 on both sides, with the cipher suites, the key exchange and the resumption of
//! sessions that Envoy has by itself.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::envoy::{captured, cluster, listener, of_type, plan_of};
use super::envoy_observed::{Observed, speak_what_is_spoken};
use super::{Destination, Home, PORT, Plan};
use crate::bench::way::Side;
use crate::lab::authority::{CERTIFICATE, KEY, TRUSTED};

/// The farther Envoy listens this far above the server's own ports.
const ABOVE: u16 = 10_000;

/// One end of the encrypted stretch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) side: Side,
    /// What both ends do besides.
    pub(crate) carries: Carries,
    /// Where its certificate, its key and its authority's certificate are.
    pub(crate) certificates: &'a Path,
    /// Whom it expects at the other end.
    pub(crate) expects: &'a str,
}

/// What the two ends take what they carry for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carries {
    /// Bytes.
    Bytes,
    /// Requests, which they observe.
    Requests,
}

/// Whoever does something with what was decrypted or captured.
#[derive(Debug)]
enum Filter {
    Tcp,
    Http(Observed),
}

pub(super) fn plan(home: &Home, end: End<'_>, server: &Destination<'_>) -> Result<Plan> {
    let filter = match end.carries {
        Carries::Bytes => Filter::Tcp,
        Carries::Requests => Filter::Http(Observed::at(home, server.collector)),
    };
    let configuration = match end.side {
        Side::Near => near(end, &filter, server.at),
        Side::Far => far(end, &filter, server.at),
    };
    let ports = match end.side {
        Side::Near => vec![PORT],
        Side::Far => server.at.iter().map(|at| encrypted(*at).port()).collect(),
    };
    plan_of(home, &configuration, ports)
}

/// Where the farther Envoy takes what is for an address of the server.
fn encrypted(server: SocketAddr) -> SocketAddr {
    SocketAddr::new(server.ip(), server.port() + ABOVE)
}

fn near(end: End<'_>, filter: &Filter, server: &[SocketAddr]) -> Value {
    let chain = |at: &SocketAddr| {
        json!({
            "filter_chain_match": { "destination_port": at.port() },
            "filters": [filter.of(&name(*at))],
        })
    };
    let chains: Vec<Value> = server.iter().map(chain).collect();
    let transport = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": of_type("transport_sockets.tls", "UpstreamTlsContext"),
            "common_tls_context": tls(end),
        },
    });
    let clusters = server.iter().map(|at| {
        let mut cluster = filter.cluster(*at, encrypted(*at));
        cluster["transport_socket"] = transport.clone();
        cluster
    });
    filter.bootstrap(&[captured(&chains)], clusters.collect())
}

fn far(end: End<'_>, filter: &Filter, server: &[SocketAddr]) -> Value {
    let listeners = server.iter().map(|at| {
        let chain = json!({
            "filters": [filter.of(&name(*at))],
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": of_type("transport_sockets.tls", "DownstreamTlsContext"),
                    "require_client_certificate": true,
                    "common_tls_context": tls(end),
                },
            },
        });
        listener(encrypted(*at), &[], &[chain])
    });
    let clusters = server.iter().map(|at| filter.cluster(*at, *at));
    filter.bootstrap(&listeners.collect::<Vec<_>>(), clusters.collect())
}

impl Filter {
    fn of(&self, cluster: &str) -> Value {
        match self {
            Self::Http(observed) => observed.filter(cluster),
            Self::Tcp => json!({
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": of_type("filters.network.tcp_proxy", "TcpProxy"),
                    "stat_prefix": "pair",
                    "cluster": cluster,
                    "idle_timeout": "0s",
                },
            }),
        }
    }

    fn cluster(&self, server: SocketAddr, dialled: SocketAddr) -> Value {
        let mut cluster = cluster(&name(server), dialled);
        if let Self::Http(_) = self {
            speak_what_is_spoken(&mut cluster);
        }
        cluster
    }

    fn bootstrap(&self, listeners: &[Value], clusters: Vec<Value>) -> Value {
        match self {
            Self::Http(observed) => observed.bootstrap(listeners, clusters),
            Self::Tcp => json!({ "static_resources": { "listeners": listeners, "clusters": clusters } }),
        }
    }
}

fn tls(end: End<'_>) -> Value {
    let file = |name: &str| json!({ "filename": end.certificates.join(name) });
    json!({
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "tls_certificates": [{ "certificate_chain": file(CERTIFICATE), "private_key": file(KEY) }],
        "validation_context": {
            "trusted_ca": file(TRUSTED),
            "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": end.expects } }],
        },
    })
}

fn name(server: SocketAddr) -> String {
    format!("server-{}", server.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(side: Side) -> End<'static> {
        let expects = "spiffe://cluster.local/ns/lab/sa/other";
        End { side, carries: Carries::Bytes, certificates: Path::new("/c"), expects }
    }

    fn server() -> [SocketAddr; 2] {
        [7001, 7002].map(|port| SocketAddr::from(([10, 78, 0, 2], port)))
    }

    #[test]
    fn what_the_nearer_dials_the_farther_listens_on() {
        let (near, far) =
            (near(end(Side::Near), &Filter::Tcp, &server()), far(end(Side::Far), &Filter::Tcp, &server()));
        for (number, at) in server().into_iter().enumerate() {
            let dialled = &near["static_resources"]["clusters"][number]["load_assignment"]["endpoints"][0];
            let dialled = &dialled["lb_endpoints"][0]["endpoint"]["address"];
            assert_eq!(*dialled, far["static_resources"]["listeners"][number]["address"]);
            assert_eq!(dialled["socket_address"]["port_value"], at.port() + ABOVE);
        }
    }

    #[test]
    fn both_ask_for_a_certificate_and_for_whose_it_is() {
        let home = Home { path: "/h".into() };
        let collector = SocketAddr::from(([10, 78, 0, 2], 4317));
        for filter in [Filter::Tcp, Filter::Http(Observed::at(&home, collector))] {
            let far = far(end(Side::Far), &filter, &server()).to_string();
            assert!(far.contains(r#""require_client_certificate":true"#), "{far}");
            for text in [far, near(end(Side::Near), &filter, &server()).to_string()] {
                assert!(text.contains(r#""exact":"spiffe://cluster.local/ns/lab/sa/other""#), "{text}");
                assert_eq!(text.contains("access_log"), matches!(filter, Filter::Http(_)), "{text}");
            }
        }
    }
}
