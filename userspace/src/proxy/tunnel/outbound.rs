//! A captured connection that goes through a tunnel, from the choice of the tunnel to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use tokio::time::{Instant, timeout};

use super::baggage::Baggage;
use super::channel::Channel;
use super::client::{Lease, Opened, Unopened};
use super::message;
use super::pool::{Ends, Wanted};
use super::relay::relay_to_the_end;
use super::{Tunnelling, fault};
use crate::model::{
    ClientAddr, Direction, Fault, Identity, OriginalDst, Side, Tier, TraceParent, UpstreamAddr,
};
use crate::proxy::dial::{gone, late};
use crate::proxy::instance::Instance;
use crate::proxy::leg::Leg;
use crate::proxy::record::Record;
use crate::proxy::route::Hop;
use crate::proxy::workers::{Elsewhere, Seat};

/// Carries the connection of `client`, which is at `address`, to the end of `hop`.
pub(in crate::proxy) async fn carry(
    instance: &Arc<Instance>,
    seat: Seat,
    client: Leg,
    address: ClientAddr,
    hop: Hop,
    mut record: Record,
) {
    record.carried(Tier::Tunnel);
    record.dialling(UpstreamAddr(hop.tunnel));
    if let Some(tunnelling) = &instance.tunnelling {
        record.proved(&tunnelling.credentials.identity(), &hop.identity);
    }
    let opened = tokio::select! {
        biased;
        opened = open(instance, &seat, address, &hop, None) => opened,
        gone = gone(&client) => Err(Fault::new(Side::Workload, "wait for tunnel", gone)),
    };
    match opened {
        Ok(opened) => relay(instance, seat, client, opened, record).await,
        Err(fault) => {
            drop(client);
            tracing::debug!(%fault, %address, target = %hop.tunnel, "tunnelled connection was not made");
            record.fail(fault);
        }
    }
}

/// A stream through a tunnel that the other end has accepted.
pub(in crate::proxy) struct Tunnelled {
    pub(in crate::proxy) channel: Channel,
    /// Who we are to the other end, and who it proved to be.
    pub(in crate::proxy) source: Identity,
    pub(in crate::proxy) destination: Identity,
    said: Baggage,
    trace: Option<TraceParent>,
    address: SocketAddr,
    /// The worker that the tunnel lives on.
    seat: Seat,
}

/// A place on the worker that a tunnel to the end of `hop` lives on, if one stands.
pub(in crate::proxy) fn home(instance: &Instance, hop: &Hop) -> Option<Seat> {
    let source = instance.tunnelling.as_ref()?.credentials.identity();
    instance.pool.home(&Ends { source, destination: hop.identity.clone(), address: hop.tunnel })
}

/// Opens a stream to the end of `hop` for `client`; `trace` is that of what it is opened for, or else a new one.
pub(in crate::proxy) async fn open(
    instance: &Arc<Instance>,
    seat: &Seat,
    client: ClientAddr,
    hop: &Hop,
    trace: Option<TraceParent>,
) -> Result<Tunnelled, Fault> {
    let Some(tunnelling) = &instance.tunnelling else {
        let none = fault(
            io::ErrorKind::Unsupported,
            format!(
                "{} takes tunnels only, and this workload has no identity to prove (identity)",
                hop.target
            ),
        );
        return Err(Fault::new(Side::Agent, "open tunnel", none));
    };
    let source = tunnelling.credentials.identity();
    let trace = trace.or_else(|| {
        TraceParent::from_random(fastrand::u128(..).to_ne_bytes(), fastrand::u64(..).to_ne_bytes())
    });
    let ends = Ends { source, destination: hop.identity.clone(), address: hop.tunnel };
    let call = Call { instance, tunnelling, ends: &ends, target: hop.target, client, trace };
    let patience = instance.limits().connect_timeout;
    let opened = timeout(patience, call.open(seat)).await;
    let (lease, opened) =
        opened.unwrap_or_else(|_elapsed| Err(Fault::new(Side::Peer, "open tunnel", late(patience))))?;
    let Ends { source, destination, address } = ends;
    let seat = lease.seat().another();
    let channel = Channel { _lease: Some(lease), ..opened.channel };
    Ok(Tunnelled { channel, source, destination, said: opened.said, trace, address, seat })
}

