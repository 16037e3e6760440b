//! What a request has to look like to meet a rule.

use std::borrow::Cow;
use std::cmp::Reverse;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::model::{PathForm, normalize};

/// A request, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Its method.
    pub method: &'a Method,
    /// `:authority`, or else `Host`; may have a port.
    pub authority: Option<&'a str>,
    /// Its path in [`PathForm::Base`].
    pub path: &'a str,
    /// What stands behind the `?`.
    pub query: Option<&'a str>,
    /// Its header fields.
    pub headers: &'a HeaderMap,
}

impl<'a> RequestView<'a> {
    /// The host that was asked for, without its port.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        let authority = self.authority?;
        Some(match authority.rfind(':') {
            // The colons of an IPv6 address stand within brackets.
            Some(at) if !authority[at..].contains(']') => &authority[..at],
            _ => authority,
        })
    }

    /// The first value of a query parameter.
    fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        let pairs = self.query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(key, _)| decoded(key) == name).map(|(_, value)| decoded(value))
    }
}

/// `text` with its escapes resolved. What is no escape, or no text afterwards, means itself; so does `+`.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// All of its parts have to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// What the path has to be.
    pub path: PathMatch,
    /// What the method has to be.
    pub method: Option<Method>,
    /// Fields that have to be there, each with one value that is exactly this; names once each.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Query parameters whose first value has to be exactly this; names once each.
    pub query: Vec<(String, String)>,
}

/// What a path has to be, in [`PathForm::Base`] and in its own case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// This one.
    Exact(String),
    /// This one or something below it. Without a slash at its end, and so empty if every path is meant.
    Prefix(String),
}

impl PathMatch {
    /// Whether a path is meant.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.starts_with('/') || (rest.is_empty() && !prefix.is_empty())),
        }
    }
}

/// A path that a resource may match or rewrite to, in the form that it is compared in.
///
/// # Errors
/// What the Gateway API does not allow in the value of a path.
pub fn path_value(text: &str) -> Result<String, String> {
    let refused = |what: &str| Err(format!("expected a path {what}, found {text:?}"));
    if !text.starts_with('/') {
        return refused("that begins with /");
    }
    if text.len() > 1024 {
        return Err(format!("expected a path of at most 1024 characters, found {}", text.len()));
    }
    for bad in ["//", "/./", "/../", "%2f", "%2F", "#", "?"] {
        if text.contains(bad) {
            return refused(&format!("without {bad}"));
        }
    }
    if text.ends_with("/..") || text.ends_with("/.") {
        return refused("that does not end in a dot segment");
    }
    let normal = normalize(text, PathForm::Base).map_err(|error| format!("{error}: {text:?}"))?;
    Ok(normal.into_owned())
}

impl Default for Match {
    /// Every request: what a rule without matches meets.
    fn default() -> Self {
        Self { path: PathMatch::Prefix(String::new()), method: None, headers: Vec::new(), query: Vec::new() }
    }
}

impl Match {
    /// Whether a request is meant.
    #[must_use]
    pub fn holds(&self, request: &RequestView<'_>) -> bool {
        self.path.holds(request.path)
            && self.method.as_ref().is_none_or(|method| method == request.method)
            && self.headers.iter().all(|(name, value)| has(request, name, value))
            && self.query.iter().all(|(name, value)| request.parameter(name).as_deref() == Some(value))
    }

    /// Its place among matches of one request, the foremost first: exact path, longest prefix, method, most headers, most
    /// query parameters (`HTTPRouteRule.matches` in the Gateway API's reference).
    #[must_use]
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let path = match &self.path {
            PathMatch::Exact(path) => (0, Reverse(path.chars().count())),
            PathMatch::Prefix(path) => (1, Reverse(path.chars().count())),
        };
        (path, self.method.is_none(), Reverse(self.headers.len()), Reverse(self.query.len()))
    }
}

/// Whether one of a field's values is this one. They are looked at one by one, never joined.
fn has(request: &RequestView<'_>, name: &HeaderName, value: &HeaderValue) -> bool {
    if name == HOST {
        return request.authority.is_some_and(|host| host.as_bytes() == value.as_bytes());
    }
    request.headers.get_all(name).iter().any(|found| found == value)
}

/// A host that requests may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This one, in lower case.
    Exact(String),
    /// Whatever ends in this, which begins with a dot, and has more in front of it.
    Suffix(String),
}

impl HostPattern {
    /// Whether a host is meant, and if so how closely: greater is closer (exact before wildcard, then the longer one).
    #[must_use]
    pub fn closeness(&self, host: &str) -> Option<(bool, usize)> {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(host).then_some((true, exact.len())),
            Self::Suffix(suffix) => {
                let (at, tail) = (host.len().checked_sub(suffix.len())?, suffix.as_bytes());
                let ends = at > 0 && host.as_bytes()[at..].eq_ignore_ascii_case(tail);
                ends.then_some((false, suffix.len()))
            }
        }
    }
}
