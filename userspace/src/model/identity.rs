//! Who a workload is: a SPIFFE ID of the one shape that the mesh uses.
//!
//! Parsed, not validated: an [`Identity`] that exists is well formed, so that comparing two is comparing their text.
//! Grammar: SPIFFE-ID standard, sections 2.1 to 2.4, narrowed to `spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// Most bytes of a SPIFFE ID (SPIFFE-ID, section 2.3).
const LONGEST: usize = 2048;
/// Most bytes of a trust domain (SPIFFE-ID, section 2.1).
const LONGEST_TRUST_DOMAIN: usize = 255;

/// The authority that vouches for identities: lower-case letters, digits, `.`, `-` and `_`, 1 to 255 of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The name, without `spiffe://`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let good = (1..=LONGEST_TRUST_DOMAIN).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        if good { Ok(Self(text.into())) } else { Err(IdentityError::TrustDomain { found: text.to_owned() }) }
    }
}

/// A workload's identity. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    uri: Arc<str>,
    /// Where the trust domain ends.
    domain_end: u16,
    /// Where the namespace ends.
    namespace_end: u16,
}

const SCHEME: &str = "spiffe://";
const NAMESPACE: &str = "/ns/";
const SERVICE_ACCOUNT: &str = "/sa/";

impl Identity {
    /// The identity of a service account.
    ///
    /// # Errors
    /// The namespace or the service account is not a path segment of a SPIFFE ID.
    pub fn new(domain: &TrustDomain, namespace: &str, service_account: &str) -> Result<Self, IdentityError> {
        format!("{SCHEME}{domain}{NAMESPACE}{namespace}{SERVICE_ACCOUNT}{service_account}").parse()
    }

    /// The whole URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The URI without `spiffe://`: how Istio's policies write principals.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.uri[SCHEME.len()..]
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.uri[SCHEME.len()..usize::from(self.domain_end)]
    }

    /// The Kubernetes namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.uri[usize::from(self.domain_end) + NAMESPACE.len()..usize::from(self.namespace_end)]
    }

    /// The Kubernetes service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        &self.uri[usize::from(self.namespace_end) + SERVICE_ACCOUNT.len()..]
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.uri)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.uri)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let wrong = || IdentityError::Shape { found: text.chars().take(256).collect() };
        if text.len() > LONGEST {
            return Err(wrong());
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(wrong)?;
        let (domain, rest) = rest.split_once('/').ok_or_else(wrong)?;
        domain.parse::<TrustDomain>()?;
        let mut segments = rest.split('/');
        let (Some("ns"), Some(namespace), Some("sa"), Some(service_account), None) =
            (segments.next(), segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(wrong());
        };
        if !is_segment(namespace) || !is_segment(service_account) {
            return Err(wrong());
        }
        let domain_end = SCHEME.len() + domain.len();
        let namespace_end = domain_end + NAMESPACE.len() + namespace.len();
        // Both are below LONGEST, which fits.
        Ok(Self { uri: text.into(), domain_end: domain_end as u16, namespace_end: namespace_end as u16 })
    }
}

/// A path segment (SPIFFE-ID, section 2.2): letters, digits, `.`, `-` and `_`, and neither `.` nor `..`.
fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// Why a text is no identity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The trust domain has other characters, or too few or too many.
    #[error(
        "expected a trust domain of 1 to 255 lower-case letters, digits, dots, dashes and underscores, found {found:?}"
    )]
    TrustDomain {
        /// What stood there.
        found: String,
    },
    /// It is not of the one shape.
    #[error("expected spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>, found {found:?}")]
    Shape {
        /// What stood there, its first 256 characters.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_taken_apart() {
        let identity: Identity = "spiffe://cluster.local/ns/shop/sa/web-1".parse().unwrap();
        assert_eq!(identity.trust_domain(), "cluster.local");
        assert_eq!(identity.namespace(), "shop");
        assert_eq!(identity.service_account(), "web-1");
        assert_eq!(identity.principal(), "cluster.local/ns/shop/sa/web-1");
        assert_eq!(Identity::new(&"cluster.local".parse().unwrap(), "shop", "web-1"), Ok(identity));
    }

    #[test]
    fn what_is_not_of_the_one_shape_is_refused() {
        let long = format!("spiffe://td/ns/a/sa/{}", "b".repeat(LONGEST));
        for text in [
            "",
            "spiffe://",
            "spiffe://td",
            "spiffe://td/",
            "spiffe:///ns/a/sa/b",
            "SPIFFE://td/ns/a/sa/b",
            "https://td/ns/a/sa/b",
            "spiffe://TD/ns/a/sa/b",
            "spiffe://td:80/ns/a/sa/b",
            "spiffe://user@td/ns/a/sa/b",
            "spiffe://td/NS/a/sa/b",
            "spiffe://td/ns/a/sa/b/",
            "spiffe://td/ns/a/sa/b/c",
            "spiffe://td//ns/a/sa/b",
            "spiffe://td/ns//sa/b",
            "spiffe://td/ns/a/sa/",
            "spiffe://td/ns/./sa/b",
            "spiffe://td/ns/../sa/b",
            "spiffe://td/ns/a%2fsa/sa/b",
            "spiffe://td/ns/a/sa/b%00",
            "spiffe://td/ns/a/sa/b\0.evil",
            "spiffe://td/ns/a/sa/b?x",
            "spiffe://td/ns/a/sa/b#x",
            " spiffe://td/ns/a/sa/b",
            "spiffe://td/ns/a/sa/b\n",
            "spiffe://td/ns/ä/sa/b",
            "spiffe://td/sa/b/ns/a",
            &long,
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text:?}");
        }
    }
}
