//! The compiled form against its specification, and its limits.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::*;
use crate::policy::{Rule, Target};

impl Compiled {
    /// The one lookup that the kernel does, in a table of one family.
    fn decide_by_looking_at_all(&self, destination: SocketAddr) -> (Verdict, Reason) {
        let ip = destination.ip().to_canonical();
        let longest = self.prefixes.iter().filter(|prefix| prefix.net.contains(&ip));
        match longest.max_by_key(|prefix| prefix.net.prefix_len()).map(|prefix| &prefix.decision) {
            None => (self.default, Reason::Default),
            Some(Decision::AllPorts(verdict, reason)) => (*verdict, *reason),
            Some(Decision::ByPort(ranges)) => {
                let range = ranges.iter().find(|range| range.ports.contains(destination.port()));
                range.map(|range| (range.verdict, range.reason)).expect("ranges cover all ports")
            }
        }
    }

    /// The lookup in one trie for both families, IPv4 in mapped form, as the kernel's really is.
    fn decide_in_one_trie(&self, destination: SocketAddr) -> (Verdict, Reason) {
        let wide = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let widened = |prefix: &CompiledPrefix| {
            let more = if prefix.net.addr().is_ipv4() { 96 } else { 0 };
            let net =
                Ipv6Net::new(wide(prefix.net.addr()), prefix.net.prefix_len() + more).expect("a prefix");
            CompiledPrefix { net: IpNet::V6(net), decision: prefix.decision.clone() }
        };
        // `decide` makes mapped addresses canonical, so that both are moved out of the mapped range together.
        let moved = |ip: Ipv6Addr| Ipv6Addr::from_bits(ip.to_bits() ^ (1 << 127));
        let prefixes = self.prefixes.iter().map(widened).map(|prefix| {
            let IpNet::V6(net) = prefix.net else { unreachable!("all are wide") };
            if net.prefix_len() == 0 {
                return prefix;
            }
            let net = Ipv6Net::new(moved(net.addr()), net.prefix_len()).expect("a prefix");
            CompiledPrefix { net: IpNet::V6(net), ..prefix }
        });
        let trie = Self { default: self.default, prefixes: prefixes.collect() };
        trie.decide_by_looking_at_all(SocketAddr::new(
            IpAddr::V6(moved(wide(destination.ip()))),
            destination.port(),
        ))
    }
}

/// Addresses from so small a space that random prefixes nest and random destinations hit them.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (0..4_u32, 0..4_u32).prop_map(|(high, low)| Ipv4Addr::from_bits(0x0a00_0000 | high << 16 | low));
    let v6 =
        (0..4_u128, 0..4_u128).prop_map(|(high, low)| Ipv6Addr::from_bits(0xfd << 120 | high << 64 | low));
    let mapped = (0..4_u32).prop_map(|low| Ipv4Addr::from_bits(0x0a00_0000 | low).to_ipv6_mapped());
    prop_oneof![4 => v4.prop_map(IpAddr::V4), 4 => v6.prop_map(IpAddr::V6), 1 => mapped.prop_map(IpAddr::V6)]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop::sample::select(&Verdict::ALL)
}

/// Ports mostly from a small space, and the ends of the range.
fn port() -> impl Strategy<Value = u16> {
    prop_oneof![8 => 78..84_u16, 1 => Just(0), 1 => Just(u16::MAX), 1 => any::<u16>()]
}

fn target() -> impl Strategy<Value = Target> {
    let length = prop_oneof![
        Just(0_u8),
        Just(8),
        Just(14),
        Just(16),
        Just(31),
        Just(32),
        Just(96),
        Just(127),
        Just(128)
    ];
    let span = (port(), port()).prop_map(|(a, b)| PortSpan { first: a.min(b), last: a.max(b) });
    let ports = prop_oneof![Just(PortSpan::ALL), span, port().prop_map(PortSpan::one)];
    (address(), length, ports).prop_map(|(address, length, ports)| {
        let net = IpNet::new(address, length.min(IpNet::from(address).max_prefix_len())).expect("a prefix");
        Target { net: net.trunc(), ports }
    })
}

