//! Envoy, with one worker thread beside its main one, and the pieces of configuration that its ways have in common.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Home, PORT, Plan};
use crate::setup;
use crate::workspace::Workspace;

/// It carries bytes.
pub(super) const TCP: &str = include_str!("envoy-tcp.yaml");
/// It reads requests.
pub(super) const HTTP: &str = include_str!("envoy-http.yaml");

pub(super) fn plan(home: &Home, configuration: &str) -> Result<Plan> {
    command(&home.write("envoy.yaml", configuration)?, vec![PORT])
}

/// The same for a configuration that is put together.
pub(super) fn plan_of(home: &Home, configuration: &Value, ports: Vec<u16>) -> Result<Plan> {
    let text = serde_json::to_string_pretty(configuration).context("write Envoy's configuration")?;
    command(&home.write("envoy.json", &text)?, ports)
}

/// What every Envoy is started with.
fn command(file: &str, ports: Vec<u16>) -> Result<Plan> {
    let program = setup::envoy_binary(&Workspace::locate()?)
        .context("Envoy is not installed: `cargo xtask setup` installs it")?;
    // Hot restart would keep a shared memory that two Envoys on one machine would quarrel about.
    let arguments =
        ["--config-path", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"];
    Ok(Plan { program, arguments: arguments.map(str::to_owned).into(), ports })
}

/// Where what is captured arrives, whatever port it wanted to go to.
pub(super) fn captured(chains: &[Value]) -> Value {
    let original_dst = json!({
        "name": "envoy.filters.listener.original_dst",
        "typed_config": { "@type": of_type("filters.listener.original_dst", "OriginalDst") },
    });
    listener(SocketAddr::from(([0, 0, 0, 0], PORT)), &[original_dst], chains)
}

pub(super) fn listener(at: SocketAddr, filters: &[Value], chains: &[Value]) -> Value {
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

/// A cluster of one known address.
pub(super) fn cluster(name: &str, dialled: SocketAddr) -> Value {
    let endpoint = json!({ "endpoint": { "address": address(dialled) } });
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] },
        "circuit_breakers": no_limits(),
    })
}

/// The defaults stop at 1024 connections.
pub(super) fn no_limits() -> Value {
    let limits = json!({
        "max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000,
    });
    json!({ "thresholds": [limits] })
}

pub(super) fn address(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } })
}

pub(super) fn of_type(room: &str, message: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{room}.v3.{message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoy_listens_where_connections_are_redirected_to_and_asks_where_they_wanted_to_go() {
        for configuration in [TCP, HTTP] {
            for word in [&format!("port_value: {PORT} "), "type: ORIGINAL_DST", "listener.original_dst"] {
                assert!(configuration.contains(word), "{word} in {configuration}");
            }
            assert!(!configuration.contains("access_log:"), "{configuration}");
        }
    }
}
