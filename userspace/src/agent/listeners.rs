//! The listeners that captured connections are steered to.

use std::io;
use std::net::TcpListener;

use anyhow::{Context, Result};
use sidestep_abi::maps::ListenerSlot;
use sidestep_abi::settings::OUTBOUND6_PORTS;

use crate::datapath::Datapath;
use crate::proxy::Entry;
use crate::sys::socket::{EVERY4, EVERY6, LOOPBACK4, LOOPBACK6, Reach, listen};

/// One listener per slot of the sockmap. Ports are the kernel's choice, so that none can be taken, and a successor's never
/// meet a predecessor's.
pub(super) struct Listeners {
    /// Every address of loopback: the owned range. Connections from other machines cannot reach it.
    pub(super) outbound4: TcpListener,
    /// On `::1`; empty in a namespace without IPv6.
    pub(super) outbound6: Vec<TcpListener>,
    pub(super) inbound: Option<Inbound>,
    pub(super) tunnel: Option<Inbound>,
}

/// The listeners of inbound connections, or of tunnels.
pub(super) struct Inbound {
    pub(super) v4: TcpListener,
    /// Absent in a namespace without IPv6.
    pub(super) v6: Option<TcpListener>,
}

/// What steers connections to the listeners decides where they have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steering {
    /// By socket: the listener's own address does not matter.
    Sockmap,
    /// By rewriting the packet: the listener has to be at every address.
    Redirect,
}

impl Listeners {
    pub(super) fn open_outbound(steering: Steering) -> Result<Self> {
        let outbound4 =
            listen(EVERY4, Reach::LoopbackDevice).context("listen for captured IPv4 connections")?;
        let count = match steering {
            Steering::Sockmap => OUTBOUND6_PORTS,
            Steering::Redirect => 1,
        };
        let outbound6 = (0..count)
            .map_while(|_| optional(listen(LOOPBACK6, Reach::Everyone)).transpose())
            .collect::<io::Result<_>>()
            .context("listen for captured IPv6 connections")?;
        Ok(Self { outbound4, outbound6, inbound: None, tunnel: None })
    }

    pub(super) fn with_inbound(mut self, steering: Steering) -> Result<Self> {
        self.inbound = Some(Inbound::open(steering).context("listen for inbound connections")?);
        Ok(self)
    }

    pub(super) fn with_tunnel(mut self, steering: Steering) -> Result<Self> {
        self.tunnel = Some(Inbound::open(steering).context("listen for tunnels")?);
        Ok(self)
    }

    /// Every listener with what comes in by it, as descriptors for the instance. They listen for as long as any
    /// descriptor is open: these here have to go once everything is steered to them.
    pub(super) fn for_instance(&self) -> io::Result<Vec<(TcpListener, Entry)>> {
        let outbound = std::iter::once(&self.outbound4).chain(&self.outbound6);
        let inbound = self.inbound.iter().flat_map(Inbound::all);
        let tunnel = self.tunnel.iter().flat_map(Inbound::all);
        outbound
            .map(|listener| (listener, Entry::Outbound))
            .chain(inbound.map(|listener| (listener, Entry::Inbound)))
            .chain(tunnel.map(|listener| (listener, Entry::Tunnel)))
            .map(|(listener, entry)| Ok((listener.try_clone()?, entry)))
            .collect()
    }

    /// Puts every listener in its slot.
    pub(super) fn steer_to(&self, datapath: &mut Datapath) -> Result<()> {
        datapath.put_listener(ListenerSlot::Outbound4 as u32, &self.outbound4)?;
        for (slot, listener) in (ListenerSlot::Outbound6 as u32..).zip(&self.outbound6) {
            datapath.put_listener(slot, listener)?;
        }
        for (listeners, slot4, slot6) in [
            (&self.inbound, ListenerSlot::Inbound4, ListenerSlot::Inbound6),
            (&self.tunnel, ListenerSlot::Tunnel4, ListenerSlot::Tunnel6),
        ] {
            let Some(Inbound { v4, v6 }) = listeners else { continue };
            datapath.put_listener(slot4 as u32, v4)?;
            if let Some(v6) = v6 {
                datapath.put_listener(slot6 as u32, v6)?;
            }
        }
        Ok(())
    }
}

impl Inbound {
    fn open(steering: Steering) -> Result<Self> {
        let (v4, v6) = match steering {
            Steering::Sockmap => (LOOPBACK4, LOOPBACK6),
            Steering::Redirect => (EVERY4, EVERY6),
        };
        Ok(Self {
            v4: listen(v4, Reach::Everyone).context("IPv4")?,
            v6: optional(listen(v6, Reach::Everyone)).context("IPv6")?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &TcpListener> {
        std::iter::once(&self.v4).chain(&self.v6)
    }

    /// The ports that they got, IPv4 and IPv6.
    pub(super) fn ports(&self) -> Result<(u16, Option<u16>)> {
        Ok((port(&self.v4)?, self.v6.as_ref().map(port).transpose()?))
    }
}

/// The port that a listener got.
pub(super) fn port(listener: &TcpListener) -> Result<u16> {
    Ok(listener.local_addr().context("ask a listener for its port")?.port())
}

/// A namespace may have no IPv6 at all; then there is nothing to listen for.
fn optional(listener: io::Result<TcpListener>) -> io::Result<Option<TcpListener>> {
    match listener {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
