//! One capture by iptables per network namespace.
//!
//! The chains have fixed names, so that a second capture would replace the first and let its workload slip past.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::NetfilterError;

/// Abstract names belong to a network namespace, exactly as the chains do, and are given back when their holder dies.
const NAME: &str = "sidestep-netfilter";

/// The right to put rules into a network namespace.
#[derive(Debug)]
pub(super) struct Lock {
    _held: UnixListener,
}

impl Lock {
    /// Takes the lock of the current network namespace.
    ///
    /// Whoever may bind sockets in the namespace can hold the name and so keep a capture from starting; it cannot end
    /// one that stands.
    pub(super) fn take() -> Result<Self, NetfilterError> {
        let bound = SocketAddr::from_abstract_name(NAME).and_then(|name| UnixListener::bind_addr(&name));
        match bound {
            Ok(listener) => Ok(Self { _held: listener }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(NetfilterError::Taken),
            Err(cause) => {
                Err(NetfilterError::Unrunnable { program: "the lock of this network namespace", cause })
            }
        }
    }
}
