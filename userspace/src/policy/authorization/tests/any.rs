//! Policies and calls from so small a space that they meet.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::*;

/// A call that owns what it says.
#[derive(Clone, Debug)]
pub(super) struct Spoken {
    pub(super) source: Option<Identity>,
    pub(super) client: IpAddr,
    pub(super) destination: SocketAddr,
    pub(super) asked: Option<Request>,
}

/// A request that owns what it says.
#[derive(Clone, Debug)]
pub(super) struct Request {
    method: &'static str,
    host: Option<&'static str>,
    path: &'static str,
    headers: HeaderMap,
}

impl Spoken {
    /// As policy sees it.
    pub(super) fn call(&self) -> Call<'_> {
        let content = self.asked.as_ref().map_or(Content::Opaque, |asked| {
            let Request { method, host, path, headers } = asked;
            Content::Http(Asked { method, host: *host, path, headers })
        });
        let Self { source, client, destination, .. } = self;
        Call { source: source.as_ref(), client: *client, destination: *destination, content }
    }
}

const PRINCIPALS: [&str; 4] = ["td/ns/a/sa/x", "td/ns/a/sa/y", "td/ns/b/sa/x", "other/ns/a/sa/x"];
const HEADERS: [&str; 3] = ["x-one", "x-two", "host"];

fn list<T: Clone + fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = Match<T>> {
    let some = |most| prop::collection::vec(value.clone(), 0..=most);
    prop_oneof![
        6 => Just(Match::default()),
        3 => some(3).prop_map(|any| Match { any, none: Vec::new() }),
        1 => some(2).prop_map(|none| Match { any: Vec::new(), none }),
        1 => (some(3), some(2)).prop_map(|(any, none)| Match { any, none }),
    ]
}

fn text(texts: &'static [&'static str]) -> impl Strategy<Value = Pattern> + Clone + 'static {
    select(texts).prop_map(Pattern::new)
}

fn net() -> impl Strategy<Value = IpNet> + Clone + 'static {
    let nets = vec![
        "10.0.0.0/8",
        "10.0.0.0/30",
        "10.0.0.1/32",
        "10.0.0.2/31",
        "10.0.0.3/32",
        "0.0.0.0/0",
        "::/0",
        "fd00::/8",
        "fd00::1/128",
        "fd00::/126",
        "::ffff:10.0.0.2/128",
        "::/64",
    ];
    select(nets).prop_map(|net| net.parse().expect("a net"))
}

fn principal() -> impl Strategy<Value = Pattern> + Clone + 'static {
    text(&["td/ns/a/sa/x", "td/ns/b/sa/x", "td/ns/a/*", "td/*", "*/sa/x", "*"])
}

fn namespace() -> impl Strategy<Value = Pattern> + Clone + 'static {
    text(&["a", "b", "a*", "*b", "*"])
}

fn account() -> impl Strategy<Value = Pattern> + Clone + 'static {
    text(&["a/x", "a/y", "b/x"])
}

fn port() -> impl Strategy<Value = u16> + Clone + 'static {
    prop_oneof![6 => 80..84_u16, 1 => Just(0), 1 => Just(u16::MAX)]
}

