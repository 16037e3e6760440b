//! A proxy for programs that address the instance themselves, over loopback: CONNECT here, everything else as requests of HTTP.
//!
//! What they ask for becomes an original destination, as if its connection had been captured: the workload's rules, the directory,
//! tunnels, routes and traces hold for it. No open proxy: whoever does not connect over loopback is refused.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use nix::sys::socket::{MsgFlags, recv};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::reach::{ask, resolve};
use super::{Arrived, Refusal, exact, fail, open};
use crate::model::{ClientAddr, Direction, Fault, Host, OriginalDst, Protocol, Reason, Remote, Side, Tier};
use crate::proxy::connection::declared;
use crate::proxy::dial::Dial;
use crate::proxy::http::choose::Endpoint;
use crate::proxy::http::dialling::{address, reach};
use crate::proxy::http::front::{Front, Target};
use crate::proxy::http::intake::{self, Arrival, speak};
use crate::proxy::http::io::Carrier;
use crate::proxy::http::peek::Near;
use crate::proxy::http::terms::Plan;
use crate::proxy::instance::{Alive, Instance};
use crate::proxy::leg::Leg;
use crate::proxy::record::Record;
use crate::proxy::route;
use crate::proxy::workers::Seat;

/// How a request for a connection begins.
const CONNECT: &[u8; 8] = b"CONNECT ";
/// Bytes that one may have.
const LONGEST: usize = 8 << 10;
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Why there is no way to what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Lost {
    pub(in crate::proxy) status: u16,
    pub(in crate::proxy) text: &'static str,
    pub(in crate::proxy) reason: Option<Reason>,
}

impl Lost {
    pub(in crate::proxy) const fn new(status: u16, text: &'static str) -> Self {
        Self { status, text, reason: None }
    }
}

/// Which names stand for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Names {
    /// Those of services that the directory knows.
    Services,
    /// Those, and else what a name server says.
    All,
}

/// The destination that `remote` stands for, if the workload may go there; and the full name of the service, if it is one.
pub(in crate::proxy) async fn find(
    instance: &Instance,
    remote: &Remote,
    names: Names,
    local: std::net::SocketAddr,
) -> Result<(OriginalDst, Option<String>), Lost> {
    let neighbours = instance.neighbours();
    let service = match &remote.host {
        Host::Name(name) => neighbours.directory.service_named(name).map_err(|_several| {
            Lost::new(
                404,
                "several services have a hostname that begins like this: ask for one by its full hostname",
            )
        })?,
        Host::Address(_) => None,
    };
    let (candidates, hostname) = match service {
        Some(service) => {
            let virtual_addresses =
                service.addresses.iter().map(|ip| std::net::SocketAddr::new(*ip, remote.port));
            (virtual_addresses.collect(), Some(service.hostname.clone()))
        }
        None if names == Names::Services => {
            return Err(Lost::new(
                404,
                "no service has this hostname: expected /proxy/<service>[:port]/<path>, where the service is one of `services`",
            ));
        }
        None => {
            let deadline = Instant::now() + instance.limits().connect_timeout;
            let found = resolve(instance, remote, deadline).await;
            (found.map_err(|_fault| Lost::new(502, "neither a service nor a host has this name"))?, None)
        }
    };
    let mut refused = None;
    for candidate in candidates {
        match ask(instance, candidate, local) {
            Ok(()) => return Ok((OriginalDst(candidate), hostname)),
            Err(refusal) => refused = refusal.reason,
        }
    }
    let text = match refused {
        Some(Reason::OwnListener) => "this is the proxy itself: ask for what is to be reached",
        _ => "the workload may not go there (outbound.rules, outbound.default)",
    };
    Err(Lost { status: 403, text, reason: Some(refused.unwrap_or(Reason::Default)) })
}

/// Serves a connection to its end.
pub(super) async fn serve(alive: Alive, arrived: Arrived) {
    let instance = Arc::clone(&alive.instance);
    let mut record = open(&alive, Direction::Outbound, &arrived);
    let Arrived { seat, stream, second, client, local } = arrived;
    drop(second);
    let leg = Leg::new(stream);
    if !client.0.ip().is_loopback() {
        drop(leg);
        let refusal = Refusal::new(
            Side::Peer,
            "admit connection",
            "expected a client on loopback (explicit), found another",
        );
        return fail(&instance, record, client, Refusal { reason: Some(Reason::OwnListener), ..refusal });
    }
    let terms = instance.http();
    let first = timeout(terms.idle_timeout, begin(&leg))
        .await
        .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
    match first {
        Ok(first) if first == CONNECT => {
            Box::pin(connect(alive, seat, leg, client, local, terms.header_timeout, record)).await;
        }
        Ok(first) if first.is_empty() => {
            leg.end();
            record.close();
        }
        Ok(first) => {
            record.carried(Tier::Http);
            let mut front = Front::new(&instance, terms, seat, &record, OriginalDst(local));
            front.target = Target::OfRequest;
            speak(Arc::new(front), Carrier::Socket(leg), Bytes::from(first), Protocol::Http1, record).await;
            drop(alive);
        }
        Err(source) => {
            drop(leg);
            record.fail(Fault::new(Side::Workload, "read from client", source));
        }
    }
}

/// The first bytes of a client, as many as tell whether it wants a connection.
async fn begin(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(CONNECT.len());
    while first.len() < CONNECT.len() && CONNECT.starts_with(&first) {
        let mut byte = [0];
        if !exact::read(stream, &mut byte).await? {
            break;
        }
        first.extend(byte);
    }
    Ok(first)
}

