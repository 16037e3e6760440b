//! Scalars that describe the mesh: ports, networks, names and where certificates come from.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::{Scalar, duration};
use crate::policy::{PortSpan, Target};

/// A port that a connection can be made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::config) struct Port(pub(in crate::config) u16);

impl Scalar for Port {
    fn expected() -> String {
        "a port from 1 to 65535".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let port = text.parse().ok().filter(|&port| port != 0 && !text.starts_with('+'));
        port.map(Self).ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

/// Addresses that somebody may have.
#[derive(Debug)]
pub(in crate::config) struct Network(pub(in crate::config) IpNet);

impl Scalar for Network {
    fn expected() -> String {
        "CIDR".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let target: Target = text.parse().map_err(|error| format!("{error}"))?;
        if target.ports == PortSpan::ALL {
            Ok(Self(target.net))
        } else {
            Err(format!("expected {} without ports, found {text:?}", Self::expected()))
        }
    }
}

/// Where one host is.
impl Scalar for IpAddr {
    fn expected() -> String {
        "the IP address of a host, such as 10.0.0.9 or fd00::9".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let address = text.parse().ok().map(|address: Self| address.to_canonical());
        address
            .filter(|address| !address.is_unspecified() && !address.is_multicast())
            .ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

/// Labels joined by dots, as Kubernetes names its objects and hosts (RFC 1123, 2.1; in lower case).
#[derive(Debug)]
pub(in crate::config) struct Hostname(pub(in crate::config) String);

impl Scalar for Hostname {
    fn expected() -> String {
        "a name of up to 253 characters a-z, 0-9, - and ., whose parts are neither empty nor begin or end with -".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(plain)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= 253 && text.split('.').all(label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("expected {}, found {text:?}", Self::expected()))
        }
    }
}

/// Text that means what it says: the value of a label.
impl Scalar for String {
    fn expected() -> String {
        "text".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

/// The Unix socket of the SPIFFE Workload API.
#[derive(Debug)]
pub(in crate::config) struct SocketPath(pub(in crate::config) PathBuf);

impl Scalar for SocketPath {
    fn expected() -> String {
        "an absolute path, or unix:// in front of one".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text.strip_prefix("unix://").unwrap_or(text));
        if path.is_absolute() {
            Ok(Self(path))
        } else {
            Err(format!("expected {}, found {text:?}", Self::expected()))
        }
    }
}

/// How long an issued certificate is valid.
#[derive(Debug)]
pub(in crate::config) struct Lifetime(pub(in crate::config) Duration);

impl Default for Lifetime {
    fn default() -> Self {
        Self(Duration::from_secs(24 * 3_600))
    }
}

/// Below this a certificate is expired before a busy machine has renewed it.
const SHORTEST: Duration = Duration::from_secs(120);

impl Scalar for Lifetime {
    fn expected() -> String {
        "a duration from 2m to 365days, such as 24h".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let expected = Self::expected();
        match duration(text, &expected)? {
            short if short < SHORTEST => Err(format!("expected {expected}, found {text:?}")),
            lifetime => Ok(Self(lifetime)),
        }
    }
}

/// What a probe asks for over HTTP: a path, perhaps with a query.
#[derive(Debug)]
pub(in crate::config) struct ProbePath(pub(in crate::config) String);

impl Scalar for ProbePath {
    fn expected() -> String {
        "a path such as /healthz".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        // As it stands in a request: nothing that would have to be escaped there (RFC 3986, 3.3 and 3.4).
        let plain = |byte: u8| {
            byte.is_ascii_graphic()
                && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
        };
        if text.starts_with('/') && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("expected {}, found {text:?}", Self::expected()))
        }
    }
}
