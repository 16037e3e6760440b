//! Connections and requests as the tests of this room know them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::*;

/// An outbound connection that was relayed and ended well.
pub(crate) fn relayed() -> Ended {
    Ended {
        connection: Some(7),
        began: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
        direction: Direction::Outbound,
        client: Some(ClientAddr("10.0.0.5:40000".parse().unwrap())),
        original: Some(OriginalDst("10.0.0.9:80".parse().unwrap())),
        upstream: Some(UpstreamAddr("10.0.0.9:80".parse().unwrap())),
        verdict: Verdict::Proxy,
        reason: Reason::Rule,
        tier: Tier::Relay,
        protocol: None,
        sni: None,
        requests: 0,
        source_identity: None,
        destination_identity: None,
        peer: None,
        service: None,
        peer_workload: None,
        trace_id: None,
        decided: None,
        traffic: Traffic { sent: 78, received: 1234 },
        duration: Duration::from_nanos(1_234_567),
        fault: None,
    }
}

/// One through a tunnel.
pub(crate) fn tunnelled() -> Ended {
    Ended {
        upstream: Some(UpstreamAddr("10.0.0.9:15008".parse().unwrap())),
        tier: Tier::Tunnel,
        source_identity: Some("spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()),
        destination_identity: Some("spiffe://cluster.local/ns/shop/sa/db".parse().unwrap()),
        peer_workload: Some("shop/db-0".to_owned()),
        trace_id: TraceParent::from_random([1; 16], [2; 8]).map(|parent| parent.trace),
        ..relayed()
    }
}

/// One whose upstream could not be reached.
pub(crate) fn unreachable() -> Ended {
    let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "Connection refused");
    Ended {
        traffic: Traffic::default(),
        fault: Some(Fault::new(Side::Peer, "dial upstream", refused)),
        ..relayed()
    }
}

/// A `connect()` that the kernel refused.
pub(crate) fn denied() -> Ended {
    Ended {
        connection: None,
        client: None,
        upstream: None,
        verdict: Verdict::Deny,
        tier: Tier::Direct,
        traffic: Traffic::default(),
        duration: Duration::ZERO,
        ..relayed()
    }
}

/// A request that the workload made of a service in the mesh, and that was answered.
pub(crate) fn asked() -> Exchange {
    Exchange {
        connection: Some(7),
        began: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
        direction: Direction::Outbound,
        client: ClientAddr("10.0.0.5:40000".parse().unwrap()),
        original: Some(OriginalDst("10.96.0.10:80".parse().unwrap())),
        upstream: Some(UpstreamAddr("10.0.0.9:8080".parse().unwrap())),
        source_identity: Some("spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()),
        destination_identity: Some("spiffe://cluster.local/ns/shop/sa/db".parse().unwrap()),
        peer: Some(Arc::new(workload("db-0"))),
        service: Some(Arc::new(service("db.shop.svc.cluster.local"))),
        request: Request {
            method: http::Method::GET,
            authority: Some("db.shop".into()),
            target: "/items?id=7".into(),
            version: http::Version::HTTP_11,
            kind: RequestKind::Http,
            user_agent: Some("curl/8".into()),
            request_id: Some("e7b0".into()),
        },
        answer: Some(Answer { status: http::StatusCode::OK, grpc_status: None }),
        span: Context::default().child(
            Some(&Sampling::new(1.0, Parents::Followed)),
            RandomIds { trace: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10, span: 0x1112_1314_1516_1718 },
        ),
        route: Some("shop/db/1".into()),
        attempts: 1,
        request_bytes: 78,
        answer_bytes: 1234,
        duration: Duration::from_nanos(7_234_567),
        upstream_duration: Some(Duration::from_nanos(5_000_999)),
        decided: None,
        flags: Flags::default(),
        fault: None,
    }
}

/// One that came in, in plain text, and that the app never answered.
pub(crate) fn unanswered() -> Exchange {
    let mut flags = Flags::default();
    flags.raise(Flag::UpstreamGone);
    let reset = io::Error::new(io::ErrorKind::ConnectionReset, "Connection reset by peer");
    Exchange {
        direction: Direction::Inbound,
        original: Some(OriginalDst("10.0.0.9:8080".parse().unwrap())),
        source_identity: None,
        destination_identity: None,
        peer: None,
        service: None,
        answer: None,
        route: None,
        answer_bytes: 0,
        upstream_duration: None,
        flags,
        fault: Some(Fault::new(Side::Workload, "read from app", reset)),
        ..asked()
    }
}

/// A workload of the namespace `shop`.
pub(crate) fn workload(name: &str) -> Workload {
    Workload {
        name: name.to_owned(),
        identity: "spiffe://cluster.local/ns/shop/sa/db".parse().unwrap(),
        addresses: vec!["10.0.0.9".parse().unwrap()],
        reach: Reach::Tunnel,
        node: None,
    }
}

/// A service without ports and endpoints.
pub(crate) fn service(hostname: &str) -> Service {
    Service { hostname: hostname.to_owned(), addresses: Vec::new(), ports: Vec::new(), endpoints: Vec::new() }
}
