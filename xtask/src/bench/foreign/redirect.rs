//! Capture for a foreign proxy by iptables, as istio-iptables does it: a chain in the nat table that spares the proxy's
//! own user and redirects the rest.

use std::fs;

use anyhow::{Context, Result};

use super::{PORT, USER, installed};
use crate::bench::mode::Proxy;
use crate::lab::{Lab, Pod};
use crate::process::capture;

/// Puts the rules into the pod's network namespace; they go with it.
pub(crate) fn install(lab: &Lab, pod: &Pod, proxy: Proxy) -> Result<()> {
    let restore = installed("iptables-restore")?;
    let file = lab.file(&format!("{}.rules", pod.name()));
    fs::write(&file, rules(proxy)).with_context(|| format!("write {}", file.display()))?;
    capture(pod.app(restore).arg(&file)).map(drop)
}

/// How many connections the rules in the pod's network namespace have redirected so far.
pub(crate) fn count(pod: &Pod) -> Result<u64> {
    capture(pod.app("iptables-save").args(["-c", "-t", "nat"])).map(|rules| redirects(&rules))
}

/// Rules for iptables-restore(8). Without a port of its own in the rule, a redirected connection keeps that of the
/// server: what a proxy needs that cannot ask for the original destination.
fn rules(proxy: Proxy) -> String {
    let to = match proxy {
        Proxy::Nginx => String::new(),
        _ => format!(" --to-ports {PORT}"),
    };
    format!(
        "*nat\n\
         :FOREIGN - [0:0]\n\
         -A OUTPUT -p tcp -d 10.78.0.0/24 -j FOREIGN\n\
         -A FOREIGN -m owner --uid-owner {USER} -j RETURN\n\
         -A FOREIGN -p tcp -j REDIRECT{to}\n\
         COMMIT\n"
    )
}

/// Adds up how many packets met a REDIRECT rule, from the output of `iptables-save -c`. Only the first packet of a
/// connection meets the nat table.
fn redirects(rules: &str) -> u64 {
    let counts = rules.lines().filter(|line| line.contains("-j REDIRECT")).filter_map(|line| {
        let (packets, _bytes) = line.strip_prefix('[')?.split_once(':')?;
        packets.parse::<u64>().ok()
    });
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_counted_by_connection() {
        let rules = "*nat\n:OUTPUT ACCEPT [1:60]\n[1:60] -A OUTPUT -p tcp -j SIDESTEP\n\
                     [40:2400] -A SIDESTEP -p tcp -j REDIRECT --to-ports 15001\n\
                     [2:120] -A SIDESTEP -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n";
        assert_eq!(redirects(rules), 42);
        assert_eq!(redirects(""), 0);
    }

    #[test]
    fn the_proxys_own_connections_are_spared_before_the_rest_is_redirected() {
        let text = rules(Proxy::EnvoyTcp);
        let spared = text.find("--uid-owner 1337 -j RETURN").unwrap();
        let redirected = text.find("-p tcp -j REDIRECT --to-ports 15001\n").unwrap();
        assert!(spared < redirected, "{text}");
    }

    #[test]
    fn a_proxy_that_knows_no_original_destination_is_reached_at_the_servers_port() {
        assert!(rules(Proxy::Nginx).contains("-p tcp -j REDIRECT\n"));
    }
}
