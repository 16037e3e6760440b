//! The configuration in force, as it is shown to whoever runs the workload: defaults filled in, files read, nothing secret.
//!
//! Names are those of the file. What is long is counted: the directory, policies and routes are looked into by `explain`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{CertificateSource, Choice, Config, LogDestination, TracingSettings};

/// A setting that is one of a few words.
fn word<T: Choice>(choice: T) -> &'static str {
    T::WORDS.iter().find(|(_, known)| *known == choice).map_or("unknown", |(word, _)| word)
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

impl Config {
    /// The configuration as JSON. Of header fields and the like, which may be secrets, only the names are in it.
    #[must_use]
    pub fn shown(&self) -> Value {
        let ports: Vec<String> = self.inbound_ports().spans().iter().map(ToString::to_string).collect();
        let rules = self.outbound.rules.list.iter();
        let rules: Vec<String> =
            rules.map(|rule| format!("{} {}", rule.verdict.word(), rule.target)).collect();
        let fields = [
            ("workload", json!(self.workload.as_ref().map(|name| name.as_str().to_owned()))),
            ("identity", self.shown_identity()),
            (
                "capture",
                json!({
                    "mode": word(self.capture.mode),
                    "on-failure": word(self.capture.on_failure),
                    "cgroup": self.capture.cgroup,
                }),
            ),
            (
                "outbound",
                json!({
                    "default": self.outbound.rules.default.word(),
                    "rules": rules,
                    "deny-with": word(self.outbound.deny_with),
                    "unknown": word(self.outbound.unknown),
                }),
            ),
            ("inbound", json!({ "ports": ports })),
            (
                "relay",
                json!({
                    "connect-timeout": duration(self.relay.connect_timeout),
                    "idle-timeout": duration(self.relay.idle_timeout),
                    "drain-timeout": duration(self.relay.drain_timeout),
                    "max-connections": self.relay.max_connections,
                }),
            ),
            ("tunnel", json!({ "idle-timeout": duration(self.tunnel.idle_timeout) })),
            ("http", self.shown_http()),
            (
                "known",
                json!({
                    "workloads": self.directory.workloads().count(),
                    "services": self.directory.services().count(),
                    "routes": self.resources.routes().len(),
                    "destination-rules": self.resources.destination_rules().len(),
                    "rejected": self.resources.rejected().iter().map(|it| it.message.as_str()).collect::<Vec<_>>(),
                    "policies": !self.authorization.is_empty(),
                    "rate-limits": self.rate_limits.len(),
                }),
            ),
            ("admin", json!(self.admin.as_ref().map(|admin| json!({ "address": admin.address })))),
            ("access-log", self.shown_access_log()),
            ("tracing", json!(self.tracing.as_ref().map(shown_tracing))),
        ];
        let known = fields.into_iter().filter(|(_, value)| !value.is_null());
        Value::Object(known.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    }

    fn shown_identity(&self) -> Value {
        let Some(identity) = &self.identity else { return Value::Null };
        let (source, at) = match &identity.source {
            CertificateSource::Files(directory) => ("files", directory),
            CertificateSource::WorkloadApi(socket) => ("workload-api", socket),
            CertificateSource::SigningCa { directory, .. } => ("signing-ca", directory),
        };
        json!({
            "id": identity.id.as_ref().map(ToString::to_string),
            source: at,
            "federated": identity.federated.iter().map(|(domain, _)| domain.to_string()).collect::<Vec<_>>(),
            "revocation-lists": identity.revocation_lists,
        })
    }

    fn shown_http(&self) -> Value {
        let Some(http) = &self.http else { return Value::Null };
        json!({
            "outbound": word(http.outbound),
            "inbound": word(http.inbound),
            "ports": http.ports.iter().map(|(port, protocol)| (port.to_string(), json!(protocol.word()))).collect::<Map<_, _>>(),
            "opaque-ports": http.opaque_ports,
            "max-header-size": http.max_header_size,
            "header-timeout": duration(http.header_timeout),
            "idle-timeout": duration(http.idle_timeout),
            "max-requests": http.max_requests,
        })
    }

    fn shown_access_log(&self) -> Value {
        let Some(log) = &self.access_log else { return Value::Null };
        let path = match &log.destination {
            LogDestination::Stdout => "-".to_owned(),
            LogDestination::File(path) => path.display().to_string(),
        };
        let fields =
            log.fields.as_ref().map(|fields| fields.iter().map(|field| field.word()).collect::<Vec<_>>());
        json!({ "path": path, "format": word(log.format), "fields": fields, "otlp": word(log.export) == "true" })
    }
}

fn shown_tracing(tracing: &TracingSettings) -> Value {
    json!({
        "endpoint": endpoint(tracing),
        "protocol": word(tracing.protocol),
        "headers": tracing.headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(),
        "resource": tracing.resource.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>(),
        "authorities": tracing.authorities,
    })
}

/// Without what stands before an `@`, which may be a password, and without a query.
fn endpoint(tracing: &TracingSettings) -> String {
    let uri = &tracing.endpoint;
    let host = uri.authority().map_or("", |authority| authority.as_str().rsplit('@').next().unwrap_or(""));
    format!("{}://{host}{}", uri.scheme_str().unwrap_or("http"), uri.path())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_in_force_is_shown_and_what_is_secret_is_not() {
        let text = "\
workload: web
outbound: { rules: [ { deny: 10.0.0.0/8:5432 } ] }
relay: { idle-timeout: 90s }
access-log: {}
tracing: { endpoint: 'http://collector:4317', headers: { x-token: hush } }
";
        let config = Config::parse(Path::new("web.yaml"), text).expect("it is valid");
        let shown = config.shown();
        assert_eq!(shown["workload"], "web");
        assert_eq!(shown["outbound"]["rules"][0], "deny 10.0.0.0/8:5432");
        assert_eq!(shown["relay"]["idle-timeout"], "1m 30s");
        assert_eq!(shown["relay"]["max-connections"], 10_000);
        assert_eq!(shown["tracing"]["headers"][0], "x-token");
        assert!(!shown.to_string().contains("hush"), "{shown}");
        assert!(shown.get("identity").is_none());
    }
}
