//! Proxies that are not ours, each in the place where our sidecar would be: in the sidecar's cgroup of the client's pod, and
//! where two proxies are in the way, of the server's pod too.
//!
//! Each is told what a competent operator would tell it, in a file of its own beside this one, and gets as little to do
//! as it can be given: one worker, and no logs but where requests are to be observed. How connections come to it is [`redirect`]'s business or our capture's.

mod envoy;
mod envoy_observed;
mod envoy_tls;
mod haproxy;
mod nginx;
pub(super) mod redirect;

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::mode::Proxy;
use crate::lab::{Lab, Pod, Program};
use crate::process::find_program;

pub(super) use self::envoy_tls::{Carries, End};

/// Where a proxy takes what is captured for it, unless it listens on the server's own ports: Envoy's in Istio.
pub(super) const PORT: u16 = 15001;
/// Whom proxies run as, which is how rules tell their connections from the app's: Envoy's user in Istio.
const USER: u32 = 1337;

/// A foreign proxy that listens.
#[derive(Debug)]
pub(super) struct Foreign {
    /// Ends it when dropped; its workers go with the pod's cgroup.
    _program: Program,
}

/// What a proxy has to reach.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destination<'a> {
    /// The server's addresses.
    pub(super) at: &'a [SocketAddr],
    /// Where spans go, by OTLP over gRPC.
    pub(super) collector: SocketAddr,
}

/// How a proxy is started, and where it will listen.
struct Plan {
    program: PathBuf,
    arguments: Vec<String>,
    ports: Vec<u16>,
}

impl Foreign {
    /// Starts a proxy that stands alone between client and server, in front of the server's addresses, and waits until
    /// it listens. None of a way that has none or is ours.
    pub(super) fn start(
        lab: &Lab,
        pod: &Pod,
        proxy: Proxy,
        server: &Destination<'_>,
    ) -> Result<Option<Self>> {
        let home = Home::of(lab, pod);
        let plan = match proxy {
            Proxy::None
            | Proxy::Ours
            | Proxy::OursHttp
            | Proxy::Tunnel
            | Proxy::HttpTunnel
            | Proxy::EnvoyTls
            | Proxy::EnvoyObservedTls => return Ok(None),
            Proxy::EnvoyTcp => envoy::plan(&home, envoy::TCP)?,
            Proxy::EnvoyHttp => envoy::plan(&home, envoy::HTTP)?,
            Proxy::EnvoyObserved => envoy_observed::plan(&home, server.collector)?,
            Proxy::Haproxy => haproxy::plan(&home, haproxy::TCP)?,
            Proxy::HaproxyHttp => haproxy::plan(&home, haproxy::HTTP)?,
            Proxy::Nginx => nginx::plan(&home, server.at)?,
        };
        Self::run(lab, pod, &home, &plan).map(Some)
    }

    /// Starts one of a pair of proxies with mutual TLS between them, and waits until it listens.
    pub(super) fn start_end(lab: &Lab, pod: &Pod, end: End<'_>, server: &Destination<'_>) -> Result<Self> {
        let home = Home::of(lab, pod);
        let plan = envoy_tls::plan(&home, end, server)?;
        Self::run(lab, pod, &home, &plan)
    }

    fn run(lab: &Lab, pod: &Pod, home: &Home, plan: &Plan) -> Result<Self> {
        let name = format!("the proxy of {}", pod.name());
        let mut program = Program::start(&name, unprivileged(pod, plan), home.path.with_extension("log"))?;
        lab.patience().until(&format!("{name} to listen on {:?}", plan.ports), || {
            program.check()?;
            Ok(listens(pod, &plan.ports)?.then_some(()))
        })?;
        Ok(Self { _program: program })
    }
}

/// A directory for one proxy's files.
struct Home {
    path: PathBuf,
}

impl Home {
    fn of(lab: &Lab, pod: &Pod) -> Self {
        Self { path: lab.file(&format!("{}.proxy", pod.name())) }
    }

    /// Writes the configuration, and gives the directory to the proxy.
    fn write(&self, name: &str, text: &str) -> Result<String> {
        let file = self.path.join(name);
        fs::create_dir_all(&self.path).with_context(|| format!("create {}", self.path.display()))?;
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        chown(&self.path, Some(USER), Some(USER))
            .with_context(|| format!("give {} to user {USER}", self.path.display()))?;
        Ok(file.display().to_string())
    }
}

/// The command that runs a proxy as its own user. It may read and search everything, because neither the binary nor
/// the configuration needs to lie where every user gets to.
fn unprivileged(pod: &Pod, plan: &Plan) -> Command {
    let mut command = pod.sidecar("setpriv");
    command
        .args([format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()])
        .args(["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"])
        .arg(&plan.program)
        .args(plan.arguments.iter().map(OsStr::new));
    command
}

/// A program that this machine should have.
fn installed(program: &str) -> Result<PathBuf> {
    find_program(program)
        .with_context(|| format!("{program} is not installed: `cargo xtask setup` installs it"))
}

/// Whether somebody in the pod listens on every one of these ports. Asked of the kernel and not by connecting, which a
/// proxy that goes by the original destination would take for a connection to itself.
fn listens(pod: &Pod, ports: &[u16]) -> Result<bool> {
    let file = "/proc/thread-self/net/tcp";
    let sockets = pod.inside(|| fs::read_to_string(file).with_context(|| format!("read {file}")))?;
    let heard = listening_ports(&sockets);
    Ok(ports.iter().all(|port| heard.contains(port)))
}

/// The ports of listening sockets in the text of /proc/net/tcp (proc_pid_net(5)).
fn listening_ports(sockets: &str) -> Vec<u16> {
    // TCP_LISTEN of net/tcp_states.h.
    const LISTEN: &str = "0A";
    let listening = sockets.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        let (_address, port) = local.split_once(':').filter(|_| state == LISTEN)?;
        u16::from_str_radix(port, 16).ok()
    });
    listening.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_told_from_connections() {
        let sockets = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
            0: 00000000:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 1\n   \
            1: 0100007F:1F90 0200007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 2\n";
        assert_eq!(listening_ports(sockets), [PORT]);
        assert!(listening_ports("").is_empty());
    }

    #[test]
    fn a_missing_proxy_is_said_with_what_to_do() {
        let error = installed("no-such-proxy").unwrap_err().to_string();
        assert_eq!(error, "no-such-proxy is not installed: `cargo xtask setup` installs it");
    }
}
