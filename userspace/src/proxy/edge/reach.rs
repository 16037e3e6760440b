//! A host by name or by address becomes a connection: looked up, asked about, dialled, one address after the other.
//!
//! What the instance dials is seen by no hook of the kernel, so the workload's rules are asked here.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::Refusal;
use crate::model::{Fault, Host, OriginalDst, Reason, Remote, Side, UpstreamAddr};
use crate::proxy::canonical;
use crate::proxy::dial::{self, is_our_own, late};
use crate::proxy::instance::Instance;
use crate::proxy::record::Record;

/// Addresses of one name that are tried at most.
const MOST_ADDRESSES: usize = 16;
/// Names that one instance looks up at once; more of them wait. A lookup that nobody answers holds a thread.
pub(in crate::proxy) const LOOKUPS: usize = 8;

/// Where `remote` is, at least one address.
///
/// # Errors
/// Nobody knows the name, or nobody answers before `deadline`.
pub(super) async fn resolve(
    instance: &Instance,
    remote: &Remote,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, Fault> {
    let name = match &remote.host {
        Host::Address(address) => return Ok(vec![SocketAddr::new(*address, remote.port)]),
        Host::Name(name) => name.clone(),
    };
    let port = remote.port;
    let failed = |source| Fault::new(Side::Agent, "look up name", source);
    let looking = async {
        // The semaphore is never closed.
        let place = Arc::clone(&instance.lookups).acquire_owned().await;
        let looked_up = tokio::task::spawn_blocking(move || {
            let found =
                (&*name, port).to_socket_addrs().map(|found| found.take(MOST_ADDRESSES).collect::<Vec<_>>());
            drop(place);
            found
        });
        looked_up.await.map_err(io::Error::other)?
    };
    let found = tokio::time::timeout_at(deadline, looking).await;
    let found = found.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
    let found =
        found.map_err(|error| failed(io::Error::new(error.kind(), format!("{}: {error}", remote.host))))?;
    if found.is_empty() {
        let none = format!("{}: expected an address, found none", remote.host);
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, none)));
    }
    Ok(found.into_iter().map(canonical).collect())
}

/// Whether the instance may dial `address` for its workload.
///
/// # Errors
/// It may not: a rule says so, or it would reach itself.
pub(super) fn ask(instance: &Instance, address: SocketAddr, local: SocketAddr) -> Result<(), Refusal> {
    let refused = |reason, message: String| Refusal {
        reason: Some(reason),
        fault: Fault::new(
            Side::Workload,
            "admit connection",
            io::Error::new(io::ErrorKind::PermissionDenied, message),
        ),
        answer: None,
    };
    if instance.own.contain(OriginalDst(address), local.ip()) {
        let message = format!("{address} is the instance's own listener; dial what is to be reached instead");
        return Err(refused(Reason::OwnListener, message));
    }
    instance.admission.outbound(address).map_err(|reason| {
        refused(
            reason,
            format!("the workload's rules deny connections to {address} (outbound.rules, outbound.default)"),
        )
    })
}

/// Connects to `remote` within `patience`. `local` is an address of the workload, `at_hand` a socket of its family
/// if there is one.
///
/// # Errors
/// No address of it may be dialled, or none answers: what was wrong with the last.
pub(super) async fn reach(
    instance: &Instance,
    remote: &Remote,
    local: SocketAddr,
    at_hand: Option<Socket>,
    patience: Duration,
    record: &mut Record,
) -> Result<TcpStream, Refusal> {
    let deadline = Instant::now() + patience;
    let addresses = resolve(instance, remote, deadline).await?;
    let mut at_hand = at_hand.filter(|_| local.is_ipv4() == addresses.iter().all(SocketAddr::is_ipv4));
    let mut last = None;
    for (index, &address) in addresses.iter().enumerate() {
        if let Err(refusal) = ask(instance, address, local) {
            // A reason is worth more than a dial that failed before.
            last = Some(refusal);
            continue;
        }
        record.dialling(UpstreamAddr(address));
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - index) as u32;
        match timeout(share, connect(instance, at_hand.take(), address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => {
                let side = if is_our_own(&source) { Side::Agent } else { Side::Peer };
                last = Some(Fault::new(side, "dial upstream", source).into());
            }
            Err(_elapsed) => last = Some(Fault::new(Side::Peer, "dial upstream", late(patience)).into()),
        }
    }
    Err(last.unwrap_or_else(|| Refusal::new(Side::Agent, "look up name", "expected an address, found none")))
}

async fn connect(instance: &Instance, at_hand: Option<Socket>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match at_hand {
        Some(socket) => socket,
        None => instance.socket(Domain::for_address(address))?,
    };
    dial::connect(socket, address).await
}
