//! What the tests of clients and servers share.

use std::net::{SocketAddr, TcpListener};

use anyhow::Result;

/// A listener of this process's own.
pub(super) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

pub(super) fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap()
}

/// Nobody watches a client of a test.
pub(super) fn no_wait() -> Result<()> {
    Ok(())
}
