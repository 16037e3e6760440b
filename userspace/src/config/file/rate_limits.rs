//! `rate-limits:`: how many requests a time allows.

use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::config::gateway::Label;
use crate::config::value::{Count, Hostname, Port, Scalar, Timeout, Value};
use crate::config::yaml::Part;
use crate::config::{Choice, ConfigError};
use crate::routing::{Limited, Rate, RateLimit, ServiceName, SharedBy};

/// One entry of `rate-limits`.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a limit such as { service: web.shop.svc.cluster.local, requests: 100, per: 1s }"
)]
pub(super) struct WrittenRateLimit {
    service: Option<Value<WrittenService>>,
    route: Option<Value<RouteName>>,
    inbound: Option<Value<InboundPort>>,
    by: Option<Value<SharedBy>>,
    requests: Value<Count>,
    per: Option<Value<Timeout>>,
    burst: Option<Value<Count>>,
}

/// A service by its host name.
#[derive(Debug)]
struct WrittenService(ServiceName);

impl Scalar for WrittenService {
    fn expected() -> String {
        "the host name of a service, <name>.<namespace>.svc.<domain>".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let name = Hostname::read(text).ok().and_then(|Hostname(name)| ServiceName::of_hostname(&name));
        name.map(Self).ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

/// An `HTTPRoute`, or one of its rules.
#[derive(Debug)]
struct RouteName(String);

impl Scalar for RouteName {
    fn expected() -> String {
        "an HTTPRoute as <namespace>/<name>, or one of its rules as <namespace>/<name>/<number from 0>"
            .to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '/');
        let names = [parts.next(), parts.next()];
        let named = Label::read(names[0].unwrap_or_default()).is_ok()
            && Hostname::read(names[1].unwrap_or_default()).is_ok();
        let number = parts
            .next()
            .is_none_or(|number| number.parse::<usize>().is_ok_and(|it| it.to_string() == number));
        if named && number {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("expected {}, found {text:?}", Self::expected()))
        }
    }
}

/// A port of the workload, or all of them.
#[derive(Debug)]
struct InboundPort(Option<u16>);

impl Scalar for InboundPort {
    fn expected() -> String {
        "all, or a port from 1 to 65535".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self(None)),
            port => Port::read(port)
                .map(|Port(port)| Self(Some(port)))
                .map_err(|_| format!("expected {}, found {text:?}", Self::expected())),
        }
    }
}

impl Choice for SharedBy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("all", Self::All), ("source-identity", Self::SourceIdentity)];
}

/// The limits.
pub(super) fn settings(
    written: Vec<Spanned<WrittenRateLimit>>,
    part: Part<'_>,
) -> Result<Vec<RateLimit>, ConfigError> {
    let limits = written.into_iter().enumerate().map(|(index, limit)| {
        let Spanned { value, referenced, .. } = limit;
        value.limit().map_err(|(field, message)| {
            part.invalid(referenced, format!("rate-limits[{index}]{field}"), message)
        })
    });
    limits.collect()
}

impl WrittenRateLimit {
    fn limit(self) -> Result<RateLimit, (&'static str, &'static str)> {
        let of = match (self.service, self.route, self.inbound) {
            (Some(Value(WrittenService(service))), None, None) => Limited::Service(service),
            (None, Some(Value(RouteName(route))), None) => Limited::Route(route),
            (None, None, Some(Value(InboundPort(port)))) => Limited::Inbound(port),
            _ => {
                return Err((
                    "",
                    "expected exactly one of service, route and inbound, found none or several",
                ));
            }
        };
        let by = self.by.map_or(SharedBy::All, |Value(by)| by);
        if by == SharedBy::SourceIdentity && !matches!(of, Limited::Inbound(_)) {
            return Err((
                ".by",
                "expected all, since the source of what goes out is the workload itself, found source-identity",
            ));
        }
        // Both are at most a million.
        let count = |Value(Count(count)): Value<Count>| u32::try_from(count).unwrap_or(u32::MAX);
        let requests = count(self.requests);
        let rate = Rate {
            requests,
            per: self.per.map_or(Duration::from_secs(1), |Value(Timeout(time))| time),
            burst: self.burst.map_or(requests, count),
        };
        Ok(RateLimit { of, by, rate })
    }
}
