//! What a rule for connections of our own is about: addresses, or a name of the directory.

use super::{Hostname, Scalar};
use crate::policy::{PortSpan, Target};

/// A target as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum WrittenTarget {
    /// `CIDR[:port[-port]]`
    Addresses(Target),
    /// `service:HOSTNAME[:port[-port]]`
    Service { hostname: String, ports: Option<PortSpan> },
    /// `workload:NAMESPACE/NAME[:port[-port]]`
    Workload { namespace: String, name: String, ports: Option<PortSpan> },
}

impl Scalar for WrittenTarget {
    fn expected() -> String {
        "CIDR[:port[-port]], service:HOSTNAME[:port[-port]] or workload:NAMESPACE/NAME[:port[-port]]"
            .to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let named = |name: &str| Hostname::read(name).map(|Hostname(name)| name);
        if let Some(rest) = text.strip_prefix("service:") {
            let (hostname, ports) = ports(rest)?;
            return Ok(Self::Service { hostname: named(hostname)?, ports });
        }
        if let Some(rest) = text.strip_prefix("workload:") {
            let (path, ports) = ports(rest)?;
            let (namespace, name) = path
                .split_once('/')
                .ok_or_else(|| format!("expected workload:NAMESPACE/NAME[:port[-port]], found {text:?}"))?;
            return Ok(Self::Workload { namespace: named(namespace)?, name: named(name)?, ports });
        }
        Target::read(text).map(Self::Addresses)
    }
}

/// A name and the ports behind it, if it has some.
fn ports(text: &str) -> Result<(&str, Option<PortSpan>), String> {
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((name, span)) => Ok((name, Some(PortSpan::read(span)?))),
    }
}