/// Relays between the workload's socket and an open stream to the end of both, and tells it.
pub(in crate::proxy) async fn relay(
    instance: &Instance,
    seat: Seat,
    client: Leg,
    opened: Tunnelled,
    mut record: Record,
) {
    let Tunnelled { channel, source, destination, said, trace, address, seat: tunnel } = opened;
    record.carried(Tier::Tunnel);
    record.dialling(UpstreamAddr(address));
    record.proved(&source, &destination);
    record.named(&said);
    if let Some(trace) = trace {
        record.traced(trace.trace);
    }
    let idle = instance.limits().idle_timeout;
    let (stays, runtime) = (tunnel.shares_worker(&seat), tunnel.runtime().clone());
    drop(tunnel);
    if stays {
        return relay_to_the_end(client, Direction::Outbound, channel, idle, record).await;
    }
    // A message that crosses threads costs a wake-up, so the connection goes where its tunnel is.
    match client.moved_to(&runtime) {
        Ok(client) => {
            let relaying = relay_to_the_end(client, Direction::Outbound, channel, idle, record);
            Elsewhere::spawn(&runtime, relaying).ended().await;
        }
        Err(source) => record.fail(Fault::new(Side::Agent, "move connection", source)),
    }
}

/// What is asked of the other end.
struct Call<'a> {
    instance: &'a Arc<Instance>,
    tunnelling: &'a Tunnelling,
    ends: &'a Ends,
    target: OriginalDst,
    client: ClientAddr,
    trace: Option<TraceParent>,
}

impl Call<'_> {
    /// A stream that the other end has accepted. A tunnel that turns out to be dead is replaced once.
    async fn open(&self, seat: &Seat) -> Result<(Lease, Opened), Fault> {
        let mut wanted = Wanted::Any;
        loop {
            let began = Instant::now();
            let lease = self.instance.pool.lease(self.instance, self.ends, wanted, seat).await?;
            let request = message::request(
                self.target,
                self.client,
                self.trace,
                &self.ends.source,
                &self.tunnelling.workload,
            );
            let request = request.ok_or_else(|| {
                let unfit =
                    fault(io::ErrorKind::InvalidInput, format!("no request can be made for {}", self.target));
                Fault::new(Side::Agent, "ask for connection", unfit)
            })?;
            let refused = match lease.open(request).await {
                Ok(opened) => return Ok((lease, opened)),
                Err(Unopened::Gone(source)) => {
                    self.instance.pool.retire(self.ends, lease.tunnel());
                    if matches!(wanted, Wanted::Any) && lease.tunnel().established() < began {
                        self.instance.tunnels.count_retried();
                        wanted = Wanted::Since(began);
                        continue;
                    }
                    source
                }
                Err(Unopened::Failed(source)) => source,
                Err(Unopened::Answered(status)) => refusal(status),
            };
            return Err(Fault::new(Side::Peer, "ask for connection", refused));
        }
    }
}

/// What an answer other than 200 means.
fn refusal(status: StatusCode) -> io::Error {
    let meaning = match status {
        StatusCode::UNAUTHORIZED => "its policy does not let this workload in",
        StatusCode::SERVICE_UNAVAILABLE => "it could not reach the app",
        StatusCode::BAD_REQUEST => "it does not serve the address that was asked for",
        _ => "expected 200",
    };
    fault(
        io::ErrorKind::ConnectionRefused,
        format!("the other end of the tunnel answered {}: {meaning}", status.as_u16()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_connection_through_a_tunnel_takes_little_memory() {
        fn size<A, B, C, D, E, F, R: Future>(_: impl FnOnce(A, B, C, D, E, F) -> R) -> usize {
            size_of::<R>()
        }
        fn borrowed(
            instance: &'static Arc<Instance>,
            seat: Seat,
            client: Leg,
            address: ClientAddr,
            hop: Hop,
            record: Record,
        ) -> impl Future<Output = ()> {
            carry(instance, seat, client, address, hop, record)
        }
        assert!(size(borrowed) <= 3072, "the future of one connection takes {} bytes", size(borrowed));
    }
}
