//! The CONNECT request of a tunnelled connection and its answers.
//!
//! RFC 9113, section 8.5: `:authority` is where to go, there is neither `:scheme` nor `:path`. Ambient's headers stand
//! beside it: `baggage`, `traceparent`, and `forwarded` (RFC 7239), of which only the client's port is believed, and only if
//! its address is the one that the tunnel comes from.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::baggage::{self, Baggage};
use crate::model::{ClientAddr, Identity, OriginalDst, TraceParent};

const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED: HeaderName = http::header::FORWARDED;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Connect {
    /// Where the connection is to go.
    pub(super) target: OriginalDst,
    /// The trace that it belongs to.
    pub(super) trace: Option<TraceParent>,
    /// What the client says of itself.
    pub(super) baggage: Baggage,
    /// Who connects behind it, as it says.
    pub(super) forwarded_for: Option<SocketAddr>,
}

/// The request for a connection of `client` to `target`; `None` if the parts do not make one, which none of ours do.
pub(super) fn request(
    target: OriginalDst,
    client: ClientAddr,
    trace: Option<TraceParent>,
    source: &Identity,
    workload: &str,
) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = Uri::builder().authority(target.to_string()).build().ok()?;
    let headers = request.headers_mut();
    headers.insert(BAGGAGE, HeaderValue::from_str(&baggage::say(source, workload)).ok()?);
    headers.insert(FORWARDED, HeaderValue::from_str(&format!("for=\"{client}\"")).ok()?);
    if let Some(trace) = trace {
        headers.insert(TRACEPARENT, HeaderValue::from_str(&trace.to_string()).ok()?);
    }
    Some(request)
}

/// Reads a request; what is no CONNECT to an address and a port is to be answered with 400.
///
/// # Errors
/// What was expected and what was found.
pub(super) fn read<B>(request: &Request<B>) -> Result<Connect, String> {
    if request.method() != Method::CONNECT {
        return Err(format!("expected the method CONNECT, found {}", request.method()));
    }
    let authority = request.uri().authority().map_or("", http::uri::Authority::as_str);
    let target: Option<SocketAddr> = authority.parse().ok().filter(|target: &SocketAddr| target.port() != 0);
    let Some(target) = target else {
        return Err(format!(
            "expected an IP address and a port as :authority, found {:?}",
            shortened(authority)
        ));
    };
    let headers = request.headers();
    Ok(Connect {
        target: OriginalDst(super::super::canonical(target)),
        trace: headers.get(TRACEPARENT).and_then(|value| TraceParent::parse(value.as_bytes())),
        baggage: said(headers),
        forwarded_for: headers.get(FORWARDED).and_then(|value| forwarded_for(value.as_bytes())),
    })
}

/// What the other end says of itself.
pub(super) fn said(headers: &HeaderMap) -> Baggage {
    headers.get(BAGGAGE).map(|value| baggage::hear(value.as_bytes())).unwrap_or_default()
}

/// The answer that opens the connection.
pub(super) fn accepted(identity: &Identity, workload: &str) -> Response<()> {
    let mut response = answer(StatusCode::OK);
    if let Ok(said) = HeaderValue::from_str(&baggage::say(identity, workload)) {
        response.headers_mut().insert(BAGGAGE, said);
    }
    response
}

/// An answer without anything in it.
pub(super) fn answer(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}

/// The first element's `for` parameter, if it is an address with a port.
fn forwarded_for(value: &[u8]) -> Option<SocketAddr> {
    let first = std::str::from_utf8(value).ok()?.split(',').next()?;
    let node = first.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    })?;
    node.trim_matches('"').parse().ok()
}

/// The client as the app is to see it: its address is the tunnel's, which the network vouches for as well as it does in plain
/// text; its port is what it says, so that two connections through one tunnel differ.
pub(super) fn client(tunnel: SocketAddr, forwarded_for: Option<SocketAddr>) -> ClientAddr {
    let same = |address: IpAddr| address.to_canonical() == tunnel.ip();
    let port = forwarded_for
        .filter(|said| same(said.ip()) && said.port() != 0)
        .map_or(tunnel.port(), |said| said.port());
    ClientAddr(SocketAddr::new(tunnel.ip(), port))
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(authority: &str) -> Request<()> {
        Request::builder()
            .method(Method::CONNECT)
            .uri(Uri::builder().authority(authority).build().unwrap())
            .body(())
            .unwrap()
    }

    #[test]
    fn a_request_is_read_as_it_was_meant() {
        let source: Identity = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        for target in ["10.0.0.9:80", "[fd00::9]:80"] {
            let target = OriginalDst(target.parse().unwrap());
            let client = ClientAddr("10.0.0.5:40000".parse().unwrap());
            let trace = TraceParent::from_random([1; 16], [2; 8]);
            let read = read(&request(target, client, trace, &source, "web-0").unwrap()).unwrap();
            assert_eq!((read.target, read.trace, read.forwarded_for), (target, trace, Some(client.0)));
            assert_eq!(read.baggage.workload.as_deref(), Some("web-0"));
        }
    }

    #[test]
    fn what_is_no_connect_to_an_address_is_refused() {
        for authority in [
            "db.shop:80",
            "10.0.0.9",
            "10.0.0.9:0",
            "10.0.0.9:65536",
            "10.0.0.9:+80",
            "user@10.0.0.9:80",
            "0x0a.0.0.9:80",
            "010.0.0.9:80",
        ] {
            assert!(read(&connect(authority)).is_err(), "{authority}");
        }
        let get = Request::builder().uri("https://10.0.0.9:80/").body(()).unwrap();
        assert!(read(&get).unwrap_err().contains("found GET"));
    }

    #[test]
    fn only_the_port_of_a_forwarded_client_is_believed_and_only_at_the_tunnels_address() {
        let tunnel = "10.0.0.5:50000".parse().unwrap();
        let seen = |forwarded: &str| client(tunnel, forwarded_for(forwarded.as_bytes())).to_string();
        assert_eq!(seen("for=\"10.0.0.5:40000\""), "10.0.0.5:40000");
        assert_eq!(seen("host=db;For=\"10.0.0.5:40000\";proto=tcp, for=1.1.1.1:1"), "10.0.0.5:40000");
        for other in
            ["for=\"10.0.0.6:40000\"", "for=10.0.0.5", "for=_hidden", "for=\"10.0.0.5:0\"", "", "for"]
        {
            assert_eq!(seen(other), "10.0.0.5:50000", "{other}");
        }
    }
}
