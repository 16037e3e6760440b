//! `tracing:` and `access-log:`: what is told of requests and connections, and where.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_saphyr::Spanned;

use super::or;
use crate::config::value::{Ratio, Value};
use crate::config::yaml::{Part, section};
use crate::config::{
    AccessLogSettings, Choice as _, ConfigError, LogDestination, LogExport, LogFormat, TraceProtocol,
    TracingSettings,
};
use crate::model::{Field, Parents, Sampling};

section!(pub(super) Tracing {
    endpoint: Value<Uri>,
    protocol: Value<TraceProtocol>,
    sampling: Value<Ratio>,
    parents: Value<Parents>,
    headers: BTreeMap<String, Value<String>>,
    resource: BTreeMap<String, Value<String>>,
    authorities: Value<PathBuf>,
});
section!(pub(super) AccessLog {
    path: Value<LogDestination>,
    format: Value<LogFormat>,
    fields: Vec<Spanned<Value<String>>>,
    otlp: Value<LogExport>,
});

/// One trace of a hundred, as Istio does.
const SAMPLING: Ratio = Ratio(0.01);

impl Tracing {
    /// What was written, if it names a collector.
    pub(super) fn settings(section: Spanned<Self>, part: Part<'_>) -> Result<TracingSettings, ConfigError> {
        let at = section.referenced;
        let Self { endpoint, protocol, sampling, parents, headers, resource, authorities } = section.value;
        let Some(Value(endpoint)) = endpoint else {
            let message = "expected an endpoint such as http://collector:4317, found none";
            return Err(part.invalid(at, "tracing.endpoint", message));
        };
        let mut fields = HeaderMap::new();
        for (name, Value(value)) in headers.unwrap_or_default() {
            let field = HeaderName::try_from(&name).ok().zip(HeaderValue::try_from(&value).ok());
            let Some((known, mut value)) = field else {
                let message = "expected the name of a header field and a value without line breaks";
                return Err(part.invalid(at, format!("tracing.headers.{name}"), message));
            };
            // Most often it is a secret.
            value.set_sensitive(true);
            fields.insert(known, value);
        }
        let Ratio(ratio) = or(sampling, SAMPLING);
        Ok(TracingSettings {
            endpoint,
            protocol: or(protocol, TraceProtocol::default()),
            sampling: Sampling::new(ratio, or(parents, Parents::default())),
            headers: fields,
            resource: resource
                .unwrap_or_default()
                .into_iter()
                .map(|(key, Value(value))| (key, value))
                .collect(),
            authorities: authorities.map(|Value(path)| path),
        })
    }
}

impl AccessLog {
    /// What was written; the exporter's part needs `tracing`.
    pub(super) fn settings(
        section: Spanned<Self>,
        tracing: Option<&TracingSettings>,
        part: Part<'_>,
    ) -> Result<AccessLogSettings, ConfigError> {
        let at = section.referenced;
        let Self { path, format, fields, otlp } = section.value;
        let export = or(otlp, LogExport::default());
        if export == LogExport::Otlp && tracing.is_none() {
            let message = "expected the section tracing, which says where the collector is, found none";
            return Err(part.invalid(at, "access-log.otlp", message));
        }
        let field = |(index, written): (usize, Spanned<Value<String>>)| {
            let Spanned { value: Value(word), referenced, .. } = written;
            Field::from_word(&word).ok_or_else(|| {
                let message = format!("expected one of {}, found {word:?}", Field::list());
                part.invalid(referenced, format!("access-log.fields[{index}]"), message)
            })
        };
        let fields =
            fields.map(|list| list.into_iter().enumerate().map(field).collect::<Result<Vec<_>, _>>());
        Ok(AccessLogSettings {
            destination: or(path, LogDestination::Stdout),
            format: or(format, LogFormat::default()),
            fields: fields.transpose()?,
            export,
        })
    }
}
