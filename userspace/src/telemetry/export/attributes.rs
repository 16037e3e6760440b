//! Names and values as OTLP has them, and what is known of the workload.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as Wire;

use super::super::workload::Own;
use crate::model::Identity;

/// A list of attributes that grows.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<KeyValue>);

impl Attributes {
    /// Adds a text, unless it is absent; no more than its first `most` bytes.
    pub(super) fn text(&mut self, key: &str, value: Option<&str>, most: usize) {
        if let Some(value) = value {
            self.push(key, Any::StringValue(value[..value.floor_char_boundary(most)].to_owned()));
        }
    }

    /// Adds one of our own words.
    pub(super) fn word(&mut self, key: &str, value: &str) {
        self.push(key, Any::StringValue(value.to_owned()));
    }

    /// Adds a number.
    pub(super) fn number(&mut self, key: &str, value: impl TryInto<i64>) {
        self.push(key, Any::IntValue(value.try_into().unwrap_or(i64::MAX)));
    }

    /// Adds a number with a fraction.
    pub(super) fn fraction(&mut self, key: &str, value: f64) {
        self.push(key, Any::DoubleValue(value));
    }

    /// All of them.
    pub(super) fn into_list(self) -> Vec<KeyValue> {
        self.0
    }

    fn push(&mut self, key: &str, value: Any) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }
}

/// What all spans and records of a workload have in common.
#[derive(Debug)]
pub(super) struct Resource(Wire);

impl Resource {
    /// What is known of a workload; what was configured goes before that.
    pub(super) fn of(own: &Own, configured: &[(String, String)]) -> Self {
        let namespace = own.namespace();
        let service = own.identity.as_ref().map_or(own.pod(), Identity::service_account);
        let known = [
            ("service.name", Some(service)),
            ("service.namespace", namespace),
            ("service.instance.id", Some(own.name.as_str())),
            ("k8s.namespace.name", namespace),
            ("k8s.pod.name", Some(own.pod())),
        ];
        let mut attributes = Attributes::default();
        for (key, value) in known {
            if configured.iter().all(|(other, _)| other != key)
                && let Some(value) = value
            {
                attributes.word(key, value);
            }
        }
        for (key, value) in configured {
            attributes.word(key, value);
        }
        Self(Wire { attributes: attributes.into_list(), ..Wire::default() })
    }

    /// As it is sent.
    pub(super) fn wire(self) -> Option<Wire> {
        Some(self.0)
    }
}

/// Who says so.
pub(super) fn scope() -> Option<InstrumentationScope> {
    let (name, version) = ("sidestep".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    Some(InstrumentationScope { name, version, ..InstrumentationScope::default() })
}

/// The text of an attribute, for tests.
#[cfg(test)]
pub(super) fn shown(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        Any::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_what_is_known_of_the_workload_and_what_was_configured() {
        let identity = Some("spiffe://cluster.local/ns/shop/sa/web".parse().unwrap());
        let own = Own { name: "web-0".to_owned(), identity };
        let configured = [("k8s.pod.name", "other"), ("deployment.environment.name", "test")];
        let configured = configured.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let Wire { attributes, .. } = Resource::of(&own, &configured).0;
        for (key, value) in [
            ("service.name", "web"),
            ("service.namespace", "shop"),
            ("service.instance.id", "web-0"),
            ("k8s.namespace.name", "shop"),
            ("k8s.pod.name", "other"),
            ("deployment.environment.name", "test"),
        ] {
            assert_eq!(shown(&attributes, key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(attributes.len(), 6);
        let unknown = Resource::of(&Own::named("web-0"), &[]).0.attributes;
        assert_eq!(shown(&unknown, "service.name").as_deref(), Some("web-0"));
        assert_eq!(shown(&unknown, "service.namespace"), None);
    }
}
