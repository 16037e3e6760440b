//! Two pods with a sidecar each that looks at HTTP, in plain text or with a tunnel between them.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sidestep_tests::mesh::identity;
use sidestep_tests::{Access, Config, Mesh, Pod, Sidestep, eventually};

/// How the two sidecars speak with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In plain text: neither knows the other.
    Plain,
    /// Through a tunnel.
    Tunnel,
}

impl Way {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Plain, Self::Tunnel];
}

/// The pods.
pub(super) struct Scene {
    pub(super) client: Pod,
    pub(super) server: Pod,
    mesh: Mesh,
    way: Way,
    http: Value,
    tracing: Option<Value>,
}

/// The sidecars in them.
pub(super) struct Sidecars<'a> {
    pub(super) near: Sidestep<'a>,
    pub(super) far: Sidestep<'a>,
    way: Way,
}

impl Scene {
    /// Two pods that will speak that way, with everything of HTTP at its default.
    pub(super) fn of(way: Way) -> Self {
        let (client, server) = Pod::pair();
        Self { client, server, mesh: Mesh::new(), way, http: json!({}), tracing: None }
    }

    /// The same with settings of HTTP.
    pub(super) fn with(mut self, http: Value) -> Self {
        self.http = http;
        self
    }

    /// The same with every request recorded for a collector, which is not there: what it would be told of is in the logs too.
    pub(super) fn traced(mut self) -> Self {
        self.tracing = Some(json!({ "endpoint": "http://127.0.0.1:4317", "sampling": 1.0 }));
        self
    }

    /// The client's sidecar alone.
    pub(super) fn near(&self) -> Sidestep<'_> {
        Sidestep::sidecar(&self.client, &self.near_config())
    }

    /// The server's sidecar alone.
    pub(super) fn far(&self) -> Sidestep<'_> {
        Sidestep::sidecar(&self.server, &self.far_config())
    }

    /// Both sidecars.
    pub(super) fn sidecars(&self) -> Sidecars<'_> {
        let far = self.far();
        Sidecars { near: self.near(), far, way: self.way }
    }

    fn near_config(&self) -> Config {
        self.config(&self.client, "client", ("server", &self.server))
    }

    fn far_config(&self) -> Config {
        self.config(&self.server, "server", ("client", &self.client))
    }

    fn config(&self, pod: &Pod, account: &str, other: (&str, &Pod)) -> Config {
        let mut config = Config::of(pod).with("http", self.http.clone());
        if let Some(tracing) = &self.tracing {
            config = config.with("tracing", tracing.clone());
        }
        match self.way {
            Way::Plain => config,
            Way::Tunnel => self.mesh.knows(self.mesh.member(config, account), &[other]),
        }
    }
}

impl Sidecars<'_> {
    /// Waits for the lines of `count` requests to `destination` in both logs, and checks what all of them have in common:
    /// that there are no more, and who asked whom.
    pub(super) fn logged(&self, destination: SocketAddr, count: usize) -> [Vec<Access>; 2] {
        let near = exchanges(&self.near, "outbound", destination, count);
        let far = exchanges(&self.far, "inbound", destination, count);
        let (client, server) = match self.way {
            Way::Plain => (None, None),
            Way::Tunnel => (Some(identity("client")), Some(identity("server"))),
        };
        for line in near.iter().chain(&far) {
            assert_eq!((&line.source_principal, &line.destination_principal), (&client, &server), "{line:?}");
        }
        [near, far]
    }
}

/// Waits for the lines of exactly `count` requests to `destination`.
pub(super) fn exchanges(
    sidecar: &Sidestep<'_>,
    direction: &str,
    destination: SocketAddr,
    count: usize,
) -> Vec<Access> {
    eventually(&format!("{count} {direction} requests to {destination} are logged"), || {
        let of_http = |line: &Access| {
            line.more.contains_key("method")
                && line.direction == direction
                && line.original_destination == Some(destination)
        };
        let lines: Vec<Access> = sidecar.log.lines().into_iter().filter(|line| of_http(line)).collect();
        if lines.len() == count { Ok(lines) } else { Err(sidecar.log.lines()) }
    })
}

/// The status of a request's answer, 0 if it got none.
pub(super) fn status(line: &Access) -> u64 {
    line.more.get("status").and_then(Value::as_u64).unwrap_or(0)
}

/// Why a request went other than it should.
pub(super) fn flags(line: &Access) -> String {
    text(line, "response_flags")
}

/// The method of a request.
pub(super) fn method(line: &Access) -> String {
    text(line, "method")
}

/// The path of a request.
pub(super) fn path(line: &Access) -> String {
    text(line, "path")
}

/// Any other field that is a text; empty if it is not there.
pub(super) fn text(line: &Access, name: &str) -> String {
    line.more.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
