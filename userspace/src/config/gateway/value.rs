//! Scalars of an `HTTPRoute`.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::config::Choice;
use crate::config::value::{Hostname, Scalar};
use crate::routing::{HostPattern, Scheme, parse_duration};

/// The name of an object that is part of host names (RFC 1123, 2.1): one label.
#[derive(Debug)]
pub(in crate::config) struct Label(pub(in crate::config) String);

impl Scalar for Label {
    fn expected() -> String {
        "a name of up to 63 characters a-z, 0-9 and -".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let name = Hostname::read(text).ok().filter(|Hostname(name)| !name.contains('.'));
        name.map(|Hostname(name)| Self(name))
            .ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

impl Scalar for HostPattern {
    fn expected() -> String {
        "a host name, or *. and one, in lower case".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("expected {}, found {text:?}", Self::expected());
        match text.strip_prefix("*.") {
            Some(rest) => {
                Hostname::read(rest).map(|Hostname(name)| Self::Suffix(format!(".{name}"))).map_err(wrong)
            }
            None => Hostname::read(text).map(|Hostname(name)| Self::Exact(name)).map_err(wrong),
        }
    }
}

/// How a text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathType {
    Exact,
    Prefix,
}

/// Expressions of users are never run: how long one takes is up to whoever wrote it.
const NO_EXPRESSIONS: &str = "regular expressions are not taken, list what they stand for instead";

impl Scalar for PathType {
    fn expected() -> String {
        "Exact or PathPrefix".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "Exact" => Ok(Self::Exact),
            "PathPrefix" => Ok(Self::Prefix),
            "RegularExpression" => {
                Err(format!("expected {}, found {text:?}: {NO_EXPRESSIONS}", Self::expected()))
            }
            _ => Err(format!("expected {}, found {text:?}", Self::expected())),
        }
    }
}

/// How a header field or a query parameter is compared.
#[derive(Debug)]
pub(super) struct ValueType;

impl Scalar for ValueType {
    fn expected() -> String {
        "Exact".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "Exact" => Ok(Self),
            "RegularExpression" => {
                Err(format!("expected {}, found {text:?}: {NO_EXPRESSIONS}", Self::expected()))
            }
            _ => Err(format!("expected {}, found {text:?}", Self::expected())),
        }
    }
}

/// A method; case counts.
#[derive(Clone, Debug)]
pub(super) struct WrittenMethod(pub(super) Method);

impl Scalar for WrittenMethod {
    fn expected() -> String {
        "one of GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let known = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::CONNECT,
            Method::OPTIONS,
            Method::TRACE,
            Method::PATCH,
        ];
        let method = known.into_iter().find(|method| method == text);
        method.map(Self).ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

impl Scalar for HeaderName {
    fn expected() -> String {
        "the name of a header field".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected {}, found {text:?}", Self::expected()))
    }
}

/// The name of a field that may be changed: not one that says where a message ends, how it is carried, or where it goes.
#[derive(Debug)]
pub(super) struct EditableName(pub(super) HeaderName);

/// Fields that are the proxy's own business (RFC 9110, 7.6.1; RFC 9112, 6), and the host.
const NOT_EDITABLE: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Scalar for EditableName {
    fn expected() -> String {
        "the name of a header field other than those that frame a message or say where it goes".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let name = HeaderName::read(text)?;
        if name == http::header::HOST {
            return Err(format!(
                "expected a URLRewrite with hostname for the host, found the field {text:?}"
            ));
        }
        if NOT_EDITABLE.contains(&name.as_str()) {
            return Err(format!("expected {}, found {text:?}", Self::expected()));
        }
        Ok(Self(name))
    }
}

impl Scalar for HeaderValue {
    fn expected() -> String {
        "the value of a header field: visible ASCII characters and blanks".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let value = Self::from_str(text).ok().filter(|value| value.to_str().is_ok());
        value.ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

impl Choice for Scheme {
    const WORDS: &'static [(&'static str, Self)] = &[("http", Self::Http), ("https", Self::Https)];
}

/// The status of a redirect.
#[derive(Debug)]
pub(super) struct RedirectStatus(pub(super) StatusCode);

impl Scalar for RedirectStatus {
    fn expected() -> String {
        "one of 301, 302, 303, 307, 308".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let status =
            text.parse().ok().filter(|status: &StatusCode| matches!(status.as_u16(), 301..=303 | 307 | 308));
        status.map(Self).ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

/// The status of an answer that stands for a failure.
#[derive(Debug)]
pub(super) struct FailureStatus(pub(super) StatusCode);

impl Scalar for FailureStatus {
    fn expected() -> String {
        "a status from 400 to 599".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let status = text.parse().ok().filter(|status: &StatusCode| matches!(status.as_u16(), 400..=599));
        status.map(Self).ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

/// A path to put in place of another; may be empty where it replaces a prefix.
#[derive(Debug)]
pub(super) struct NewPath(pub(super) String);

impl Scalar for NewPath {
    fn expected() -> String {
        "a path that begins with / and has neither ? nor #".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let good = text.is_empty()
            || (text.starts_with('/') && !text.contains(['?', '#']) && PathAndQuery::try_from(text).is_ok());
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("expected {}, found {text:?}", Self::expected()))
        }
    }
}

/// A time of the Gateway API; zero means none where it bounds something.
#[derive(Debug)]
pub(super) struct Time(pub(super) Duration);

impl Scalar for Time {
    fn expected() -> String {
        "a duration such as 10s, 500ms or 1h30m".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        parse_duration(text).map(Self)
    }
}

/// Declares a whole number within bounds.
macro_rules! bounded {
    ($(#[doc = $doc:literal])+ $name:ident: $least:literal to $most:literal) => {
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub(super) struct $name(pub(super) u32);

        impl Scalar for $name {
            fn expected() -> String {
                format!("a number from {} to {}", $least, $most)
            }

            fn read(text: &str) -> Result<Self, String> {
                let number = text.parse().ok().filter(|number| ($least..=$most).contains(number));
                number.map(Self).ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
            }
        }
    };
}

bounded! {
    /// How many requests a backend gets in relation to others.
    Weight: 0 to 1_000_000
}
bounded! {
    /// A part of a hundred.
    Percent: 0 to 100
}
bounded! {
    /// The upper part of a fraction.
    Numerator: 0 to 1_000_000_000
}
bounded! {
    /// The lower part of a fraction.
    Denominator: 1 to 1_000_000_000
}
bounded! {
    /// How many attempts may follow the first one.
    Attempts: 0 to 100
}
