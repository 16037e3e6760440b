//! Plans as text for `iptables-restore`. Pure: runs nothing and looks at nothing.

use std::cmp::Reverse;

use sidestep_abi::verdict::Verdict;

use super::family::Family;
use super::{Exempt, NetfilterError, Plan, Scope};
use crate::model::TUNNEL_PORT;
use crate::policy::{CompiledPrefix, Decision, PortSpan};

/// Captures outbound connections; in nat.
const OUT: &str = "SIDESTEP_OUT";
/// Captures inbound connections; in nat.
const IN: &str = "SIDESTEP_IN";
/// Refuses outbound connections; in filter.
const DENY: &str = "SIDESTEP_DENY";
/// What [`DENY`] is about to become, while rules change; in filter.
const NEXT: &str = "SIDESTEP_NEXT";
/// Refuses inbound connections that cannot be captured; in filter.
const REFUSE: &str = "SIDESTEP_REFUSE";

/// Every chain of ours.
const CHAINS: [&str; 5] = [OUT, IN, DENY, NEXT, REFUSE];

/// The jumps into our chains, in front of all others', which could decide first. In filter only the beginning of a
/// connection is of interest: what stands stays, and the answers to inbound connections leave by the same hook.
const NAT_JUMPS: &str = "-I OUTPUT 1 -p tcp -j SIDESTEP_OUT
-I PREROUTING 1 -p tcp -m addrtype --dst-type LOCAL -j SIDESTEP_IN
";
const FILTER_JUMPS: &str = "-I OUTPUT 1 -p tcp --syn -j SIDESTEP_DENY
-I INPUT 1 -p tcp --syn -j SIDESTEP_REFUSE
";
const NEXT_JUMP: &str = "-I OUTPUT 1 -p tcp --syn -j SIDESTEP_NEXT\n";

/// Longest path that the kernel takes (`struct xt_cgroup_info_v2`), less the zero at its end.
const CGROUP_PATH_LIMIT: usize = 511;

/// Refuses what could not be told from other words of a rule.
pub(super) fn check(plan: &Plan) -> Result<(), NetfilterError> {
    let (Scope::Cgroup(path) | Scope::Namespace { exempt: Exempt::Cgroup(path) }) = &plan.scope else {
        return Ok(());
    };
    let bad = |character: char| character.is_control() || matches!(character, '"' | '\\');
    if path.trim_matches('/').is_empty() || path.len() > CGROUP_PATH_LIMIT || path.contains(bad) {
        return Err(NetfilterError::CgroupPath { path: path.clone(), limit: CGROUP_PATH_LIMIT });
    }
    Ok(())
}

/// Puts everything. What denies comes first, so that nothing slips past in between.
pub(super) fn install(plan: &Plan, family: Family) -> String {
    format!(
        "*filter\n{}{}{FILTER_JUMPS}COMMIT\n*nat\n{}{NAT_JUMPS}COMMIT\n",
        deny_chain(DENY, plan, family),
        refuse_chain(plan, family),
        nat_chains(plan, family),
    )
}

/// Replaces the rules of another plan, in steps that are atomic each: what either plan denies is denied until nat and
/// filter agree on the new one. `saved` is what is there.
pub(super) fn update(plan: &Plan, family: Family, saved: &str) -> [String; 3] {
    // A step of an earlier change may have failed.
    let next_jumps = jumps_into(saved, &[NEXT]).concat();
    let removed =
        jumps_into(saved, &[NEXT]).iter().map(|jump| jump.replacen("-A", "-D", 1)).collect::<String>();
    let jump = if next_jumps.is_empty() { NEXT_JUMP } else { "" };
    let unjump =
        if next_jumps.is_empty() { NEXT_JUMP.replacen("-I OUTPUT 1", "-D OUTPUT", 1) } else { removed };
    [
        format!("*filter\n{}{jump}COMMIT\n", deny_chain(NEXT, plan, family)),
        format!("*nat\n{}COMMIT\n", nat_chains(plan, family)),
        format!(
            "*filter\n{}{}{unjump}-F {NEXT}\n-X {NEXT}\nCOMMIT\n",
            deny_chain(DENY, plan, family),
            refuse_chain(plan, family)
        ),
    ]
}

