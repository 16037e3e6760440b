//! The texts that plans become.

use super::*;
use crate::netfilter::{InboundPlan, TunnelPlan};
use crate::policy::{DenyWith, Rule, Rules};

fn rules(default: Verdict, list: &[(Verdict, &str)]) -> Rules {
    let rule = |&(verdict, text): &(Verdict, &str)| Rule { verdict, target: text.parse().expect("a target") };
    Rules { default, list: list.iter().map(rule).collect() }
}

fn plan(rules: &Rules, scope: Scope) -> Plan {
    Plan {
        outbound_port: 15001,
        outbound6_port: Some(15002),
        inbound: None,
        rules: rules.compile().expect("good rules"),
        scope,
        own_addresses: Vec::new(),
        deny_with: DenyWith::Refused,
    }
}

fn everything() -> Plan {
    let rules = rules(
        Verdict::Proxy,
        &[
            (Verdict::Deny, "10.0.0.0/8:5432"),
            (Verdict::Direct, "10.1.0.0/16"),
            (Verdict::Deny, "fd00::/8"),
            (Verdict::Direct, "[fd00::1]:80-90"),
        ],
    );
    let own = ["10.244.0.7", "127.0.0.1", "fd10::7", "::1"];
    Plan {
        inbound: Some(InboundPlan {
            port: 15006,
            port6: Some(15007),
            ports: vec![PortSpan { first: 1, last: 15020 }, PortSpan::one(16000)],
            tunnel: None,
        }),
        own_addresses: own.iter().map(|text| text.parse().expect("an address")).collect(),
        ..plan(&rules, Scope::Cgroup("/pods/web".to_owned()))
    }
}

#[test]
fn rules_are_written_most_specific_first() {
    assert_eq!(
        install(&everything(), Family::V4),
        r#"*filter
:SIDESTEP_DENY - [0:0]
-A SIDESTEP_DENY -p tcp -o lo -j RETURN
-A SIDESTEP_DENY -p tcp -d 127.0.0.0/8 -j RETURN
-A SIDESTEP_DENY -p tcp -d 10.244.0.7 -j RETURN
-A SIDESTEP_DENY -p tcp -m cgroup ! --path "pods/web" -j RETURN
-A SIDESTEP_DENY -p tcp -d 10.1.0.0/16 -j RETURN
-A SIDESTEP_DENY -p tcp -d 10.0.0.0/8 --dport 0:5431 -j RETURN
-A SIDESTEP_DENY -p tcp -d 10.0.0.0/8 --dport 5432 -j REJECT --reject-with tcp-reset
-A SIDESTEP_DENY -p tcp -d 10.0.0.0/8 --dport 5433:65535 -j RETURN
-A SIDESTEP_DENY -p tcp -j RETURN
:SIDESTEP_REFUSE - [0:0]
-I OUTPUT 1 -p tcp --syn -j SIDESTEP_DENY
-I INPUT 1 -p tcp --syn -j SIDESTEP_REFUSE
COMMIT
*nat
:SIDESTEP_OUT - [0:0]
-A SIDESTEP_OUT -p tcp -o lo -j RETURN
-A SIDESTEP_OUT -p tcp -d 127.0.0.0/8 -j RETURN
-A SIDESTEP_OUT -p tcp -d 10.244.0.7 -j RETURN
-A SIDESTEP_OUT -p tcp -m cgroup ! --path "pods/web" -j RETURN
-A SIDESTEP_OUT -p tcp -d 10.1.0.0/16 -j RETURN
-A SIDESTEP_OUT -p tcp -d 10.0.0.0/8 --dport 0:5431 -j REDIRECT --to-ports 15001
-A SIDESTEP_OUT -p tcp -d 10.0.0.0/8 --dport 5432 -j RETURN
-A SIDESTEP_OUT -p tcp -d 10.0.0.0/8 --dport 5433:65535 -j REDIRECT --to-ports 15001
-A SIDESTEP_OUT -p tcp -j REDIRECT --to-ports 15001
:SIDESTEP_IN - [0:0]
-A SIDESTEP_IN -p tcp -i lo -j RETURN
-A SIDESTEP_IN -p tcp --dport 1:15020 -j REDIRECT --to-ports 15006
-A SIDESTEP_IN -p tcp --dport 16000 -j REDIRECT --to-ports 15006
-I OUTPUT 1 -p tcp -j SIDESTEP_OUT
-I PREROUTING 1 -p tcp -m addrtype --dst-type LOCAL -j SIDESTEP_IN
COMMIT
"#
    );
}

