//! `sidestep capture`: steering for a proxy that is not ours.

use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigError, InboundPorts};

const EXAMPLES: &str = "\
Examples:
  Envoy with an outbound and an inbound listener that use the original destination:
    sidestep capture --config /etc/sidestep/sidestep.yaml --to-port 15001 --inbound-port 15006
  Outbound only:
    sidestep capture --config /etc/sidestep/sidestep.yaml --to-port 15001

The proxy runs in a cgroup of its own, finds the original destination by SO_ORIGINAL_DST as behind
iptables, and needs no change. This takes the place of istio-iptables.";

/// Arguments of `sidestep capture`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct CaptureArgs {
    /// Configuration file; it is watched, and changes of rules and inbound ports take effect at once
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Port at which the proxy accepts captured outbound connections
    #[arg(long, value_name = "PORT")]
    to_port: NonZeroU16,

    /// Port at which the proxy accepts captured inbound connections; without it none are captured
    #[arg(long, value_name = "PORT")]
    inbound_port: Option<NonZeroU16>,
}

/// Where a proxy that is not ours listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignProxy {
    /// Its port for captured outbound connections.
    pub outbound_port: u16,
    /// Its port for captured inbound connections, if it takes any.
    pub inbound_port: Option<u16>,
}

impl CaptureArgs {
    /// What to capture and where to. The proxy's own ports are not captured: a connection to them would come
    /// back to the proxy for ever.
    ///
    /// # Errors
    ///
    /// One port is asked to serve both directions, or the file gives the workload an identity, which a proxy that is
    /// not ours does not have from us.
    pub fn configure(&self, file: Config) -> Result<(Config, ForeignProxy), ConfigError> {
        let proxy = ForeignProxy {
            outbound_port: self.to_port.get(),
            inbound_port: self.inbound_port.map(NonZeroU16::get),
        };
        if proxy.inbound_port == Some(proxy.outbound_port) {
            let message = format!("expected two ports, found {} for both directions", proxy.outbound_port);
            return Err(ConfigError::Flags { flags: "--to-port, --inbound-port".to_owned(), message });
        }
        if file.identity.is_some() {
            let message = "expected a configuration without the section identity, since the proxy is not ours and has \
                           certificates of its own, found one";
            return Err(ConfigError::Flags { flags: "--to-port".to_owned(), message: message.to_owned() });
        }
        let mut config = file;
        let ports = match proxy.inbound_port {
            None => InboundPorts::none(),
            Some(port) => config.inbound_ports().without(port).without(proxy.outbound_port),
        };
        config.set_inbound_ports(ports);
        Ok((config, proxy))
    }
}
