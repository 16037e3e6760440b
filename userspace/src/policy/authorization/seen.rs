//! A call as rules look at it: made comparable once, not once for every rule.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::header::HOST;
use http::{HeaderMap, HeaderName};

use super::{Asked, Call, Content};
use crate::model::Identity;

/// What is known of a call.
pub(super) struct Seen<'a> {
    pub(super) source: Option<&'a Identity>,
    /// `namespace/name`.
    account: Option<String>,
    /// Never IPv4-mapped.
    pub(super) client: IpAddr,
    /// Never IPv4-mapped.
    pub(super) destination: SocketAddr,
    pub(super) said: Said<'a>,
}

/// What is known of what it says.
pub(super) enum Said<'a> {
    /// Nothing yet.
    Unknown,
    /// That we do not read it.
    Opaque,
    /// This request.
    Http(Request<'a>),
}

/// A request.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    host: Option<Host<'a>>,
    headers: &'a HeaderMap,
}

/// A host in lower case.
struct Host<'a> {
    /// As it came.
    whole: Cow<'a, str>,
    /// Where its port begins, and the dot at the end of a name that is fully qualified.
    end: usize,
}

impl<'a> Seen<'a> {
    /// What is known of a connection that has not said anything. `accounts`: whether anybody asks for service accounts.
    pub(super) fn connection(
        source: Option<&'a Identity>,
        client: IpAddr,
        destination: SocketAddr,
        accounts: bool,
    ) -> Self {
        let account = |source: &Identity| format!("{}/{}", source.namespace(), source.service_account());
        Self {
            source,
            account: source.filter(|_| accounts).map(account),
            client: client.to_canonical(),
            destination: SocketAddr::new(destination.ip().to_canonical(), destination.port()),
            said: Said::Unknown,
        }
    }

    /// All that there is to know.
    pub(super) fn call(call: &Call<'a>, accounts: bool) -> Self {
        let said = match call.content {
            Content::Opaque => Said::Opaque,
            Content::Http(Asked { method, host, path, headers }) => {
                Said::Http(Request { method, path, host: host.map(Host::new), headers })
            }
        };
        Self { said, ..Self::connection(call.source, call.client, call.destination, accounts) }
    }

    pub(super) fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    pub(super) fn request(&self) -> Option<&Request<'a>> {
        match &self.said {
            Said::Http(request) => Some(request),
            Said::Unknown | Said::Opaque => None,
        }
    }
}

impl Request<'_> {
    /// What the host may be compared as: without its port, and as it came.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        let bare = self.host.as_ref().map(|host| &host.whole[..host.end]);
        bare.into_iter()
            .chain(self.host.as_ref().filter(|host| host.end < host.whole.len()).map(|host| &*host.whole))
    }

    /// The values of a header, without blanks around them. The host that is asked for is a value of `host`, wherever it stood.
    pub(super) fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let host = self.host.as_ref().filter(|_| *name == HOST).map(|host| host.whole.as_bytes());
        self.headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii()).chain(host)
    }
}

impl<'a> Host<'a> {
    fn new(host: &'a str) -> Self {
        let whole = match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(host.to_ascii_lowercase()),
            false => Cow::Borrowed(host),
        };
        let bare = match whole.rsplit_once(':') {
            // The colons of an IPv6 address are within brackets.
            Some((bare, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => bare,
            _ => &*whole,
        };
        let end = bare.strip_suffix('.').unwrap_or(bare).len();
        Self { whole, end }
    }
}