#[test]
fn ipv6_has_its_own_rules_ports_and_link_local_pass() {
    let text = install(&everything(), Family::V6);
    for line in [
        "-A SIDESTEP_DENY -p tcp -d fe80::/10 -j RETURN",
        "-A SIDESTEP_DENY -p tcp -d fd10::7 -j RETURN",
        "-A SIDESTEP_DENY -p tcp -d fd00::1/128 --dport 80:90 -j RETURN",
        "-A SIDESTEP_DENY -p tcp -d fd00::/8 -j REJECT --reject-with tcp-reset",
        "-A SIDESTEP_OUT -p tcp -j REDIRECT --to-ports 15002",
        "-A SIDESTEP_IN -p tcp --dport 16000 -j REDIRECT --to-ports 15007",
    ] {
        assert!(text.lines().any(|written| written == line), "{line}\nnot in\n{text}");
    }
    assert!(!text.contains("10."), "{text}");
}

#[test]
fn without_an_ipv6_listener_what_would_be_captured_is_refused() {
    let mut plan = everything();
    plan.outbound6_port = None;
    if let Some(inbound) = &mut plan.inbound {
        inbound.port6 = None;
    }
    let text = install(&plan, Family::V6);
    assert!(!text.contains("REDIRECT"), "{text}");
    for line in [
        "-A SIDESTEP_DENY -p tcp -j REJECT --reject-with tcp-reset",
        "-A SIDESTEP_REFUSE -p tcp --dport 1:15020 -j REJECT --reject-with tcp-reset",
    ] {
        assert!(text.lines().any(|written| written == line), "{line}\nnot in\n{text}");
    }
}

#[test]
fn the_tunnels_port_goes_to_its_own_listener_whatever_ports_are_captured() {
    for ports in [vec![], vec![PortSpan::ALL]] {
        let captured = !ports.is_empty();
        let mut plan = everything();
        let tunnel = Some(TunnelPlan { port: 40_008, port6: None });
        plan.inbound = Some(InboundPlan { port: 15006, port6: None, ports, tunnel });
        let text = install(&plan, Family::V4);
        let rules: Vec<&str> = text.lines().filter(|line| line.starts_with("-A SIDESTEP_IN ")).collect();
        assert_eq!(rules[1], "-A SIDESTEP_IN -p tcp --dport 15008 -j REDIRECT --to-ports 40008", "{text}");
        assert_eq!(rules.len(), if captured { 3 } else { 2 }, "{text}");
        let text = install(&plan, Family::V6);
        let refused = "-A SIDESTEP_REFUSE -p tcp --dport 15008 -j REJECT --reject-with tcp-reset";
        assert!(text.lines().any(|line| line == refused), "{text}");
    }
}

#[test]
fn chains_that_only_let_pass_are_empty() {
    let text = install(&plan(&Rules::only(Verdict::Direct), Scope::Cgroup("a".to_owned())), Family::V4);
    assert!(!text.contains("-A SIDESTEP"), "{text}");
}

#[test]
fn the_instance_is_exempt_by_cgroup_or_by_mark() {
    let line = |exempt| {
        let text = install(&plan(&Rules::only(Verdict::Proxy), Scope::Namespace { exempt }), Family::V4);
        let exempting = text.lines().find(|line| line.contains("-m ") && line.starts_with("-A SIDESTEP_OUT"));
        exempting.map(str::to_owned).expect("a rule")
    };
    let cgroup = Exempt::Cgroup("pods/web/proxy".to_owned());
    assert_eq!(line(cgroup), "-A SIDESTEP_OUT -p tcp -m cgroup --path \"pods/web/proxy\" -j RETURN");
    assert_eq!(line(Exempt::Mark(0x1539)), "-A SIDESTEP_OUT -p tcp -m mark --mark 0x1539 -j RETURN");
}

