//! Plain text that is let through whatever the mode: health probes come from a kubelet, which has no identity.
//!
//! Paths are compared as they come, byte by byte: whatever the app takes for the same path is none of ours, and is refused.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

/// Probes of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The probed port.
    pub port: u16,
    /// Where the probes come from.
    pub from: Vec<IpNet>,
    /// What passes.
    pub passes: Passes,
}

/// What passes of the plain text that comes to a probed port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passes {
    /// All of it.
    Everything,
    /// Probes, and nothing else.
    Only(Probed),
}

/// The probes that pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// What may be asked for over HTTP: paths, each with its query if it has one.
    pub http: BTreeSet<Box<str>>,
    /// Services whose health may be asked for over gRPC; the empty one is the server as a whole.
    pub grpc: BTreeSet<Box<str>>,
}

/// The method that tells of health (gRPC's "Health Checking Protocol").
const CHECK: &str = "/grpc.health.v1.Health/Check";

impl Probe {
    pub(super) fn is_for(&self, port: u16, client: IpAddr) -> bool {
        self.port == port && self.from.iter().any(|net| net.contains(&client))
    }
}

/// What may be decided of a request before its body is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It is a probe.
    Granted,
    /// It is one if its message asks for the health of a service that may be asked about: see [`Probed::permits_check`].
    IfItsMessageIs,
    /// It is none.
    Refused,
}

impl Probed {
    /// Whether nothing may be said at all: that the connection can be made is the probe.
    #[must_use]
    pub fn is_touch_only(&self) -> bool {
        self.http.is_empty() && self.grpc.is_empty()
    }

    /// Whether a request may pass. `target` is its path with its query, as it came.
    #[must_use]
    pub fn permits(&self, method: &str, target: &str) -> Permit {
        match method {
            "GET" | "HEAD" if self.http.contains(target) => Permit::Granted,
            "POST" if target == CHECK && !self.grpc.is_empty() => Permit::IfItsMessageIs,
            _ => Permit::Refused,
        }
    }

    /// Whether the body of a request for health asks for a service that may be asked about.
    #[must_use]
    pub fn permits_check(&self, body: &[u8]) -> bool {
        checked_service(body).is_some_and(|service| self.grpc.contains(service))
    }

    /// What either of both lets pass.
    pub(super) fn extend(&mut self, other: &Self) {
        self.http.extend(other.http.iter().cloned());
        self.grpc.extend(other.grpc.iter().cloned());
    }
}

/// The service in a `HealthCheckRequest`: one message, not compressed, with its one field once at most.
fn checked_service(body: &[u8]) -> Option<&str> {
    /// The tag of `string service = 1`.
    const SERVICE: u8 = 0x0a;
    let ([0, length @ ..], message) = body.split_first_chunk::<5>()? else { return None };
    if u32::from_be_bytes(*length) as usize != message.len() {
        return None;
    }
    match message {
        [] => Some(""),
        // A length of one byte: names are shorter than 128.
        [SERVICE, length @ ..=0x7f, name @ ..] if usize::from(*length) == name.len() => {
            std::str::from_utf8(name).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed(http: &[&str], grpc: &[&str]) -> Probed {
        let set = |words: &[&str]| words.iter().map(|&word| word.into()).collect();
        Probed { http: set(http), grpc: set(grpc) }
    }

    #[test]
    fn exactly_the_declared_paths_pass_to_be_read() {
        let probed = probed(&["/healthz", "/ready?full=1"], &[]);
        for (method, target, permit) in [
            ("GET", "/healthz", Permit::Granted),
            ("HEAD", "/healthz", Permit::Granted),
            ("GET", "/ready?full=1", Permit::Granted),
            ("POST", "/healthz", Permit::Refused),
            ("get", "/healthz", Permit::Refused),
            ("GET", "/healthz?x=1", Permit::Refused),
            ("GET", "/ready", Permit::Refused),
            ("GET", "/healthz/", Permit::Refused),
            ("GET", "//healthz", Permit::Refused),
            ("GET", "/a/../healthz", Permit::Refused),
            ("GET", "/%68ealthz", Permit::Refused),
            ("GET", "/healthz;x", Permit::Refused),
            ("GET", "http://elsewhere/healthz", Permit::Refused),
            ("POST", CHECK, Permit::Refused),
        ] {
            assert_eq!(probed.permits(method, target), permit, "{method} {target}");
        }
        assert!(!probed.is_touch_only() && Probed::default().is_touch_only());
    }

    #[test]
    fn the_health_of_declared_services_may_be_asked_for() {
        let probed = probed(&[], &["", "orders"]);
        assert_eq!(probed.permits("POST", CHECK), Permit::IfItsMessageIs);
        assert_eq!(probed.permits("GET", CHECK), Permit::Refused);
        assert_eq!(probed.permits("POST", "/grpc.health.v1.Health/Watch"), Permit::Refused);
        for (body, permitted) in [
            (&b"\0\0\0\0\0"[..], true),
            (b"\0\0\0\0\x08\x0a\x06orders", true),
            (b"\0\0\0\0\x08\x0a\x06others", false),
            (b"\x01\0\0\0\x08\x0a\x06orders", false),
            (b"\0\0\0\0\x08\x0a\x06orders\0", false),
            (b"\0\0\0\0\x07\x0a\x06order", false),
            (b"\0\0\0\0\x10\x0a\x06orders\x0a\x06orders", false),
            (b"\0\0\0\0\x02\x10\x01", false),
            (b"\0\0\0\0", false),
            (b"", false),
            (b"\0\0\0\0\x08\x0a\x06order\xff", false),
        ] {
            assert_eq!(probed.permits_check(body), permitted, "{body:?}");
        }
    }
}
