//! The edge of a workload with real parts: databases that take nothing but TLS, and apps that speak none.

mod explicit;
mod mariadb;
mod postgresql;
mod probes;
mod serving;

use std::path::Path;

use serde_json::{Value, json};
use sidestep_tests::{Config, Hosts, Pod};

/// The name in the certificates of the servers here. Nobody resolves it: they are dialled by address.
const NAME: &str = "db.example.com";

/// TLS towards a service of `server`, whose port the app finds on its own loopback.
fn originate(server: &Pod, port: u16, protocol: &str, ca: &Path) -> Value {
    json!({
        "listen": format!("127.0.0.1:{port}"),
        "to": server.v4(port).to_string(),
        "protocol": protocol,
        "server-name": NAME,
        "ca": ca,
    })
}

/// A sidecar's configuration with these entries.
fn config(pod: &Pod, entries: &[Value]) -> Config {
    Config::of(pod).with("originate-tls", entries.into())
}

/// A scene that every test here begins with: who asks, who is asked, and who vouches for the latter.
struct Scene {
    client: Pod,
    server: Pod,
    hosts: Hosts,
}

impl Scene {
    fn new() -> Self {
        let (client, server) = Pod::pair();
        Self { client, server, hosts: Hosts::new() }
    }

    fn entry(&self, port: u16, protocol: &str) -> Value {
        originate(&self.server, port, protocol, &self.hosts.bundle())
    }
}
