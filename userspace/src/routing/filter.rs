//! What is changed on a request's way, and on its answer's.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{Backing, PathEdit, RequestView};

/// The filters of a rule or of a backend. Which of them stands first in the file means nothing: each is there once at
/// most, but for mirrors, and none sees what another one does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// `RequestHeaderModifier`.
    pub request_headers: Option<HeaderEdit>,
    /// `ResponseHeaderModifier`.
    pub response_headers: Option<HeaderEdit>,
    /// `RequestRedirect`: the request goes nowhere else.
    pub redirect: Option<Redirect>,
    /// `URLRewrite`.
    pub rewrite: Option<Rewrite>,
    /// `RequestMirror`.
    pub mirrors: Vec<Mirror>,
}

/// Changes to header fields: what is set, then what is added, then what is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdit {
    /// Fields that get this value and no other.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields that get one value more.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Fields that are taken away.
    pub remove: Vec<HeaderName>,
}

impl HeaderEdit {
    /// Changes a message's header fields.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Port 80 unless another one is named.
    Http,
    /// Port 443 unless another one is named.
    Https,
}

impl Scheme {
    const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An answer that sends the client elsewhere. What is absent stays as the client asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The scheme; absent: http, which is what was looked at.
    pub scheme: Option<Scheme>,
    /// The host.
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathEdit>,
    /// The port; absent: the scheme's own if there is a scheme, or else the one that the client dialled.
    pub port: Option<u16>,
    /// The answer's status.
    pub status: StatusCode,
}

impl Redirect {
    /// What `Location` says to a request of which a rule matched `prefix`, and that was sent to port `dialled`; none if the
    /// request does not say which host it is for and the redirect neither.
    #[must_use]
    pub fn location(&self, request: &RequestView<'_>, prefix: &str, dialled: u16) -> Option<String> {
        let scheme = self.scheme.unwrap_or(Scheme::Http);
        let host = self.hostname.as_deref().or_else(|| request.host())?;
        let port = self.port.unwrap_or(if self.scheme.is_some() { scheme.port() } else { dialled });
        let mut location = format!("{}://{host}", scheme.word());
        if port != scheme.port() {
            location.push_str(&format!(":{port}"));
        }
        match &self.path {
            Some(edit) => location.push_str(&edit.apply(request.path, prefix)),
            None => location.push_str(request.path),
        }
        if let Some(query) = request.query {
            location.push('?');
            location.push_str(query);
        }
        Some(location)
    }
}

/// Another URL for the upstream than the client asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The host that the upstream is asked for.
    pub hostname: Option<String>,
    /// What becomes of the path; it is made of the path that rules see, since a prefix of that is what was matched.
    pub path: Option<PathEdit>,
}

/// Copies of requests that are sent elsewhere too, whose answers nobody sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where to.
    pub to: Backing,
    /// Of how many requests.
    pub share: Share,
}

/// A part of all requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// So many…
    pub of: u32,
    /// …of so many, at least 1.
    pub all: u32,
}

impl Share {
    /// Every request.
    pub const ALL: Self = Self { of: 1, all: 1 };

    /// Whether a request with this random number (of all 64-bit numbers) is among them.
    #[must_use]
    pub fn has(self, random: u64) -> bool {
        scaled(random, u64::from(self.all)) < u64::from(self.of)
    }
}

/// `random` of all 64-bit numbers as one below `bound`, each as likely as the others.
pub(super) fn scaled(random: u64, bound: u64) -> u64 {
    // The product is below bound · 2^64, so that its upper half is below bound.
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}
