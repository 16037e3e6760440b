//! Envoy as sidecars have it: it reads HTTP/1.1 and HTTP/2, logs every request as JSON, traces some of them to a collector
//! over OTLP, and counts.
//!
//! The access log has the fields that Istio's has by itself, the statistics are those that Envoy counts by itself, and
//! requests get the id that decides which of them are traced. Timers and limits, which nobody runs into here, stay out.
//! Upstream it speaks what the client speaks, on connections that it keeps and reuses.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};

use super::envoy::{address, captured, cluster, no_limits, of_type, plan_of};
use super::{Home, PORT, Plan};
use crate::bench::mode::TRACED_PERCENT;

/// Where it shows what it has counted, as Istio's does.
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 15000);
/// The cluster that spans go to.
const COLLECTOR: &str = "collector";
/// The cluster of everything that goes where it wanted to go.
const ORIGINAL: &str = "original_destination";

/// Fields of the access log: what Istio calls them, and what Envoy has for them.
const FIELDS: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("route_name", "%ROUTE_NAME%"),
];

/// Where what is seen of requests goes.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    log: PathBuf,
    collector: SocketAddr,
}

/// An Envoy that stands alone between client and server.
pub(super) fn plan(home: &Home, collector: SocketAddr) -> Result<Plan> {
    plan_of(home, &alone(&Observed::at(home, collector)), vec![PORT])
}

fn alone(observed: &Observed) -> Value {
    let chain = json!({ "filters": [observed.filter(ORIGINAL)] });
    let mut original = json!({
        "name": ORIGINAL,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "5s",
        "circuit_breakers": no_limits(),
    });
    speak_what_is_spoken(&mut original);
    observed.bootstrap(&[captured(&[chain])], vec![original])
}

impl Observed {
    pub(super) fn at(home: &Home, collector: SocketAddr) -> Self {
        Self { log: home.path.join("access.log"), collector }
    }

    /// Everything together, and what is needed to be observed.
    pub(super) fn bootstrap(&self, listeners: &[Value], mut clusters: Vec<Value>) -> Value {
        let mut collector = cluster(COLLECTOR, self.collector);
        collector["typed_extension_protocol_options"] = options(&json!({
            "explicit_http_config": { "http2_protocol_options": {} },
        }));
        clusters.push(collector);
        json!({
            "admin": { "address": address(SocketAddr::from(ADMIN)) },
            "static_resources": { "listeners": listeners, "clusters": clusters },
        })
    }

    /// What reads requests on a connection and sends them to a cluster.
    pub(super) fn filter(&self, cluster: &str) -> Value {
        let route = json!({
            "match": { "prefix": "/" },
            "route": { "cluster": cluster, "timeout": "0s" },
        });
        json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": of_type("filters.network.http_connection_manager", "HttpConnectionManager"),
                "stat_prefix": cluster,
                "codec_type": "AUTO",
                "stream_idle_timeout": "0s",
                "common_http_protocol_options": { "idle_timeout": "0s" },
                "access_log": [self.access_log()],
                "tracing": self.tracing(),
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": { "@type": of_type("filters.http.router", "Router") },
                }],
                "route_config": {
                    "name": cluster,
                    "virtual_hosts": [{ "name": cluster, "domains": ["*"], "routes": [route] }],
                },
            },
        })
    }

    fn access_log(&self) -> Value {
        let fields: serde_json::Map<String, Value> =
            FIELDS.iter().map(|&(name, value)| (name.to_owned(), json!(value))).collect();
        json!({
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": of_type("access_loggers.file", "FileAccessLog"),
                "path": self.log,
                "log_format": { "json_format": fields },
            },
        })
    }

    fn tracing(&self) -> Value {
        json!({
            "random_sampling": { "value": TRACED_PERCENT },
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                    "grpc_service": { "envoy_grpc": { "cluster_name": COLLECTOR }, "timeout": "1s" },
                    "service_name": "bench",
                },
            },
        })
    }
}

/// Makes a cluster speak to its endpoints as the client speaks.
pub(super) fn speak_what_is_spoken(cluster: &mut Value) {
    cluster["typed_extension_protocol_options"] = options(&json!({
        "use_downstream_protocol_config": { "http_protocol_options": {}, "http2_protocol_options": {} },
    }));
}

fn options(protocols: &Value) -> Value {
    let mut options = protocols.clone();
    options["@type"] = json!(of_type("upstreams.http", "HttpProtocolOptions"));
    json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_logged_and_one_in_a_hundred_traced_to_the_collector() {
        let collector = SocketAddr::from(([10, 78, 0, 2], 4317));
        let bootstrap = alone(&Observed { log: PathBuf::from("/l/access.log"), collector });
        let resources = &bootstrap["static_resources"];
        let manager = &resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
        let log = &manager["access_log"][0]["typed_config"];
        assert_eq!(log["path"], "/l/access.log");
        assert_eq!(log["log_format"]["json_format"]["response_code"], "%RESPONSE_CODE%");
        assert_eq!(manager["tracing"]["random_sampling"]["value"], 1.0);
        let clusters = [0, 1].map(|number| &resources["clusters"][number]);
        assert_eq!(clusters[0]["type"], "ORIGINAL_DST");
        let endpoint = &clusters[1]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        assert_eq!(endpoint["address"]["socket_address"]["port_value"], 4317);
    }
}