fn source() -> impl Strategy<Value = Source> {
    (list(principal()), list(namespace()), list(account()), list(net()), list(net())).prop_map(
        |(principals, namespaces, service_accounts, ip_blocks, remote_ip_blocks)| Source {
            principals,
            namespaces,
            service_accounts,
            ip_blocks,
            remote_ip_blocks,
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    let host = text(&["shop.example", "Shop.Example", "*.example", "shop*", "shop.example:81", "*:81", "*"]);
    let method = text(&["GET", "POST", "P*", "*ST", "*"]);
    let path = select(&["/a", "/a*", "/a/*", "*/b", "*", "/{*}", "/a/{**}", "/{*}/b", "/{**}/b"])
        .prop_map(|path| PathPattern::new(path).expect("a pattern"));
    (list(port()), list(host), list(method), list(path))
        .prop_map(|(ports, hosts, methods, paths)| Operation { ports, hosts, methods, paths })
}

fn condition() -> impl Strategy<Value = Condition> {
    let value = text(&["1", "1*", "*2", "*", "shop.example", "*.example"]);
    let header = select(&HEADERS).prop_map(HeaderName::from_static);
    prop_oneof![
        list(net()).prop_map(Condition::SourceIp),
        list(net()).prop_map(Condition::RemoteIp),
        list(namespace()).prop_map(Condition::SourceNamespace),
        list(principal()).prop_map(Condition::SourcePrincipal),
        list(account()).prop_map(Condition::SourceServiceAccount),
        list(net()).prop_map(Condition::DestinationIp),
        list(port()).prop_map(Condition::DestinationPort),
        (header, list(value)).prop_map(|(name, values)| Condition::Header(name, values)),
    ]
}

fn rule() -> impl Strategy<Value = AuthorizationRule> {
    use prop::collection::vec;
    (vec(source(), 0..3), vec(operation(), 0..3), vec(condition(), 0..2))
        .prop_map(|(from, to, when)| AuthorizationRule { from, to, when })
}

/// Policies that are meant for the workload, and have names of their own.
pub(super) fn policies() -> impl Strategy<Value = Vec<AuthorizationPolicy>> {
    let action = select(&[Action::Allow, Action::Allow, Action::Deny, Action::Deny, Action::Audit]);
    let policy = (action, prop::collection::vec(rule(), 0..3), prop::bool::weighted(0.2));
    prop::collection::vec(policy, 0..8).prop_map(|policies| {
        let named = policies.into_iter().enumerate().map(|(number, (action, rules, dry_run))| {
            let namespace = "a".to_owned();
            let selector = BTreeMap::new();
            AuthorizationPolicy { namespace, name: number.to_string(), selector, action, rules, dry_run }
        });
        named.collect()
    })
}

/// Those of `policies` that hold for a workload of their namespace.
pub(super) fn held(policies: &[AuthorizationPolicy]) -> Authorization {
    let labels = BTreeMap::new();
    Authorization::of(
        policies,
        Subject { trust_domain: "cluster.local", namespace: "a", labels: &labels, root_namespace: "root" },
    )
}

fn address() -> impl Strategy<Value = IpAddr> + Clone {
    let addresses = vec![
        "10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "11.0.0.1", "fd00::", "fd00::1",
        "fd00::9", "::1",
    ];
    select(addresses).prop_map(|address| address.parse().expect("an address"))
}

fn request() -> impl Strategy<Value = Request> {
    let host = select(&[
        None,
        Some("shop.example"),
        Some("SHOP.example:81"),
        Some("shop.example."),
        Some("example"),
        Some("a.example:82"),
        Some("[fd00::1]:81"),
    ]);
    let method = select(&["GET", "POST", "PUT", "get"]);
    let path = select(&["/", "/a", "/a/", "/a/b", "/a/c/b", "/b", "/ab", "*", "/c/b"]);
    let values: Vec<&'static [u8]> = vec![b"1", b"12", b"2", b"", b" 1", b"1\xff", b"a.example"];
    let header = (select(&HEADERS), select(values)).prop_map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("a value"))
    });
    (method, host, path, prop::collection::vec(header, 0..3)).prop_map(|(method, host, path, headers)| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        Request { method, host, path, headers: map }
    })
}

/// Any call.
pub(super) fn spoken() -> impl Strategy<Value = Spoken> {
    let identity =
        select(&PRINCIPALS).prop_map(|name| format!("spiffe://{name}").parse().expect("an identity"));
    (prop::option::of(identity), address(), address(), port(), prop::option::weighted(0.7, request()))
        .prop_map(|(source, client, address, port, asked)| {
            let destination = SocketAddr::new(address, port);
            Spoken { source, client, destination, asked }
        })
}
