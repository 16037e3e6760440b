//! Where a message of HTTP/1.1 ends (RFC 9112, section 6): after its head and as many bytes as `Content-Length` says.

use anyhow::{Context, Result, bail, ensure};
use httparse::{EMPTY_HEADER, Header, Request, Response, Status};

/// More header fields than any proxy adds.
const FIELDS: usize = 64;
/// A message that is longer is not one of ours.
const LONGEST: usize = 64 * 1024;

/// The length of the request that the bytes begin with; none if it is not all there yet.
pub(super) fn request(bytes: &[u8]) -> Result<Option<usize>> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut request = Request::new(&mut fields);
    let Status::Complete(head) = request.parse(bytes).context("read a request")? else { return Ok(None) };
    // Without a length a request has no body.
    let body = content_length(request.headers)?.unwrap_or(0);
    whole(bytes, head, body)
}

/// The length of the response that the bytes begin with; none if it is not all there yet. Only success is a response.
pub(super) fn response(bytes: &[u8]) -> Result<Option<usize>> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut response = Response::new(&mut fields);
    let Status::Complete(head) = response.parse(bytes).context("read a response")? else { return Ok(None) };
    ensure!(response.code == Some(200), "expected status 200, found {:?}", response.code.unwrap_or(0));
    // Without a length a response would end with its connection, which is to stay.
    let body = content_length(response.headers)?.context("expected a Content-Length, found none")?;
    whole(bytes, head, body)
}

fn whole(bytes: &[u8], head: usize, body: usize) -> Result<Option<usize>> {
    let length = head.saturating_add(body);
    ensure!(length <= LONGEST, "expected a message of at most {LONGEST} bytes, found {length}");
    Ok((bytes.len() >= length).then_some(length))
}

fn content_length(fields: &[Header<'_>]) -> Result<Option<usize>> {
    let mut found = None;
    for field in fields {
        if field.name.eq_ignore_ascii_case("Transfer-Encoding") {
            bail!("expected a Content-Length, found a Transfer-Encoding");
        }
        if field.name.eq_ignore_ascii_case("Content-Length") {
            let text = std::str::from_utf8(field.value).unwrap_or("?");
            found = Some(text.parse().with_context(|| format!("read the Content-Length {text:?}"))?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_with_its_body_and_not_before() {
        let whole = b"POST /a HTTP/1.1\r\nHost: x\r\ncontent-length: 5\r\n\r\nhello";
        for length in 0..whole.len() {
            assert_eq!(request(&whole[..length]).unwrap(), None, "after {length} bytes");
        }
        assert_eq!(request(whole).unwrap(), Some(whole.len()));
        assert_eq!(request(&[whole.as_slice(), b"GET"].concat()).unwrap(), Some(whole.len()));
        assert_eq!(request(b"GET / HTTP/1.1\r\n\r\n").unwrap(), Some(18));
    }

    #[test]
    fn a_response_may_have_more_in_its_head_than_the_server_said() {
        let text = b"HTTP/1.1 200 OK\r\nserver: envoy\r\nx-envoy-upstream-service-time: 0\r\n\
                     content-length: 2\r\n\r\nhi";
        assert_eq!(response(text).unwrap(), Some(text.len()));
    }

    #[test]
    fn anything_but_success_is_an_error() {
        for (text, complaint) in [
            ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "found 503"),
            ("HTTP/1.1 200 OK\r\n\r\n", "found none"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "found a Transfer-Encoding"),
            ("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "\"many\""),
            ("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", "found 1000"),
            ("SSH-2.0-OpenSSH\r\n\r\n", "read a response"),
        ] {
            let error = response(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(complaint), "{text:?}: {error}");
        }
    }
}
