//! A request of HTTP/2 for an app that speaks HTTP/1.1 (RFC 9113, section 8.3.1 and 8.2.3).

use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::{HeaderValue, Request, Uri, Version};

use crate::model::Protocol;

/// Makes a request one of the protocol that is spoken with whoever gets it.
pub(super) fn adapt<B>(request: &mut Request<B>, spoken: Protocol) {
    if request.version() != Version::HTTP_2 || spoken != Protocol::Http1 {
        return;
    }
    *request.version_mut() = Version::HTTP_11;
    if !request.headers().contains_key(HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    if let Some(target) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(target);
    }
}

/// Makes one field of the cookies of a request of HTTP/2, which they are parts of (RFC 9113, section 8.2.3): whoever compares
/// them sees what an app of HTTP/1.1 will.
pub(super) fn join_cookies(request: &mut Parts) {
    let crumbs: Vec<&[u8]> = request.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if request.version == Version::HTTP_2
        && crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        request.headers.insert(COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_http2_becomes_one_of_http1() {
        let request = Request::builder()
            .version(Version::HTTP_2)
            .uri("https://web.example.com:8443/a?b=c")
            .header(COOKIE, "a=1")
            .header(COOKIE, "b=2")
            .body(())
            .unwrap();
        let (mut parts, ()) = request.into_parts();
        join_cookies(&mut parts);
        assert_eq!(parts.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        let mut request = Request::from_parts(parts, ());
        adapt(&mut request, Protocol::Http2);
        assert_eq!(request.version(), Version::HTTP_2);
        adapt(&mut request, Protocol::Http1);
        assert_eq!((request.version(), request.uri().to_string().as_str()), (Version::HTTP_11, "/a?b=c"));
        assert_eq!(request.headers()[HOST], "web.example.com:8443");
    }
}
