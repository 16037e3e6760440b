//! A rule as it is looked at: only what does not hold always, and how far it is true of what is known.

use http::HeaderName;
use ipnet::IpNet;

use super::seen::{Request, Said, Seen};
use super::{AuthorizationRule, Condition, Match, Operation, PathPattern, Pattern, Source};
use crate::model::Identity;
use crate::policy::target::canonical;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) from: Alternatives,
    pub(super) to: Alternatives,
    pub(super) when: Box<[Test]>,
}

/// One of them has to hold, of which everything has to hold. None: nothing has to.
pub(super) type Alternatives = Box<[Box<[Test]>]>;

/// What is looked at, and what it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Principal(Values<Pattern>),
    Namespace(Values<Pattern>),
    Account(Values<Pattern>),
    Client(Values<IpNet>),
    Destination(Values<IpNet>),
    Port(Values<u16>),
    /// In lower case.
    Host(Values<Pattern>),
    Method(Values<Pattern>),
    Path(Values<PathPattern>),
    Header(Box<(HeaderName, Values<Pattern>)>),
}

/// A [`Match`] in little room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Values<T> {
    pub(super) any: Box<[T]>,
    pub(super) none: Box<[T]>,
}

/// How far something is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    /// Whatever is said.
    No,
    /// That depends on what is said.
    Perhaps,
    /// Whatever is said.
    Yes,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl Rule {
    pub(super) fn new(rule: &AuthorizationRule) -> Self {
        Self {
            from: alternatives(rule.from.iter().map(of_source)),
            to: alternatives(rule.to.iter().map(of_operation)),
            when: rule.when.iter().filter_map(of_condition).collect(),
        }
    }

    /// How far it matches. `denies`: what speaks of requests is taken for matched by what is none.
    pub(super) fn truth(&self, seen: &Seen<'_>, denies: bool) -> Truth {
        let all = |tests: &[Test]| {
            let mut truth = Truth::Yes;
            for test in tests {
                truth = truth.min(test.truth(seen, denies));
                if truth == Truth::No {
                    break;
                }
            }
            truth
        };
        let one = |alternatives: &Alternatives| {
            let mut truth = if alternatives.is_empty() { Truth::Yes } else { Truth::No };
            for tests in alternatives {
                truth = truth.max(all(tests));
                if truth == Truth::Yes {
                    break;
                }
            }
            truth
        };
        let mut truth = all(&self.when);
        for alternatives in [&self.from, &self.to] {
            if truth != Truth::No {
                truth = truth.min(one(alternatives));
            }
        }
        truth
    }

    /// Everything that it looks at.
    pub(super) fn tests(&self) -> impl Iterator<Item = &Test> {
        self.from.iter().chain(&self.to).flatten().chain(&self.when)
    }

    /// Whether it looks at more than what is said.
    pub(super) fn reads_connection(&self) -> bool {
        self.tests().any(|test| !test.reads_requests())
    }

    /// Whether it matches nothing without knowing what is said.
    pub(super) fn depends_on_content(&self) -> bool {
        let depend = |tests: &[Test]| tests.iter().any(Test::reads_requests);
        depend(&self.when) || (!self.to.is_empty() && self.to.iter().all(|tests| depend(tests)))
    }
}

impl Test {
    fn truth(&self, seen: &Seen<'_>, denies: bool) -> Truth {
        match self {
            Self::Principal(values) => {
                let of = seen.source.map(Identity::principal);
                values.hold(|value| of.is_some_and(|of| value.matches(of))).into()
            }
            Self::Namespace(values) => {
                let of = seen.source.map(Identity::namespace);
                values.hold(|value| of.is_some_and(|of| value.matches(of))).into()
            }
            Self::Account(values) => {
                values.hold(|value| seen.account().is_some_and(|of| value.matches(of))).into()
            }
            Self::Client(nets) => nets.hold(|net| net.contains(&seen.client)).into(),
            Self::Destination(nets) => nets.hold(|net| net.contains(&seen.destination.ip())).into(),
            Self::Port(ports) => ports.hold(|&port| port == seen.destination.port()).into(),
            Self::Host(_) | Self::Method(_) | Self::Path(_) | Self::Header(_) => match &seen.said {
                Said::Unknown => Truth::Perhaps,
                Said::Opaque => denies.into(),
                Said::Http(request) => self.is_asked(request).into(),
            },
        }
    }

