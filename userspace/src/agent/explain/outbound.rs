//! The workload connects to somebody.

use std::cmp::Reverse;
use std::net::SocketAddr;

use anyhow::{Context, Result};

use super::answer::Answer;
use super::inbound::source;
use crate::config::{Config, Looking, Unknown};
use crate::model::{Destination, Direction, OriginalDst, Reach, Reason, Tier, Verdict, Workload};
use crate::policy::Rule;

/// What becomes of a connection.
///
/// # Errors
/// The rules do not fit together, which those of a valid configuration do.
pub(super) fn explain(config: &Config, destination: SocketAddr) -> Result<Answer> {
    let mut answer = Answer::new(Direction::Outbound, "the workload".to_owned(), destination.to_string());
    let own = config.identity.as_ref().and_then(|settings| settings.id.as_ref());
    answer.source_identity = own.map(ToString::to_string);
    answer.certificate = config.identity.as_ref().map(|settings| source(&settings.source));
    let ip = destination.ip().to_canonical();
    let hook = if destination.is_ipv4() { "connect4" } else { "connect6" };
    if ip.is_loopback() {
        answer.step(hook, "loopback is the workload's own: rules are not asked");
        return Ok(answer.passed(Verdict::Direct, Reason::Loopback, Tier::Direct));
    }
    if matches!(ip, std::net::IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        answer.step(hook, "a link-local destination passes: its zone cannot be handed on");
        return Ok(answer.passed(Verdict::Direct, Reason::LinkLocal, Tier::Direct));
    }
    let (verdict, reason) =
        config.outbound.rules.compile().context("compile outbound.rules")?.decide(destination);
    let by = match rule(config, destination) {
        Some(Rule { verdict, target }) => {
            format!("outbound.rules: {} {target} is the most specific that matches", verdict.word())
        }
        None => format!("no rule matches, and outbound.default is {}", config.outbound.rules.default.word()),
    };
    answer.step(hook, by);
    match verdict {
        Verdict::Deny => {
            let answered = match config.outbound.deny_with {
                crate::policy::DenyWith::Refused => "ECONNREFUSED",
                crate::policy::DenyWith::NotPermitted => "EPERM",
            };
            return Ok(answer.denied(reason, answered));
        }
        Verdict::Direct => return Ok(answer.passed(verdict, reason, Tier::Direct)),
        Verdict::Proxy => {}
    }
    Ok(proxied(config, destination, reason, answer))
}

/// What the instance makes of it.
fn proxied(config: &Config, destination: SocketAddr, reason: Reason, mut answer: Answer) -> Answer {
    const PROXY: &str = "proxy";
    let resolved = config
        .directory
        .resolve(OriginalDst(SocketAddr::new(destination.ip().to_canonical(), destination.port())));
    let tunnelled = |workload: &Workload| workload.reach == Reach::Tunnel && config.identity.is_some();
    let tunnel = match resolved {
        Destination::Workload(workload) => {
            answer.destination_identity = Some(workload.identity.to_string());
            let how = if tunnelled(workload) { "through the tunnel" } else { "as it is" };
            let named = format!("{}/{}", workload.identity.namespace(), workload.name);
            answer.step(PROXY, format!("the workload {named} has this address: reached {how}"));
            tunnelled(workload)
        }
        Destination::Service { service, port } => {
            let endpoints = &service.endpoints;
            if endpoints.is_empty() {
                answer.step(PROXY, format!("the service {} has no endpoint", service.hostname));
                return answer.denied(Reason::NoEndpoint, "reset");
            }
            let list: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
            answer.step(
                PROXY,
                format!(
                    "the service {}: port {} of one of {}",
                    service.hostname,
                    port.target_port,
                    list.join(", ")
                ),
            );
            let known = |address| config.directory.workload(address);
            endpoints.iter().all(|&address| known(address).is_some_and(|workload| tunnelled(workload)))
        }
        Destination::NoSuchPort(service) => {
            answer.step(PROXY, format!("the service {} has no such port", service.hostname));
            return answer.denied(Reason::NoEndpoint, "reset");
        }
        Destination::Unknown if config.outbound.unknown == Unknown::Refuse => {
            answer.step(
                PROXY,
                "neither workloads nor services have this address, and outbound.unknown is refuse",
            );
            return answer.denied(Reason::UnknownDestination, "reset");
        }
        Destination::Unknown => {
            answer.step(PROXY, "neither workloads nor services have this address: relayed to it as it is");
            false
        }
    };
    let looked = config.http.as_ref().is_some_and(|http| {
        http.outbound != Looking::Off && !http.opaque_ports.contains(&destination.port())
    });
    if looked {
        answer.step(PROXY, "connections are looked at: one of HTTP moves request by request (tier http)");
    }
    let tier = if tunnel { Tier::Tunnel } else { Tier::Relay };
    answer.passed(Verdict::Proxy, reason, tier)
}

/// The rule that wins, as [`crate::policy`] says which one does.
fn rule(config: &Config, destination: SocketAddr) -> Option<Rule> {
    let ip = destination.ip().to_canonical();
    let matching =
        config.outbound.rules.list.iter().map(|rule| Rule { target: rule.target.canonical(), ..*rule });
    let matching = matching
        .filter(|Rule { target, .. }| target.net.contains(&ip) && target.ports.contains(destination.port()));
    matching.max_by_key(|Rule { target, .. }| {
        (target.net.prefix_len(), Reverse(target.ports.last - target.ports.first))
    })
}
