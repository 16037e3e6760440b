//! What the kernel refuses by itself is what is denied anyway.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;
use sidestep_abi::maps::RULES_CAPACITY;
use sidestep_abi::rules::PORT_RANGES;
use sidestep_abi::verdict::Verdict;

use super::any::{held, policies, spoken};
use crate::policy::{
    Action, Authorization, AuthorizationPolicy, AuthorizationRule, Condition, Decision, Match, Operation,
    PlainTextDenials, Source,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_kernel_denies_is_denied_whatever_is_said(
        policies in policies(),
        calls in prop::collection::vec(spoken(), 16),
    ) {
        let held = held(&policies);
        let table = held.plain_text_denials(&[81]).table;
        for mut call in calls {
            call.source = None;
            let caller = SocketAddr::new(call.client, call.destination.port());
            if table.decide(caller).0 == Verdict::Deny {
                prop_assert!(caller.port() != 81);
                prop_assert!(!held.decide(&call.call()).ruling.is_allowed(), "{:?}\n{:?}", call, table);
            }
        }
    }

    #[test]
    fn what_depends_on_address_and_port_alone_is_denied_by_the_kernel_alone(
        mut policies in policies(),
        calls in prop::collection::vec(spoken(), 16),
    ) {
        for rule in policies.iter_mut().flat_map(|policy| &mut policy.rules) {
            rule.to.retain(|operation| {
                operation.hosts.is_empty() && operation.methods.is_empty() && operation.paths.is_empty()
            });
            rule.when.retain(|condition| !matches!(condition, Condition::DestinationIp(_) | Condition::Header(..)));
        }
        let held = held(&policies);
        let denials = held.plain_text_denials(&[]);
        prop_assert_eq!(denials.too_many, None);
        let coarse = |decision: &Decision| matches!(decision, Decision::ByPort(ranges) if ranges.len() > 12);
        prop_assert!(!denials.table.prefixes.iter().any(|prefix| coarse(&prefix.decision)));
        for mut call in calls {
            call.source = None;
            let caller = SocketAddr::new(call.client, call.destination.port());
            let denied = denials.table.decide(caller).0 == Verdict::Deny;
            prop_assert_eq!(denied, !held.decide(&call.call()).ruling.is_allowed(), "{:?}", call);
        }
    }
}

/// Policies that deny callers of these networks, on these ports.
fn denying(count: u32, net: impl Fn(u32) -> Source, ports: impl Fn(u32) -> Vec<u16>) -> Authorization {
    let policy = |number| {
        let ports = Match { any: ports(number), none: Vec::new() };
        let to = vec![Operation { ports, ..Operation::default() }];
        let rules = vec![AuthorizationRule { from: vec![net(number)], to, when: Vec::new() }];
        let (namespace, name) = ("a".to_owned(), number.to_string());
        AuthorizationPolicy {
            namespace,
            name,
            selector: [].into(),
            action: Action::Deny,
            rules,
            dry_run: false,
        }
    };
    held(&(0..count).map(policy).collect::<Vec<_>>())
}

fn host(number: u32) -> IpNet {
    IpNet::V4(Ipv4Net::from(Ipv4Addr::from_bits(0x0a00_0000 + number)))
}

fn one(net: IpNet) -> Source {
    Source { ip_blocks: Match { any: vec![net], none: Vec::new() }, ..Source::default() }
}

fn verdict(denials: &PlainTextDenials, caller: &str) -> Verdict {
    denials.table.decide(caller.parse().expect("an address")).0
}

#[test]
fn ten_thousand_networks_take_no_time() {
    let held = denying(10_000, |number| one(host(number)), |number| vec![80 + (number % 7) as u16]);
    let began = Instant::now();
    let denials = held.plain_text_denials(&[]);
    // A few milliseconds when optimised; the bound tells what grows with the square even on a slow and busy machine.
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    assert_eq!((denials.table.prefixes.len(), denials.too_many), (10_000, None));
    assert_eq!(verdict(&denials, "10.0.0.8:81"), Verdict::Deny);
    assert_eq!(verdict(&denials, "10.0.0.8:82"), Verdict::Proxy);
}

#[test]
fn more_prefixes_than_the_kernel_holds_are_left_to_the_proxy() {
    let count = RULES_CAPACITY as u32 + 1;
    let nets = Match { any: (0..count).map(|number| host(2 * number)).collect(), none: Vec::new() };
    let held = denying(1, |_| Source { ip_blocks: nets.clone(), ..Source::default() }, |_| Vec::new());
    let denials = held.plain_text_denials(&[]);
    assert_eq!(denials.too_many, Some(RULES_CAPACITY + 1));
    assert!(denials.table.prefixes.is_empty());
}

#[test]
fn more_port_ranges_than_a_table_holds_are_left_to_the_proxy_and_leak_nothing() {
    let every_other = |first: u16| (0..20).map(|step| first + 2 * step).collect::<Vec<u16>>();
    let nets: [IpNet; 2] = ["10.0.0.0/8".parse().expect("a net"), "10.1.0.0/16".parse().expect("a net")];
    // All of the wider network is denied on one port, and the narrower one is excepted from that.
    let except = |number: u32| match number {
        0 => one(nets[1]),
        _ => Source { ip_blocks: Match { any: vec![nets[0]], none: vec![nets[1]] }, ..Source::default() },
    };
    let held = denying(2, except, |number| if number == 0 { every_other(100) } else { vec![443] });
    let denials = held.plain_text_denials(&[]);
    for prefix in &denials.table.prefixes {
        let Decision::ByPort(ranges) = &prefix.decision else { continue };
        assert!((2..=PORT_RANGES).contains(&ranges.len()), "{prefix:?}");
    }
    assert_eq!(verdict(&denials, "10.2.0.1:443"), Verdict::Deny);
    assert_eq!(verdict(&denials, "10.1.0.1:443"), Verdict::Proxy);
    let denied =
        (0..20).filter(|step| verdict(&denials, &format!("10.1.0.1:{}", 100 + 2 * step)) == Verdict::Deny);
    assert_eq!(denied.count(), (PORT_RANGES - 1) / 2);
}

#[test]
fn without_addresses_one_entry_says_it_for_each_family() {
    let policy = |action, rules| AuthorizationPolicy {
        namespace: "a".to_owned(),
        name: "all".to_owned(),
        selector: [].into(),
        action,
        rules,
        dry_run: false,
    };
    let nothing = held(&[policy(Action::Allow, Vec::new())]).plain_text_denials(&[8080]);
    assert_eq!(nothing.table.prefixes.len(), 2);
    for (caller, expected) in [
        ("192.0.2.1:80", Verdict::Deny),
        ("[2001:db8::1]:80", Verdict::Deny),
        ("192.0.2.1:8080", Verdict::Proxy),
        ("[2001:db8::1]:8080", Verdict::Proxy),
    ] {
        assert_eq!(verdict(&nothing, caller), expected, "{caller}");
    }
    let tried =
        AuthorizationPolicy { dry_run: true, ..policy(Action::Deny, vec![AuthorizationRule::default()]) };
    assert!(held(&[tried]).plain_text_denials(&[]).table.prefixes.is_empty());
}
