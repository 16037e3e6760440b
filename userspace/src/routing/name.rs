//! Services as resources name them, and the host names that they have in the directory.

use std::fmt;

/// A service by its name and its namespace. Host names in the directory begin with both: `<name>.<namespace>.svc`, and
/// whatever the cluster's domain is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(String);

impl ServiceName {
    /// The service `name` of `namespace`; both are single labels.
    #[must_use]
    pub fn new(name: &str, namespace: &str) -> Self {
        Self(format!("{name}.{namespace}.svc"))
    }

    /// The service that a host name of the directory stands for.
    #[must_use]
    pub fn of_hostname(hostname: &str) -> Option<Self> {
        service_key(hostname).map(|key| Self(key.to_owned()))
    }

    /// `<name>.<namespace>.svc`, to look it up by.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split('.').nth(1).unwrap_or_default()
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The part of a host name that says which service it is, `<name>.<namespace>.svc`; none if it is no service's.
#[must_use]
pub fn service_key(hostname: &str) -> Option<&str> {
    let mut dots = hostname.match_indices('.').map(|(at, _)| at);
    let (_, second, third) = (dots.next()?, dots.next()?, dots.next());
    let end = third.unwrap_or(hostname.len());
    (&hostname[second..end] == ".svc").then(|| &hostname[..end])
}

/// A port of a service, as a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceRef {
    /// Which service.
    pub service: ServiceName,
    /// Which of its ports.
    pub port: u16,
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.service, self.port)
    }
}

/// What a backend refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A service, which may or may not be in the directory.
    Service(ServiceRef),
    /// Something that is no service, or has no port: requests for it are answered with 500, as the Gateway API has it.
    Invalid(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_says_which_service_it_is() {
        for (hostname, key) in [
            ("web.shop.svc.cluster.local", Some("web.shop.svc")),
            ("web.shop.svc", Some("web.shop.svc")),
            ("web.shop.svc.", Some("web.shop.svc")),
            ("web.shop", None),
            ("web.shop.svcs.local", None),
            ("web", None),
            ("db.example.com", None),
        ] {
            assert_eq!(service_key(hostname), key, "{hostname}");
        }
        assert_eq!(ServiceName::new("web", "shop").key(), "web.shop.svc");
        assert_eq!(ServiceName::new("web", "shop").namespace(), "shop");
    }
}
