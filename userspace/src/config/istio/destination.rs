//! Istio's `DestinationRule`, as far as it is about connections, requests and outliers.
//!
//! What else it can say (subsets, TLS, load balancing…) is an error: a rule that is taken for less than it says is worse
//! than none.

use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::config::object::Object;
use crate::config::value::{Hostname, Scalar, Value};
use crate::config::yaml::Part;
use crate::config::{Choice, ConfigError};
use crate::routing::{Caps, DestinationRule, OutlierPolicy, ServiceName, TrafficPolicy, parse_duration};

/// One document.
pub(in crate::config) type WrittenDestinationRule = Object<ApiVersion, Spec>;

/// The one group of resources; its versions are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct ApiVersion;

impl Choice for ApiVersion {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("networking.istio.io/v1", Self),
        ("networking.istio.io/v1beta1", Self),
        ("networking.istio.io/v1alpha3", Self),
    ];
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "the specification of a DestinationRule")]
pub(in crate::config) struct Spec {
    host: Spanned<Value<Hostname>>,
    traffic_policy: Option<WrittenPolicy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a policy with connectionPool or outlierDetection"
)]
struct WrittenPolicy {
    connection_pool: Option<ConnectionPool>,
    outlier_detection: Option<OutlierDetection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "settings for tcp or http")]
struct ConnectionPool {
    tcp: Option<Tcp>,
    http: Option<Http>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "settings such as { maxConnections: 100 }"
)]
struct Tcp {
    max_connections: Option<Value<Most>>,
    connect_timeout: Option<Value<Time>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "settings such as { http2MaxRequests: 100 }"
)]
struct Http {
    http1_max_pending_requests: Option<Value<Most>>,
    http2_max_requests: Option<Value<Most>>,
    max_requests_per_connection: Option<Value<Number>>,
    max_retries: Option<Value<Number>>,
    idle_timeout: Option<Value<Time>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "settings such as { consecutive5xxErrors: 5 }"
)]
struct OutlierDetection {
    #[serde(rename = "consecutive5xxErrors")]
    consecutive_5xx_errors: Option<Value<Number>>,
    consecutive_gateway_errors: Option<Value<Number>>,
    interval: Option<Value<Time>>,
    base_ejection_time: Option<Value<Time>>,
    max_ejection_percent: Option<Value<Percent>>,
}

/// A limit, which would stop everything at zero.
#[derive(Debug)]
struct Most(u32);

/// A number that may be zero.
#[derive(Debug)]
struct Number(u32);

/// A part of a hundred.
#[derive(Debug)]
struct Percent(u32);

/// A time above zero, which Istio writes as Go does: like the Gateway API, or seconds with a fraction.
#[derive(Debug)]
struct Time(Duration);

impl Scalar for Most {
    fn expected() -> String {
        "a number from 1 to 2147483647".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        number(text, 1, &Self::expected()).map(Self)
    }
}

impl Scalar for Number {
    fn expected() -> String {
        "a number from 0 to 2147483647".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        number(text, 0, &Self::expected()).map(Self)
    }
}

/// Istio's numbers are of 32 bits with a sign.
fn number(text: &str, least: i32, expected: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number: &i32| *number >= least);
    let number = number.and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("expected {expected}, found {text:?}"))
}

impl Scalar for Percent {
    fn expected() -> String {
        "a number from 0 to 100".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number: &u32| *number <= 100);
        number.map(Self).ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

impl Scalar for Time {
    fn expected() -> String {
        "a duration above zero, such as 10s, 1.5s or 500ms".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let seconds = || -> Option<Duration> {
            let digits = text.strip_suffix('s')?;
            let plain =
                digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let seconds = digits.parse().ok().filter(|seconds: &f64| plain && *seconds < 1e8)?;
            Duration::try_from_secs_f64(seconds).ok()
        };
        let time = parse_duration(text).ok().or_else(seconds).filter(|time| !time.is_zero());
        time.map(Self).ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

impl WrittenDestinationRule {
    /// The rule, if its host is a service.
    pub(in crate::config) fn rule(self, part: Part<'_>) -> Result<DestinationRule, ConfigError> {
        let metadata = self.metadata.value;
        let created = metadata.created();
        let (Value(namespace), Value(name)) = (metadata.namespace, metadata.name);
        let Spanned { value: Value(Hostname(host)), referenced, .. } = self.spec.host;
        let service = service(&host, &namespace).ok_or_else(|| {
            let message = format!(
                "expected a service, <name>, <name>.<namespace> or <name>.<namespace>.svc.<domain>, found {host:?}"
            );
            part.invalid(referenced, "spec.host", message)
        })?;
        let policy = self.spec.traffic_policy.unwrap_or_default().policy();
        Ok(DestinationRule { namespace, name, created, service, policy })
    }
}

/// The service that a host stands for; a short one is in the namespace of the rule.
fn service(host: &str, namespace: &str) -> Option<ServiceName> {
    let labels: Vec<&str> = host.splitn(3, '.').collect();
    match labels[..] {
        [name] => Some(ServiceName::new(name, namespace)),
        [name, namespace] => Some(ServiceName::new(name, namespace)),
        _ => ServiceName::of_hostname(host),
    }
}

impl WrittenPolicy {
    fn policy(self) -> TrafficPolicy {
        let most = |written: Option<Value<Most>>| written.map(|Value(Most(most))| most);
        let time = |written: Option<Value<Time>>| written.map(|Value(Time(time))| time);
        let ConnectionPool { tcp, http } = self.connection_pool.unwrap_or_default();
        let (tcp, http) = (tcp.unwrap_or_default(), http.unwrap_or_default());
        TrafficPolicy {
            caps: Caps {
                connections: most(tcp.max_connections),
                pending: most(http.http1_max_pending_requests),
                requests: most(http.http2_max_requests),
                retries: http.max_retries.map(|Value(Number(most))| most),
            },
            connect_timeout: time(tcp.connect_timeout),
            // Zero is how Istio says "no limit".
            requests_per_connection: http
                .max_requests_per_connection
                .map(|Value(Number(most))| most)
                .filter(|most| *most > 0),
            idle_timeout: time(http.idle_timeout),
            outliers: self.outlier_detection.map(OutlierDetection::policy),
        }
    }
}

impl OutlierDetection {
    /// What is not written is as in Istio.
    fn policy(self) -> OutlierPolicy {
        let number =
            |written: Option<Value<Number>>, default| written.map_or(default, |Value(Number(number))| number);
        let time = |written: Option<Value<Time>>, seconds| {
            written.map_or(Duration::from_secs(seconds), |Value(Time(time))| time)
        };
        OutlierPolicy {
            consecutive_5xx: number(self.consecutive_5xx_errors, 5),
            consecutive_gateway_errors: number(self.consecutive_gateway_errors, 0),
            interval: time(self.interval, 10),
            base_ejection: time(self.base_ejection_time, 30),
            max_percent: self.max_ejection_percent.map_or(10, |Value(Percent(percent))| percent),
        }
    }
}
