//! A host by name or by address, and a port: what people write where a connection is to go.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// By its address, never an IPv4-mapped one.
    Address(IpAddr),
    /// By its name, in lower case and without a dot at its end.
    Name(Box<str>),
}

/// Where a connection is to go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Remote {
    /// The host.
    pub host: Host,
    /// The port, above zero.
    pub port: u16,
}

/// Why a text is no host, or no host and port.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {expected}, found {found:?}")]
pub struct RemoteError {
    expected: &'static str,
    found: String,
}

/// Names that somebody resolves have no more characters (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 253;
/// Nor their parts.
const LONGEST_LABEL: usize = 63;

impl FromStr for Host {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, RemoteError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        // Underscores stand in names that people use, whatever RFC 952 says of hosts.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let label = |label: &str| {
            (1..=LONGEST_LABEL).contains(&label.len())
                && label.bytes().all(plain)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // What looks like an IPv4 address and is none must not be looked up as a name.
        let numeric =
            name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if name.len() <= LONGEST_NAME && name.split('.').all(label) && !numeric {
            return Ok(Self::Name(name.to_ascii_lowercase().into()));
        }
        Err(RemoteError {
            expected: "a host name or an IP address, such as db.example.com or 10.0.0.9",
            found: text.to_owned(),
        })
    }
}

impl FromStr for Remote {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, RemoteError> {
        let wrong = || RemoteError {
            expected: "a host and a port, such as db.example.com:5432 or [fd00::9]:5432",
            found: text.to_owned(),
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 =
            port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(wrong)?;
        if port == 0 {
            return Err(wrong());
        }
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => {
                Host::Address(inner.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| wrong())?.to_canonical())
            }
            None => match host.parse().map_err(|_| wrong())? {
                Host::Address(IpAddr::V6(_)) => return Err(wrong()),
                host => host,
            },
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(formatter),
            Host::Name(name) => write!(formatter, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_written_alike() {
        for (text, written) in [
            ("db.example.com:5432", "db.example.com:5432"),
            ("DB.example.com.:5432", "db.example.com:5432"),
            ("10.0.0.9:80", "10.0.0.9:80"),
            ("[fd00::9]:80", "[fd00::9]:80"),
            ("[::ffff:10.0.0.9]:80", "10.0.0.9:80"),
            ("_srv.db:1", "_srv.db:1"),
        ] {
            let remote: Remote = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(remote.to_string(), written);
        }
    }

    #[test]
    fn what_is_no_remote_is_told_from_one() {
        for text in [
            "",
            ":",
            "db",
            "db:",
            ":80",
            "db:0",
            "db:65536",
            "db:+80",
            "db: 80",
            "fd00::9:80",
            "[db]:80",
            "[10.0.0.9]:80",
            "10.0.0.256:80",
            "1.2.3:80",
            "a..b:80",
            "-a:80",
            "a b:80",
            "a/b:80",
            "a@b:80",
            "a:b:80",
            "\u{e4}:80",
        ] {
            assert!(text.parse::<Remote>().is_err(), "{text}");
        }
        assert!(format!("{}:80", "a".repeat(64)).parse::<Remote>().is_err());
        assert!(format!("{}:80", "a.".repeat(127)).parse::<Remote>().is_ok());
        assert!(format!("{}a:80", "a.".repeat(127)).parse::<Remote>().is_err());
    }
}
