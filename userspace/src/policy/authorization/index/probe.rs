//! What is looked up: an attribute of a call, or a part of it.

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;

use foldhash::fast::FixedState;
use http::HeaderName;
use ipnet::IpNet;

use crate::model::Identity;
use crate::policy::authorization::rule::Test;
use crate::policy::authorization::seen::{Request, Seen};
use crate::policy::authorization::{PathPattern, Pattern};

/// One way to look something up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Probe {
    /// A text, or its beginning or end.
    Text(Attribute, Part),
    /// The address that the connection comes from, as far as a prefix of this length.
    Client(Family, u8),
    /// The address that it is for, likewise.
    Destination(Family, u8),
    /// The port that it is for.
    Port,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Attribute {
    Principal,
    Namespace,
    Account,
    Host,
    Method,
    Path,
    /// By its place in the index.
    Header(u8),
}

/// Of a text so many bytes at an end, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Part {
    Whole,
    First(u32),
    Last(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

/// A probe and what it has to show, in few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(u64);

impl Key {
    pub(super) const fn bits(self) -> u64 {
        self.0
    }
}

/// Under what a rule can be filed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) probe: Probe,
    pub(super) key: Key,
}

impl Probe {
    /// Calls `found` with the keys that a call shows; `headers` are those of the index.
    pub(super) fn each(self, seen: &Seen<'_>, headers: &[HeaderName], mut found: impl FnMut(Key)) {
        match self {
            Self::Text(attribute, part) => attribute.each(seen, headers, |text| {
                if let Some(text) = part.of(text) {
                    found(self.key(text));
                }
            }),
            Self::Client(family, length) => {
                if let Some(bits) = family.first_bits(seen.client, length) {
                    found(self.key(bits));
                }
            }
            Self::Destination(family, length) => {
                if let Some(bits) = family.first_bits(seen.destination.ip(), length) {
                    found(self.key(bits));
                }
            }
            Self::Port => found(self.key(seen.destination.port())),
        }
    }

    fn key(self, value: impl Hash) -> Key {
        Key(FixedState::default().hash_one((self, value)))
    }

    fn entry(self, value: impl Hash) -> Entry {
        Entry { probe: self, key: self.key(value) }
    }
}

impl Attribute {
    fn each(self, seen: &Seen<'_>, headers: &[HeaderName], mut found: impl FnMut(&[u8])) {
        let mut text = |text: Option<&str>| {
            if let Some(text) = text {
                found(text.as_bytes());
            }
        };
        match self {
            Self::Principal => text(seen.source.map(Identity::principal)),
            Self::Namespace => text(seen.source.map(Identity::namespace)),
            Self::Account => text(seen.account()),
            Self::Method => text(seen.request().map(|request| request.method)),
            Self::Path => text(seen.request().map(|request| request.path)),
            Self::Host => {
                for host in seen.request().into_iter().flat_map(Request::hosts) {
                    found(host.as_bytes());
                }
            }
            Self::Header(place) => {
                if let (Some(request), Some(name)) = (seen.request(), headers.get(usize::from(place))) {
                    request.values(name).for_each(found);
                }
            }
        }
    }
}

impl Part {
    fn of(self, text: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Whole => Some(text),
            Self::First(count) => text.get(..count as usize),
            Self::Last(count) => text.get(text.len().checked_sub(count as usize)?..),
        }
    }
}

impl Family {
    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn first_bits(self, address: IpAddr, length: u8) -> Option<u128> {
        let bits = match (self, address) {
            (Self::V4, IpAddr::V4(address)) => u128::from(address.to_bits()) << 96,
            (Self::V6, IpAddr::V6(address)) => address.to_bits(),
            (Self::V4, IpAddr::V6(_)) | (Self::V6, IpAddr::V4(_)) => return None,
        };
        Some(if length == 0 { 0 } else { bits >> (128 - u32::from(length)) })
    }
}

/// Under what a rule with this test can be filed: one entry for each value of its list. `None`: it can match whatever shows.
pub(super) fn entries(test: &Test, headers: &[HeaderName]) -> Option<Vec<Entry>> {
    let texts = |attribute: Attribute, patterns: &[Pattern]| -> Option<Vec<Entry>> {
        patterns.iter().map(|pattern| text(attribute, pattern)).collect()
    };
    let nets = |probe: fn(Family, u8) -> Probe, nets: &[IpNet]| -> Option<Vec<Entry>> {
        nets.iter().map(|net| prefix(probe, net)).collect()
    };
    let entries = match test {
        Test::Principal(values) => texts(Attribute::Principal, &values.any),
        Test::Namespace(values) => texts(Attribute::Namespace, &values.any),
        Test::Account(values) => texts(Attribute::Account, &values.any),
        Test::Client(values) => nets(Probe::Client, &values.any),
        Test::Destination(values) => nets(Probe::Destination, &values.any),
        Test::Port(values) => Some(values.any.iter().map(|port| Probe::Port.entry(port)).collect()),
        Test::Host(values) => texts(Attribute::Host, &values.any),
        Test::Method(values) => texts(Attribute::Method, &values.any),
        Test::Path(values) => values.any.iter().map(path).collect(),
        Test::Header(header) => {
            let place = headers.iter().position(|name| *name == header.0)?;
            texts(Attribute::Header(u8::try_from(place).ok()?), &header.1.any)
        }
    };
    entries.filter(|entries| !entries.is_empty())
}

fn text(attribute: Attribute, pattern: &Pattern) -> Option<Entry> {
    let (part, text) = match pattern {
        Pattern::Exact(text) => (Part::Whole, text),
        Pattern::Prefix(text) => (Part::First(u32::try_from(text.len()).ok()?), text),
        Pattern::Suffix(text) => (Part::Last(u32::try_from(text.len()).ok()?), text),
        Pattern::Present => return None,
    };
    Some(Probe::Text(attribute, part).entry(text.as_bytes()))
}

/// A template is filed under the text in front of its first operator or behind its last one, whichever is longer.
fn path(pattern: &PathPattern) -> Option<Entry> {
    match pattern {
        PathPattern::Text(pattern) => text(Attribute::Path, pattern),
        PathPattern::Template(parts) => {
            let (before, behind) = super::super::template::ends(parts);
            let end = match before.len() < behind.len() {
                true => Pattern::Suffix(behind.into()),
                false => Pattern::Prefix(before.into()),
            };
            text(Attribute::Path, &end)
        }
    }
}

fn prefix(probe: fn(Family, u8) -> Probe, net: &IpNet) -> Option<Entry> {
    let family = Family::of(net.addr());
    let bits = family.first_bits(net.addr(), net.prefix_len())?;
    Some(probe(family, net.prefix_len()).entry(bits))
}