/// Opens the connection that a client asks for, and hands it to whoever serves captured ones.
async fn connect(
    alive: Alive,
    seat: Seat,
    leg: Leg,
    client: ClientAddr,
    local: std::net::SocketAddr,
    patience: Duration,
    mut record: Record,
) {
    let instance = Arc::clone(&alive.instance);
    let head =
        timeout(patience, head(&leg)).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
    let wanted = match head {
        Ok(head) => wanted(&head).ok_or(Lost::new(400, "expected CONNECT <host>:<port> HTTP/1.1")),
        Err(source) => {
            drop(leg);
            return record.fail(Fault::new(Side::Workload, "read request", source));
        }
    };
    let found = match wanted {
        Ok(remote) => find(&instance, &remote, Names::All, local).await,
        Err(lost) => Err(lost),
    };
    let original = match found {
        Ok((original, _service)) => original,
        Err(lost) => return turn_down(&instance, leg, client, lost, record).await,
    };
    record.captured(original, Reason::Rule);
    let routed = match route::find(&instance.neighbours(), &instance.balance, original) {
        Ok(route) => route,
        Err(none) => {
            let lost = Lost { status: 503, text: "no healthy upstream", reason: Some(none.reason) };
            return turn_down(&instance, leg, client, lost, record).await;
        }
    };
    let endpoint = Endpoint::from(routed);
    let upstream = address(&endpoint.way);
    let dial = Dial { instance: &instance, client, upstream, direction: Direction::Outbound };
    record.dialling(upstream);
    let far = match reach(&instance, &seat, dial, &endpoint.way, None).await {
        Ok(far) => far,
        Err(fault) => {
            tracing::debug!(%fault, %client, "connection was not made");
            say(&leg, &Lost::new(503, "the upstream could not be reached")).await;
            leg.end();
            return record.fail(fault);
        }
    };
    if let Err(source) = exact::write(&leg, ESTABLISHED).await {
        drop(leg);
        return record.fail(Fault::new(Side::Workload, "write to client", source));
    }
    let terms = instance.http();
    let plan = terms.plan(
        Direction::Outbound,
        original.0.port(),
        declared(&instance, Direction::Outbound, original),
    );
    let near = Near::Socket(leg);
    if let Plan::Pass(protocol) = plan {
        if let Some(protocol) = protocol {
            record.spoke(protocol, None);
        }
        return intake::pass(&alive, seat, near, far, client, Direction::Outbound, record).await;
    }
    let arrival = Arrival {
        alive,
        seat,
        near,
        client,
        direction: Direction::Outbound,
        original,
        proved: None,
        peer: None,
        probing: None,
        terms,
        plan,
        routed: Ok(endpoint),
        far: Some(far),
        record,
    };
    intake::take(arrival).await;
}

/// The rest of a head, and not one byte more: what stands behind it is for somebody else.
async fn head(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while head.len() < LONGEST {
        stream.readable().await?;
        let known = head.len();
        let taken = stream.try_io(Interest::READABLE, || {
            let mut piece = [0; 1024];
            let length = recv(stream.as_raw_fd(), &mut piece, MsgFlags::MSG_PEEK)?;
            head.extend(&piece[..length]);
            let end = head.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
            head.truncate(end.unwrap_or(head.len()));
            let length = head.len() - known;
            Ok((recv(stream.as_raw_fd(), &mut piece[..length], MsgFlags::empty())?, end.is_some()))
        });
        match taken {
            Ok((0, false)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, true)) => return Ok(head),
            Ok((_, false)) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "expected the head of a CONNECT of at most 8 KiB, found a longer one",
    ))
}

/// What a head that begins behind `CONNECT ` asks for.
fn wanted(head: &[u8]) -> Option<Remote> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let (target, version) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    matches!(version, "HTTP/1.1" | "HTTP/1.0").then_some(())?;
    target.parse().ok()
}

async fn turn_down(instance: &Instance, leg: Leg, client: ClientAddr, lost: Lost, record: Record) {
    say(&leg, &lost).await;
    leg.end();
    let refusal = Refusal::new(Side::Workload, "find route", lost.text);
    fail(instance, record, client, Refusal { reason: lost.reason, ..refusal });
}

/// Answers a client. One that does not hear it is gone.
async fn say(leg: &Leg, lost: &Lost) {
    let reason = http::StatusCode::from_u16(lost.status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("");
    let Lost { status, text, .. } = lost;
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    let _gone = timeout(Duration::from_secs(1), exact::write(leg, answer.as_bytes())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_a_connection_names_a_host_and_a_port() {
        let text = |head: &str| wanted(head.as_bytes()).map(|remote| remote.to_string());
        assert_eq!(text("db.shop:5432 HTTP/1.1\r\nHost: x\r\n\r\n").as_deref(), Some("db.shop:5432"));
        assert_eq!(text("[fd00::9]:443 HTTP/1.0\r\n\r\n").as_deref(), Some("[fd00::9]:443"));
        for wrong in [
            "db HTTP/1.1",
            "db:1",
            "db:1 HTTP/2",
            "http://db:1/ HTTP/1.1",
            "db:1  HTTP/1.1",
            "a@db:1 HTTP/1.1",
            "",
        ] {
            assert_eq!(text(wrong), None, "{wrong}");
        }
    }
}
