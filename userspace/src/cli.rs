//! The command line: what can be asked for, and how flags and file together become a plan.
//!
//! Arguments as they are typed ("low") become what the agent works with ("high") by pure functions. Runs nothing
//! and reads nothing.

mod ca;
mod capture;
mod certs;
mod choice;
mod cni;
mod explain;
mod inject;
mod maintain;
mod node;
mod operate;
mod overrides;
mod policy;
mod run;
mod sidecar;
mod webhook;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub use ca::{CaArgs, CaCommand, InitArgs, IssueArgs};
pub use capture::{CaptureArgs, ForeignProxy};
pub use certs::CertsArgs;
pub use cni::CniArgs;
pub use explain::{ConnectionsArgs, Destination, ExplainArgs, Header, RunningArgs, Who};
pub use inject::InjectArgs;
pub use maintain::{CheckArgs, CleanupArgs, Doing, Form};
pub use node::NodeArgs;
pub use operate::{ConfigArgs, LogArgs, Sort, StatusArgs, TopArgs};
pub use overrides::Overrides;

pub use policy::{LintArgs, PolicyArgs, PolicyCommand};
pub use run::{CommandLine, RunArgs};
pub use sidecar::SidecarArgs;
pub use webhook::WebhookArgs;

/// Exit status for a configuration that is not valid (`EX_CONFIG` of sysexits.h). Wrong usage exits with 2.
pub const EXIT_CONFIG: u8 = 78;

/// Steers a workload's sockets into its own proxy, with eBPF and without iptables.
#[derive(Debug, Parser)]
#[command(name = "sidestep", version, disable_help_subcommand = true, after_long_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// What to log on standard error: a level, or levels by module
    ///
    /// A level is one of error, warn, info, debug and trace. The default is info for what serves, and warn for `run` and for what
    /// prints an answer, so that it stays readable.
    #[arg(long, global = true, display_order = 900, value_name = "LEVEL", env = "SIDESTEP_LOG", hide_env_values = true, value_parser = log_filter)]
    log: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  sidestep run --access-log - -- curl -s http://example.com/
  sidestep run --deny 10.0.0.0/8:5432 --direct 169.254.169.254 -- ./server
  sidestep sidecar --config /etc/sidestep.yaml
  sidestep check

Exit status: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration; that of its command for `run`.";

/// Everything that can be asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command with its outbound connections captured
    ///
    /// The command runs in a fresh cgroup. TCP connections that it and its children make are steered into a proxy that
    /// lives as long as the command does. Loopback and the machine's own addresses pass. Nothing stays behind.
    Run(RunArgs),
    /// Serve the pod this runs in: capture outbound and inbound until SIGTERM
    ///
    /// Captures what the pod's containers connect to and what connects to them, in the pod's network namespace and on
    /// the pod's cgroup; the sidecar's own cgroup is exempt. Nothing is captured before the listeners stand. Needs
    /// root or its capabilities for BPF and networking, and the host's cgroup2 hierarchy mounted.
    Sidecar(SidecarArgs),
    /// Serve every enrolled pod of a Kubernetes node until SIGTERM
    ///
    /// Each pod has an instance of its own inside its network namespace, with its own identity and policies, which the API
    /// server says. Pods are enrolled by the label or annotation sidestep.io/mode, before their first packet where the CNI
    /// plugin is configured. Needs root's capabilities for BPF and networking, the host's pids and its cgroup2 hierarchy.
    Node(NodeArgs),
    /// Only steer, for a proxy that is not ours (Envoy, or any that reads SO_ORIGINAL_DST)
    ///
    /// Captures as `sidecar` does, but hands the connections to a proxy that already listens in this network namespace.
    Capture(CaptureArgs),
    /// Say what this kernel and these privileges allow
    ///
    /// Feature by feature: whether it is there, the kernel version that it needs, and what to do where it is missing.
    /// Exits with 0 if capture with eBPF is possible, otherwise with 1.
    Check(CheckArgs),
    /// Remove what an unclean end left behind
    ///
    /// Removes programs, maps, pins, cgroups and iptables chains of workloads whose process is gone. From then on their
    /// connections are no longer captured, and no longer refused.
    Cleanup(CleanupArgs),
    /// Show the certificates of a running instance
    ///
    /// Identity, issuer, validity, next rotation, whom the instance believes, and what went wrong last.
    Certs(CertsArgs),
    /// Make a certificate authority for development, and issue certificates by hand
    ///
    /// In production, certificates come from cert-manager, SPIRE, or an authority that your own tools keep.
    Ca(CaArgs),
    /// Say what becomes of a connection or a request, and what says so
    ///
    /// Hook, verdict, reason, policy and rule, tier and identities: of what a configuration file would decide, or of a
    /// connection that is open.
    Explain(ExplainArgs),
    /// Say what runs on this machine, whom it serves, and how that stands
    ///
    /// Asks every process of this user at its Unix socket in /run/sidestep.
    Status(StatusArgs),
    /// Watch the workloads that are served: connections, requests, latency, denials
    Top(TopArgs),
    /// List the connections that a running instance has open
    ///
    /// Asks it at its Unix socket in /run/sidestep, which answers its own user only.
    Connections(ConnectionsArgs),
    /// Show or change what a running process logs on standard error
    Log(LogArgs),
    /// Show the configuration that is in force, as JSON
    ///
    /// Defaults are filled in. What may be secret is left out.
    Config(ConfigArgs),
    /// Look at policies before they are in force
    Policy(PolicyArgs),
    /// Print manifests with the sidecar in their pods
    ///
    /// Pods, and the templates of Deployments, StatefulSets, DaemonSets, Jobs and CronJobs, get it as a native sidecar
    /// (Kubernetes 1.29 and later). A document in which nothing changes stays as it is. Injecting twice is injecting once.
    Inject(InjectArgs),
    /// Do the same as the API server's admission webhook
    ///
    /// For pods as they are made, in namespaces with the label sidestep.io/injection: enabled. deploy/kubernetes.md has the
    /// manifests for it.
    Webhook(WebhookArgs),
    /// Have a pod captured before it starts: the plugin that a container runtime calls
    ///
    /// Speaks the Container Network Interface, 0.3 to 1.1, as the last of a network's chain. `sidestep node` puts it into
    /// the node's network as `sidestep-cni`; under that name it needs no argument.
    Cni(CniArgs),
}

impl Cli {
    /// What to log, in the syntax of `tracing_subscriber::EnvFilter`; known to be valid.
    #[must_use]
    pub fn log_filter(&self) -> &str {
        match (&self.log, &self.command) {
            (Some(filter), _) => filter,
            (
                None,
                Command::Run(_)
                | Command::Certs(_)
                | Command::Ca(_)
                | Command::Policy(_)
                | Command::Inject(_)
                | Command::Explain(_)
                | Command::Status(_)
                | Command::Top(_)
                | Command::Log(_)
                | Command::Config(_)
                | Command::Connections(_),
            ) => "warn",
            (None, _) => "info",
        }
    }
}

/// Refuses a filter that could not be used.
pub(crate) fn log_filter(text: &str) -> Result<String, String> {
    let wrong = "expected error, warn, info, debug, trace or off, or levels by module such as info,sidestep::proxy=debug";
    match EnvFilter::try_new(text) {
        // A lone word that is no level would count as the name of a module that nobody has.
        Ok(filter) if filter.to_string().eq_ignore_ascii_case(text) || text.contains(['=', ',']) => {
            Ok(text.to_owned())
        }
        _ => Err(wrong.to_owned()),
    }
}

#[cfg(test)]
mod tests;
