//! Scalars of an `AuthorizationPolicy`.

use ipnet::IpNet;

use crate::config::value::Scalar;
use crate::policy::{PathPattern, Pattern, PortSpan, Target};

impl Scalar for Pattern {
    fn expected() -> String {
        "text that is not empty, such as exact, prefix*, *suffix or *".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(format!("expected {}, found none", Self::expected()));
        }
        Ok(Self::new(text))
    }
}

impl Scalar for PathPattern {
    fn expected() -> String {
        "a path such as /exact, /prefix*, */suffix, /a/{*}/b or /a/{**}".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(format!("expected {}, found none", Self::expected()));
        }
        Self::new(text).map_err(|error| error.to_string())
    }
}

/// Addresses: one, or a network, whose host bits mean nothing.
#[derive(Debug)]
pub(super) struct Block(pub(super) IpNet);

impl Scalar for Block {
    fn expected() -> String {
        "an IP address or CIDR, such as 10.0.0.9 or 10.0.0.0/8".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let net = match text.parse() {
            Ok(address) => Some(IpNet::new_assert(address, IpNet::from(address).max_prefix_len())),
            Err(_) => text.parse().ok(),
        };
        net.map(|net| Self(Target { net, ports: PortSpan::ALL }.canonical().net))
            .ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

/// A service account, of the policy's namespace unless it says of which.
#[derive(Debug)]
pub(super) struct Account {
    namespace: Option<String>,
    name: String,
}

impl Scalar for Account {
    fn expected() -> String {
        "a service account, <name> or <namespace>/<name>".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let (namespace, name) =
            text.split_once('/').map_or((None, text), |(front, name)| (Some(front), name));
        let plain = |part: &str| !part.is_empty() && !part.contains(['/', '*']);
        if plain(name) && namespace.is_none_or(plain) {
            Ok(Self { namespace: namespace.map(ToOwned::to_owned), name: name.to_owned() })
        } else {
            Err(format!("expected {}, found {text:?}", Self::expected()))
        }
    }
}

impl Account {
    /// What is compared with `<namespace>/<name>`.
    pub(super) fn pattern(self, namespace: &str) -> Pattern {
        let namespace = self.namespace.as_deref().unwrap_or(namespace);
        Pattern::Exact(format!("{namespace}/{}", self.name).into())
    }
}

/// Whether a pattern of hosts speaks of a port.
pub(super) fn has_port(pattern: &Pattern) -> bool {
    let (Pattern::Exact(text) | Pattern::Prefix(text) | Pattern::Suffix(text)) = pattern else {
        return false;
    };
    // What is left of the colon of a port is no IPv6 address without its brackets.
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let bracketed = host.ends_with(']') || !host.contains([':', '[']);
    !text.is_empty() && text.contains(':') && bracketed && port.bytes().all(|byte| byte.is_ascii_digit())
}