    fn is_asked(&self, request: &Request<'_>) -> bool {
        match self {
            Self::Host(values) => values.hold(|value| request.hosts().any(|host| value.matches(host))),
            Self::Method(values) => values.hold(|value| value.matches(request.method)),
            Self::Path(values) => values.hold(|value| value.matches(request.path)),
            Self::Header(header) => header.1.hold(|value| {
                // A header with an empty value is there.
                let mut values = request.values(&header.0);
                values.any(|is| *value == Pattern::Present || value.matches_bytes(is))
            }),
            _ => true,
        }
    }

    /// Whether it looks at what is said.
    pub(super) const fn reads_requests(&self) -> bool {
        matches!(self, Self::Host(_) | Self::Method(_) | Self::Path(_) | Self::Header(_))
    }
}

impl<T> Values<T> {
    /// Whether they hold of what `is` knows.
    pub(super) fn hold(&self, is: impl Fn(&T) -> bool) -> bool {
        (self.any.is_empty() || self.any.iter().any(&is)) && !self.none.iter().any(&is)
    }
}

/// What has to be looked at for one of several; nothing if one of them holds always.
fn alternatives(each: impl Iterator<Item = Box<[Test]>>) -> Alternatives {
    let each: Alternatives = each.collect();
    if each.iter().any(|tests| tests.is_empty()) { Box::default() } else { each }
}

fn of_source(source: &Source) -> Box<[Test]> {
    let Source { principals, namespaces, service_accounts, ip_blocks, remote_ip_blocks } = source;
    let tests = [
        values(principals, Pattern::clone).map(Test::Principal),
        values(namespaces, Pattern::clone).map(Test::Namespace),
        values(service_accounts, Pattern::clone).map(Test::Account),
        values(ip_blocks, net).map(Test::Client),
        values(remote_ip_blocks, net).map(Test::Client),
    ];
    tests.into_iter().flatten().collect()
}

fn of_operation(operation: &Operation) -> Box<[Test]> {
    let Operation { ports, hosts, methods, paths } = operation;
    let tests = [
        values(ports, |&port| port).map(Test::Port),
        values(paths, PathPattern::clone).map(Test::Path),
        values(methods, Pattern::clone).map(Test::Method),
        values(hosts, Pattern::to_lower_case).map(Test::Host),
    ];
    tests.into_iter().flatten().collect()
}

fn of_condition(condition: &Condition) -> Option<Test> {
    match condition {
        Condition::SourceIp(nets) | Condition::RemoteIp(nets) => values(nets, net).map(Test::Client),
        Condition::SourceNamespace(names) => values(names, Pattern::clone).map(Test::Namespace),
        Condition::SourcePrincipal(names) => values(names, Pattern::clone).map(Test::Principal),
        Condition::SourceServiceAccount(names) => values(names, Pattern::clone).map(Test::Account),
        Condition::DestinationIp(nets) => values(nets, net).map(Test::Destination),
        Condition::DestinationPort(ports) => values(ports, |&port| port).map(Test::Port),
        // Even without a list it speaks of requests.
        Condition::Header(name, texts) => {
            Some(Test::Header(Box::new((name.clone(), packed(texts, Pattern::clone)))))
        }
    }
}

fn net(net: &IpNet) -> IpNet {
    canonical(*net)
}

/// What a list and its twin say, if they say anything.
fn values<T, U>(list: &Match<T>, of: impl Fn(&T) -> U) -> Option<Values<U>> {
    (!list.is_empty()).then(|| packed(list, of))
}

fn packed<T, U>(list: &Match<T>, of: impl Fn(&T) -> U) -> Values<U> {
    let boxed = |list: &[T]| list.iter().map(&of).collect();
    Values { any: boxed(&list.any), none: boxed(&list.none) }
}