#[test]
fn a_cgroup_path_cannot_become_another_rule() {
    let check = |path: &str| check(&plan(&Rules::only(Verdict::Proxy), Scope::Cgroup(path.to_owned())));
    assert!(check("/pods/web 1").is_ok());
    for path in ["", "/", "a\" -j ACCEPT", "a\nCOMMIT", "a\\", &"x".repeat(512)] {
        assert!(matches!(check(path), Err(NetfilterError::CgroupPath { .. })), "{path:?}");
    }
}

const SAVED: &str = "# Generated by iptables-save
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:SIDESTEP_OUT - [0:0]
:OTHERS - [0:0]
-A PREROUTING -p tcp -j OTHERS
-A OUTPUT -p tcp -j SIDESTEP_OUT
-A OUTPUT -p tcp -j OTHERS
-A OUTPUT -p tcp -j SIDESTEP_OUT
-A SIDESTEP_OUT -p tcp -j REDIRECT --to-ports 15001
COMMIT
*filter
:OUTPUT ACCEPT [0:0]
:SIDESTEP_DENY - [0:0]
:SIDESTEP_NEXT - [0:0]
-A OUTPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j SIDESTEP_DENY
COMMIT
";

#[test]
fn removal_removes_all_that_is_ours_and_nothing_else() {
    assert_eq!(
        removal(SAVED),
        "*nat
-D OUTPUT -p tcp -j SIDESTEP_OUT
-D OUTPUT -p tcp -j SIDESTEP_OUT
-F SIDESTEP_OUT
-X SIDESTEP_OUT
COMMIT
*filter
-D OUTPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j SIDESTEP_DENY
-F SIDESTEP_DENY
-F SIDESTEP_NEXT
-X SIDESTEP_DENY
-X SIDESTEP_NEXT
COMMIT
"
    );
    assert_eq!(removal("*nat\n:OUTPUT ACCEPT [0:0]\n:OTHERS - [0:0]\nCOMMIT\n"), "");
    assert_eq!(removal(""), "");
}

#[test]
fn a_change_denies_what_either_plan_denies_until_it_is_done() {
    let plan = plan(&rules(Verdict::Proxy, &[(Verdict::Deny, "10.0.0.0/8")]), Scope::Cgroup("a".to_owned()));
    let [first, second, third] = update(&plan, Family::V4, SAVED);
    assert!(first.starts_with("*filter\n:SIDESTEP_NEXT - [0:0]\n-A SIDESTEP_NEXT "), "{first}");
    assert!(first.ends_with("-I OUTPUT 1 -p tcp --syn -j SIDESTEP_NEXT\nCOMMIT\n"), "{first}");
    assert!(second.starts_with("*nat\n:SIDESTEP_OUT"), "{second}");
    assert!(third.starts_with("*filter\n:SIDESTEP_DENY - [0:0]\n-A SIDESTEP_DENY "), "{third}");
    assert!(
        third.ends_with(
            "-D OUTPUT -p tcp --syn -j SIDESTEP_NEXT\n-F SIDESTEP_NEXT\n-X SIDESTEP_NEXT\nCOMMIT\n"
        ),
        "{third}"
    );
}

#[test]
fn what_cannot_be_had_is_said() {
    let mut plan = plan(&Rules::only(Verdict::Proxy), Scope::Cgroup("a".to_owned()));
    assert!(plan.limitations().is_empty());
    plan.deny_with = DenyWith::NotPermitted;
    plan.scope = Scope::Namespace { exempt: Exempt::Mark(1) };
    assert_eq!(plan.limitations().len(), 2);
    let denying = rules(Verdict::Proxy, &[(Verdict::Deny, "10.0.0.0/8:53")]);
    plan.rules = denying.compile().expect("rules that fit together");
    assert_eq!(plan.limitations().len(), 3);
}
