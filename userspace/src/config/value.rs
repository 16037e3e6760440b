//! Scalars of the file: text that one type knows how to read.
//!
//! Every value is read while the parser stands on it, so that an error carries its place and its path without
//! any bookkeeping here.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::{Choice, LogDestination, WorkloadName};
use crate::model::{Host, Identity, Remote, TrustDomain};
use crate::policy::{PortSpan, Target};

mod destination;
mod http;
mod mesh;
mod tracing;

pub(super) use destination::WrittenTarget;
pub(super) use http::HeaderSize;
pub(super) use mesh::{Hostname, Lifetime, Network, Port, ProbePath, SocketPath};
pub(super) use tracing::Ratio;

/// A type that is written as one piece of text.
pub(super) trait Scalar: Sized {
    /// What to call it where something else was found.
    fn expected() -> String;

    /// Reads it.
    ///
    /// # Errors
    ///
    /// What was expected and what was found.
    fn read(text: &str) -> Result<Self, String>;
}

/// A scalar in the file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value<T>(pub(super) T);

impl<'de, T: Scalar> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As text and not as anything, so that a name of digits keeps its zeros.
        deserializer.deserialize_str(ScalarVisitor(PhantomData)).map(Self)
    }
}

/// Reads a scalar, however the parser took it.
struct ScalarVisitor<T>(PhantomData<T>);

/// Hands numbers and booleans to [`Scalar::read`] as text, since YAML does not ask for quotes.
macro_rules! scalars_as_text {
    ($($method:ident: $type:ty),+) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<Self::Value, E> {
            self.visit_str(&value.to_string())
        })+
    };
}

impl<T: Scalar> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&T::expected())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        T::read(text).map_err(E::custom)
    }

    scalars_as_text!(visit_u64: u64, visit_i64: i64, visit_u128: u128, visit_i128: i128, visit_f64: f64, visit_bool: bool);
}

/// One value, or a list of values.
#[derive(Debug)]
pub(super) enum OneOrMany<O, M = O> {
    One(O),
    Many(Vec<Spanned<Value<M>>>),
}

impl<'de, O: Scalar, M: Scalar> Deserialize<'de> for OneOrMany<O, M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

impl<T> OneOrMany<T> {
    /// The values, without their places.
    pub(super) fn into_values(self) -> impl Iterator<Item = T> {
        let (one, many) = match self {
            Self::One(value) => (Some(value), Vec::new()),
            Self::Many(list) => (None, list),
        };
        one.into_iter().chain(many.into_iter().map(|item| item.value.0))
    }
}

/// Reads one value or a list of values.
struct OneOrManyVisitor<O, M>(PhantomData<(O, M)>);

impl<'de, O: Scalar, M: Scalar> Visitor<'de> for OneOrManyVisitor<O, M> {
    type Value = OneOrMany<O, M>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} or a list of {}", O::expected(), M::expected())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        O::read(text).map(OneOrMany::One).map_err(E::custom)
    }

    scalars_as_text!(visit_u64: u64, visit_i64: i64, visit_u128: u128, visit_i128: i128, visit_f64: f64, visit_bool: bool);

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(OneOrMany::Many(values))
    }
}

impl<T: Choice> Scalar for T {
    fn expected() -> String {
        format!("one of {}", T::list())
    }

    fn read(text: &str) -> Result<Self, String> {
        T::from_word(text).ok_or_else(|| format!("expected one of {}, found {text:?}", T::list()))
    }
}

/// Types that read themselves and whose errors say what was expected.
macro_rules! read_by_from_str {
    ($($type:ty: $expected:literal),+ $(,)?) => {
        $(impl Scalar for $type {
            fn expected() -> String {
                $expected.to_owned()
            }

            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|error| format!("{error}"))
            }
        })+
    };
}

read_by_from_str! {
    Target: "CIDR[:port[-port]]",
    PortSpan: "ports",
    WorkloadName: "a name",
    Identity: "a SPIFFE ID such as spiffe://cluster.local/ns/shop/sa/web",
    TrustDomain: "a trust domain such as cluster.local",
    Host: "a host name or an IP address",
    Remote: "a host and a port, such as db.example.com:5432",
}

/// The value of `inbound.ports`, unless it is a list.
#[derive(Debug)]
pub(super) enum PortsWord {
    All,
    None,
    Span(PortSpan),
}

impl Scalar for PortsWord {
    fn expected() -> String {
        "all, none, a port, a range".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            _ if text.starts_with(|first: char| first.is_ascii_digit()) => {
                PortSpan::read(text).map(Self::Span)
            }
            _ => Err(format!("expected {} or a list of ports, found {text:?}", Self::expected())),
        }
    }
}

/// The longest time that can be configured: what is meant to be for ever should not overflow a clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A time that is waited for, so that zero makes no sense.
#[derive(Debug)]
pub(super) struct Timeout(pub(super) Duration);

/// A time that may be zero.
#[derive(Debug)]
pub(super) struct Patience(pub(super) Duration);

/// Reads `10s`, `500ms`, `1h 30m`.
fn duration(text: &str, expected: &str) -> Result<Duration, String> {
    let wrong = || format!("expected {expected}, found {text:?}");
    let duration = humantime::parse_duration(text).map_err(|_| wrong())?;
    if duration > LONGEST { Err(wrong()) } else { Ok(duration) }
}

impl Scalar for Timeout {
    fn expected() -> String {
        "a duration above zero and up to 365days, such as 10s, 500ms or 1h".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let expected = Self::expected();
        match duration(text, &expected)? {
            Duration::ZERO => Err(format!("expected {expected}, found {text:?}")),
            duration => Ok(Self(duration)),
        }
    }
}

impl Scalar for Patience {
    fn expected() -> String {
        "a duration up to 365days, such as 0s, 500ms or 1h".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        duration(text, &Self::expected()).map(Self)
    }
}

/// How many of something there may be.
#[derive(Debug)]
pub(super) struct Count(pub(super) usize);

impl Scalar for Count {
    fn expected() -> String {
        "a number from 1 to 1000000".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| (1..=1_000_000).contains(number));
        number.map(Self).ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

impl Scalar for SocketAddr {
    fn expected() -> String {
        "an IP address and a port above zero, such as 0.0.0.0:15021 or [::]:15021".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let address = text.parse().ok().filter(|address: &Self| address.port() != 0);
        address.ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

/// A path from the root, because nobody knows the working directory of a daemon.
impl Scalar for PathBuf {
    fn expected() -> String {
        "an absolute path".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let path = Self::from(text);
        if path.is_absolute() { Ok(path) } else { Err(format!("expected an absolute path, found {text:?}")) }
    }
}

impl Scalar for LogDestination {
    fn expected() -> String {
        "an absolute path, or - for standard output".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        match Self::from(PathBuf::from(text)) {
            Self::File(path) if !path.is_absolute() => {
                Err(format!("expected {}, found {text:?}", Self::expected()))
            }
            destination => Ok(destination),
        }
    }
}
