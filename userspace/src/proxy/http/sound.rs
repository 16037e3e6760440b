//! Whether a request that could be parsed means the same to everybody: what [`super::heads`] cannot see in one line.

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{Method, StatusCode, Version};

use super::hops;

/// Why a request is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsound {
    pub(super) status: StatusCode,
    pub(super) message: &'static str,
}

/// Looks at a request's head.
pub(super) fn check(parts: &Parts) -> Result<(), Unsound> {
    let bad = |message| Err(Unsound { status: StatusCode::BAD_REQUEST, message });
    if parts.method == Method::CONNECT && parts.version == Version::HTTP_2 {
        // A stream of bytes beside requests: nobody behind us would expect it.
        return Err(Unsound {
            status: StatusCode::NOT_IMPLEMENTED,
            message: "CONNECT is not offered over HTTP/2",
        });
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return bad("expected one Host, found several");
    }
    if let Some(host) = host {
        let Ok(text) = host.to_str() else {
            return bad("expected a host and a port as Host, found something else");
        };
        let sound = text.is_empty() || !text.contains(['@', ',']) && Authority::try_from(text).is_ok();
        if !sound {
            return bad("expected a host and a port as Host, found something else");
        }
        // A proxy is to ignore Host beside an absolute target (RFC 9112, section 3.2.2): others look at nothing else.
        if parts.method != Method::CONNECT
            && let Some(authority) = parts.uri.authority()
            && !authority.as_str().eq_ignore_ascii_case(text)
        {
            return bad("expected the host of the target as Host, found another");
        }
    }
    if parts.uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return bad("expected a target without user information, found some");
    }
    if hops::names_framing(&parts.headers) {
        return bad(
            "expected Connection to name fields of this connection, found one that frames the message",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn status(request: http::request::Builder) -> Option<u16> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts).err().map(|unsound| unsound.status.as_u16())
    }

    #[test]
    fn a_host_is_one_and_the_targets() {
        let to = |uri: &str| Request::builder().uri(uri);
        assert_eq!(status(to("/").header("host", "a:80")), None);
        assert_eq!(status(to("/").header("host", "")), None);
        assert_eq!(status(to("/").header("host", "[fd00::1]:80")), None);
        assert_eq!(status(to("http://A/").header("host", "a")), None);
        assert_eq!(status(to("http://a/").header("host", "b")), Some(400));
        assert_eq!(status(to("/").header("host", "a").header("host", "a")), Some(400));
        for bad in ["a b", "a/b", "user@a", "a,b", "http://a", "a\u{e4}"] {
            assert_eq!(status(to("/").header("host", bad)), Some(400), "{bad}");
        }
        assert_eq!(status(to("/").header("connection", "close, content-length")), Some(400));
        let connect = to("a:1").method("CONNECT");
        assert_eq!(status(connect.version(Version::HTTP_2)), Some(501));
    }
}