/// Rules of random verdicts, without those that contradict an earlier one.
fn rules() -> impl Strategy<Value = Rules> {
    let rule = (verdict(), target()).prop_map(|(verdict, target)| Rule { verdict, target });
    (verdict(), prop::collection::vec(rule, 0..24)).prop_map(|(default, list)| {
        let mut rules = Rules::only(default);
        for rule in list {
            rules.list.push(rule);
            if matches!(rules.compile(), Err(PolicyError::Conflict { .. })) {
                rules.list.pop();
            }
        }
        rules
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compiled_rules_decide_as_the_specification_does(
        rules in rules(),
        destinations in prop::collection::vec((address(), port()), 64),
    ) {
        let compiled = match rules.compile() {
            Ok(compiled) => compiled,
            Err(PolicyError::TooManyPortRanges { count, .. }) => {
                prop_assert!(count > PORT_RANGES);
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        for (ip, port) in destinations {
            let destination = SocketAddr::new(ip, port);
            let expected = rules.decide(destination);
            prop_assert_eq!(compiled.decide(destination), expected, "{} by two tables", destination);
            prop_assert_eq!(compiled.decide_in_one_trie(destination), expected, "{} by one trie", destination);
        }
    }

    #[test]
    fn ranges_are_sorted_disjoint_merged_and_cover_all_ports(rules in rules()) {
        let Ok(compiled) = rules.compile() else { return Ok(()) };
        for prefix in &compiled.prefixes {
            let Decision::ByPort(ranges) = &prefix.decision else { continue };
            prop_assert!((2..=PORT_RANGES).contains(&ranges.len()));
            prop_assert_eq!(ranges.first().map(|range| range.ports.first), Some(0));
            prop_assert_eq!(ranges.last().map(|range| range.ports.last), Some(u16::MAX));
            for [a, b] in ranges.array_windows() {
                prop_assert_eq!(a.ports.last + 1, b.ports.first);
                prop_assert_ne!((a.verdict, a.reason), (b.verdict, b.reason));
            }
        }
    }

    #[test]
    fn a_target_is_read_back_as_it_is_written(target in target()) {
        prop_assert_eq!(target.to_string().parse(), Ok(target.canonical()));
    }
}

fn written(list: &[(Verdict, &str)]) -> Rules {
    let rule = |&(verdict, text): &(Verdict, &str)| Rule { verdict, target: text.parse().expect("a target") };
    Rules { default: Verdict::Proxy, list: list.iter().map(rule).collect() }
}

#[test]
fn rules_that_contradict_each_other_are_refused_by_name() {
    let error = written(&[
        (Verdict::Deny, "10.0.0.0/8:80"),
        (Verdict::Deny, "10.0.0.0/8"),
        (Verdict::Direct, "10.0.0.0/8:80"),
    ])
    .compile()
    .expect_err("a contradiction");
    assert!(matches!(error, PolicyError::Conflict { at: [0, 2], .. }), "{error:?}");
    assert!(error.to_string().contains("`deny 10.0.0.0/8:80` and `direct 10.0.0.0/8:80`"), "{error}");
}

#[test]
fn spans_of_one_width_that_overlap_must_agree() {
    let rules = |verdict| written(&[(Verdict::Deny, "10.0.0.0/8:80-89"), (verdict, "10.0.0.0/8:85-94")]);
    assert!(matches!(rules(Verdict::Direct).compile(), Err(PolicyError::Conflict { at: [0, 1], .. })));
    let compiled = rules(Verdict::Deny).compile().expect("no contradiction");
    let Decision::ByPort(ranges) = &compiled.prefixes[0].decision else { panic!("{compiled:?}") };
    assert_eq!(ranges[1].ports, PortSpan { first: 80, last: 94 });
}

#[test]
fn the_same_rule_twice_is_no_contradiction() {
    let compiled = written(&[(Verdict::Deny, "10.0.0.0/8"), (Verdict::Deny, "10.0.0.0/8")]).compile();
    assert_eq!(compiled.expect("no contradiction").prefixes.len(), 1);
}

#[test]
fn too_many_port_ranges_name_the_prefix_and_the_limit() {
    let every_other: Vec<Rule> = (0..20)
        .map(|step| Rule {
            verdict: Verdict::Deny,
            target: Target {
                net: "10.0.0.0/8".parse().expect("a net"),
                ports: PortSpan::one(100 + 2 * step),
            },
        })
        .collect();
    let rules = Rules { default: Verdict::Proxy, list: every_other };
    let error = rules.compile().expect_err("20 separate ports");
    assert!(
        matches!(error, PolicyError::TooManyPortRanges { count: 41, limit: PORT_RANGES, at: 0, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("10.0.0.0/8: expected at most 16, found 41"), "{error}");
}

#[test]
fn more_prefixes_than_the_kernel_holds_are_refused() {
    let rules = hosts(RULES_CAPACITY + 1);
    let error = rules.compile().expect_err("too many");
    assert_eq!(error, PolicyError::TooManyPrefixes { count: RULES_CAPACITY + 1, limit: RULES_CAPACITY });
}

#[test]
fn more_port_tables_than_the_kernel_holds_are_refused() {
    let mut rules = hosts(PORT_TABLES_CAPACITY + 1);
    for (port, rule) in (1..).zip(&mut rules.list) {
        rule.target.ports = PortSpan::one(port);
    }
    let error = rules.compile().expect_err("too many");
    let count = PORT_TABLES_CAPACITY + 1;
    assert_eq!(error, PolicyError::TooManyPortTables { count, limit: PORT_TABLES_CAPACITY });
}

#[test]
fn a_hundred_thousand_prefixes_compile_in_no_time() {
    // Nested eight deep and half of them with ports, so that the ancestors matter.
    let list: Vec<Rule> = (0..100_000_u32)
        .map(|number| {
            let address = Ipv4Addr::from_bits((number / 8) << 8);
            let length = 24 + (number % 8) as u8;
            let ports = if number % 2 == 0 { PortSpan::ALL } else { PortSpan { first: 80, last: 90 } };
            let net = IpNet::V4(Ipv4Net::new(address, length).expect("a net"));
            let verdict = Verdict::ALL[(number % 3) as usize];
            Rule { verdict, target: Target { net, ports } }
        })
        .collect();
    let rules = Rules { default: Verdict::Proxy, list };
    let began = Instant::now();
    let compiled = rules.compile().expect("it fits");
    let took = began.elapsed();
    assert_eq!(compiled.prefixes.len(), 100_000);
    // Well under a second when optimised; the bound tells O(n log n) from O(n²) even on a slow and busy machine.
    assert!(took < Duration::from_secs(10), "took {took:?}");
}

#[test]
fn a_hundred_thousand_rules_for_one_prefix_compile_in_no_time() {
    let net: IpNet = "10.0.0.0/8".parse().expect("a net");
    let list = (0..100_000_u32)
        .map(|number| Rule {
            verdict: Verdict::Deny,
            target: Target { net, ports: PortSpan::one(number as u16) },
        })
        .collect();
    let rules = Rules { default: Verdict::Proxy, list };
    let began = Instant::now();
    let compiled = rules.compile().expect("it fits");
    assert!(began.elapsed() < Duration::from_secs(10), "took {:?}", began.elapsed());
    assert_eq!(compiled.prefixes[0].decision, Decision::AllPorts(Verdict::Deny, Reason::Rule));
}

/// Rules for so many single addresses.
fn hosts(count: usize) -> Rules {
    let rule = |number: usize| Rule {
        verdict: Verdict::Deny,
        target: Target {
            net: IpNet::from(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number as u32))),
            ports: PortSpan::ALL,
        },
    };
    Rules { default: Verdict::Proxy, list: (0..count).map(rule).collect() }
}
