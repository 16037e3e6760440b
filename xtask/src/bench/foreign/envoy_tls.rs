//! A pair of Envoys with mutual TLS between the two: the nearer takes what is captured and encrypts it, the farther
//! decrypts it and hands it to the server.
//!
//! The one is told of the other at length and in JSON, for both need a passage for each port of the server. What a
//! competent operator would leave out is left out: access logs, statistics, timers, requests for certificates over the
//! network. The farther one listens for the nearer at addresses of its own, so that the server's pod needs no rules.
//! TLS is 1.3 on both sides, with the cipher suites, the key exchange and the resumption of sessions that Envoy has by
//! itself.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::envoy::command;
use super::{Home, PORT, Plan};
use crate::bench::way::Side;
use crate::lab::authority::{CERTIFICATE, KEY, TRUSTED};

/// The farther Envoy listens this far above the server's own ports.
const ABOVE: u16 = 10_000;

/// One end of the encrypted stretch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) side: Side,
    /// Where its certificate, its key and its authority's certificate are.
    pub(crate) certificates: &'a Path,
    /// Whom it expects at the other end.
    pub(crate) expects: &'a str,
}

pub(super) fn plan(home: &Home, end: End<'_>, server: &[SocketAddr]) -> Result<Plan> {
    let configuration = match end.side {
        Side::Near => near(end, server),
        Side::Far => far(end, server),
    };
    let ports = match end.side {
        Side::Near => vec![PORT],
        Side::Far => server.iter().map(|at| encrypted(*at).port()).collect(),
    };
    let text = serde_json::to_string_pretty(&configuration).context("write Envoy's configuration")?;
    command(&home.write("envoy.json", &text)?, ports)
}

/// Where the farther Envoy takes what is for an address of the server.
fn encrypted(server: SocketAddr) -> SocketAddr {
    SocketAddr::new(server.ip(), server.port() + ABOVE)
}

fn near(end: End<'_>, server: &[SocketAddr]) -> Value {
    let chain = |at: &SocketAddr| {
        json!({
            "filter_chain_match": { "destination_port": at.port() },
            "filters": [tcp_proxy(*at)],
        })
    };
    let chains: Vec<Value> = server.iter().map(chain).collect();
    let listener = listener(
        SocketAddr::from(([0, 0, 0, 0], PORT)),
        &[json!({
            "name": "envoy.filters.listener.original_dst",
            "typed_config": { "@type": of_type("filters.listener.original_dst", "OriginalDst") },
        })],
        &chains,
    );
    let transport = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": of_type("transport_sockets.tls", "UpstreamTlsContext"),
            "common_tls_context": tls(end),
        },
    });
    let clusters = server.iter().map(|at| {
        let mut cluster = cluster(*at, encrypted(*at));
        cluster["transport_socket"] = transport.clone();
        cluster
    });
    json!({ "static_resources": { "listeners": [listener], "clusters": clusters.collect::<Vec<_>>() } })
}

fn far(end: End<'_>, server: &[SocketAddr]) -> Value {
    let listeners = server.iter().map(|at| {
        let chain = json!({
            "filters": [tcp_proxy(*at)],
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
    let clusters = server.iter().map(|at| cluster(*at, *at));
    json!({
        "static_resources": {
            "listeners": listeners.collect::<Vec<_>>(),
            "clusters": clusters.collect::<Vec<_>>(),
        },
    })
}

fn listener(at: SocketAddr, filters: &[Value], chains: &[Value]) -> Value {
    json!({
        "name": format!("at-{}", at.port()),
        "address": address(at),
        "tcp_backlog_size": 4096,
        // Looking for a second one after each would be a failed system call per connection.
        "max_connections_to_accept_per_socket_event": 1,
        "listener_filters": filters,
        "filter_chains": chains,
    })
}

fn tcp_proxy(server: SocketAddr) -> Value {
    json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": of_type("filters.network.tcp_proxy", "TcpProxy"),
            "stat_prefix": "pair",
            "cluster": name(server),
            "idle_timeout": "0s",
        },
    })
}

fn cluster(server: SocketAddr, dialled: SocketAddr) -> Value {
    let endpoint = json!({ "endpoint": { "address": address(dialled) } });
    json!({
        "name": name(server),
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name(server), "endpoints": [{ "lb_endpoints": [endpoint] }] },
        // The defaults stop at 1024 connections.
        "circuit_breakers": { "thresholds": [{
            "max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000,
        }] },
    })
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

fn address(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } })
}

fn name(server: SocketAddr) -> String {
    format!("server-{}", server.port())
}

fn of_type(room: &str, message: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{room}.v3.{message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(side: Side) -> End<'static> {
        End { side, certificates: Path::new("/c"), expects: "spiffe://cluster.local/ns/lab/sa/other" }
    }

    fn server() -> [SocketAddr; 2] {
        [7001, 7002].map(|port| SocketAddr::from(([10, 78, 0, 2], port)))
    }

    #[test]
    fn what_the_nearer_dials_the_farther_listens_on() {
        let (near, far) = (near(end(Side::Near), &server()), far(end(Side::Far), &server()));
        for (number, at) in server().into_iter().enumerate() {
            let dialled = &near["static_resources"]["clusters"][number]["load_assignment"]["endpoints"][0];
            let dialled = &dialled["lb_endpoints"][0]["endpoint"]["address"];
            assert_eq!(*dialled, far["static_resources"]["listeners"][number]["address"]);
            assert_eq!(dialled["socket_address"]["port_value"], at.port() + ABOVE);
        }
    }

    #[test]
    fn both_ask_for_a_certificate_and_for_whose_it_is() {
        let far = far(end(Side::Far), &server()).to_string();
        assert!(far.contains(r#""require_client_certificate":true"#), "{far}");
        for text in [far, near(end(Side::Near), &server()).to_string()] {
            assert!(text.contains(r#""exact":"spiffe://cluster.local/ns/lab/sa/other""#), "{text}");
            assert!(!text.contains("access_log"), "{text}");
        }
    }
}