/// Removes whatever of ours is in `saved`, the output of `iptables-save`; empty if there is nothing.
pub(super) fn removal(saved: &str) -> String {
    let mut text = String::new();
    for table in ["nat", "filter"] {
        let header = format!("*{table}");
        let lines = saved.lines().skip_while(|line| **line != header).take_while(|line| *line != "COMMIT");
        let content: String = lines.map(|line| format!("{line}\n")).collect();
        let chains: Vec<&str> =
            CHAINS.into_iter().filter(|chain| content.contains(&format!("\n:{chain} "))).collect();
        if chains.is_empty() {
            continue;
        }
        text.push_str(&header);
        text.push('\n');
        for jump in jumps_into(&content, &chains) {
            text.push_str(&jump.replacen("-A", "-D", 1));
        }
        for verb in ["-F", "-X"] {
            for chain in &chains {
                text.push_str(&format!("{verb} {chain}\n"));
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// The rules, a line each, that lead into one of these chains.
fn jumps_into(saved: &str, chains: &[&str]) -> Vec<String> {
    let leads = |line: &&str| {
        line.starts_with("-A ") && chains.iter().any(|chain| line.ends_with(&format!(" -j {chain}")))
    };
    saved.lines().filter(leads).map(|line| format!("{line}\n")).collect()
}

/// What a rule does in the end.
enum Action {
    /// Leaves the connection to the rest of the tables.
    Pass,
    /// Steers it to a port.
    Redirect(u16),
    /// Answers with a reset.
    Reset,
}

/// A chain under construction.
struct Chain {
    name: &'static str,
    text: String,
    /// Whether no rule does more than let pass.
    idle: bool,
}

impl Chain {
    fn new(name: &'static str) -> Self {
        Self { name, text: Self::declaration(name), idle: true }
    }

    /// Makes a chain, or empties the one that is there.
    fn declaration(name: &str) -> String {
        format!(":{name} - [0:0]\n")
    }

    /// Adds a rule: what it matches beyond TCP (with a space at its end unless empty), and what it does.
    fn rule(&mut self, matches: &str, action: &Action) {
        let target = match action {
            Action::Pass => "RETURN".to_owned(),
            Action::Redirect(port) => format!("REDIRECT --to-ports {port}"),
            Action::Reset => "REJECT --reject-with tcp-reset".to_owned(),
        };
        self.idle &= matches!(action, Action::Pass);
        self.text.push_str(&format!("-A {} -p tcp {matches}-j {target}\n", self.name));
    }

    /// The text; without rules if all of them only let pass.
    fn finish(self) -> String {
        if self.idle { Self::declaration(self.name) } else { self.text }
    }

    /// Lets pass what no verdict is asked for: what stays here, IPv6 link-local, and connections out of scope.
    fn pass_what_is_not_meant(&mut self, plan: &Plan, family: Family) {
        self.rule("-o lo ", &Action::Pass);
        // Connections that nat has redirected seem to leave by the device of their original destination.
        self.rule(&format!("-d {} ", family.loopback()), &Action::Pass);
        for ip in plan.own_addresses.iter().filter(|ip| family.has(**ip) && !ip.is_loopback()) {
            self.rule(&format!("-d {ip} "), &Action::Pass);
        }
        if family == Family::V6 {
            self.rule("-d fe80::/10 ", &Action::Pass);
        }
        let scope = match &plan.scope {
            Scope::Cgroup(path) => format!("-m cgroup ! --path \"{}\" ", path.trim_matches('/')),
            Scope::Namespace { exempt: Exempt::Cgroup(path) } => {
                format!("-m cgroup --path \"{}\" ", path.trim_matches('/'))
            }
            Scope::Namespace { exempt: Exempt::Mark(mark) } => format!("-m mark --mark {mark:#x} "),
        };
        self.rule(&scope, &Action::Pass);
    }

    /// Adds the verdicts, most specific first.
    fn verdicts(&mut self, plan: &Plan, family: Family, action: impl Fn(Verdict) -> Action) {
        let of_family = plan.rules.prefixes.iter().filter(|prefix| family.has(prefix.net.addr()));
        let mut prefixes: Vec<&CompiledPrefix> = of_family.collect();
        prefixes.sort_by_key(|prefix| Reverse(prefix.net.prefix_len()));
        for prefix in prefixes {
            match &prefix.decision {
                Decision::AllPorts(verdict, _) => {
                    self.rule(&format!("-d {} ", prefix.net), &action(*verdict));
                }
                Decision::ByPort(ranges) => {
                    for range in ranges {
                        let matches = format!("-d {} {}", prefix.net, ports(range.ports));
                        self.rule(&matches, &action(range.verdict));
                    }
                }
            }
        }
        self.rule("", &action(plan.rules.default));
    }
}

/// The match for destination ports.
fn ports(span: PortSpan) -> String {
    if span.first == span.last {
        format!("--dport {} ", span.first)
    } else {
        format!("--dport {}:{} ", span.first, span.last)
    }
}

/// Both chains of the nat table.
fn nat_chains(plan: &Plan, family: Family) -> String {
    let mut out = Chain::new(OUT);
    if let Some(port) = family.outbound_port(plan) {
        out.pass_what_is_not_meant(plan, family);
        out.verdicts(plan, family, |verdict| match verdict {
            Verdict::Proxy => Action::Redirect(port),
            // What is denied keeps its destination, by which the filter table knows it.
            Verdict::Direct | Verdict::Deny => Action::Pass,
        });
    }
    let mut inbound = Chain::new(IN);
    if let Some((wanted, port)) =
        plan.inbound.as_ref().and_then(|wanted| Some((wanted, family.inbound_port(wanted)?)))
    {
        inbound.rule("-i lo ", &Action::Pass);
        // In front of the captured ports, which may hold the tunnel's.
        if let Some(tunnel) = wanted.tunnel.as_ref().and_then(|tunnel| family.tunnel_port(tunnel)) {
            inbound.rule(&ports(PortSpan::one(TUNNEL_PORT)), &Action::Redirect(tunnel));
        }
        for span in &wanted.ports {
            inbound.rule(&ports(*span), &Action::Redirect(port));
        }
    }
    out.finish() + &inbound.finish()
}

/// The chain of the filter table that refuses outbound connections.
fn deny_chain(name: &'static str, plan: &Plan, family: Family) -> String {
    let mut chain = Chain::new(name);
    chain.pass_what_is_not_meant(plan, family);
    let captured = family.outbound_port(plan).is_some();
    chain.verdicts(plan, family, |verdict| match verdict {
        Verdict::Deny => Action::Reset,
        // Where there is no listener to capture it, it must not slip past.
        Verdict::Proxy if !captured => Action::Reset,
        Verdict::Proxy | Verdict::Direct => Action::Pass,
    });
    chain.finish()
}

/// The chain of the filter table that refuses inbound connections for which there is no listener.
fn refuse_chain(plan: &Plan, family: Family) -> String {
    let mut chain = Chain::new(REFUSE);
    if let Some(wanted) = plan.inbound.as_ref().filter(|wanted| family.inbound_port(wanted).is_none()) {
        chain.rule("-i lo ", &Action::Pass);
        if wanted.tunnel.is_some_and(|tunnel| family.tunnel_port(&tunnel).is_none()) {
            chain.rule(&ports(PortSpan::one(TUNNEL_PORT)), &Action::Reset);
        }
        for span in &wanted.ports {
            chain.rule(&ports(*span), &Action::Reset);
        }
    }
    chain.finish()
}

#[cfg(test)]
mod tests;
