//! What we add to requests, and answer ourselves.

use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

use super::body::Download;
use super::telling::{REQUEST_ID, Telling};
use crate::model::{Flag, RequestKind};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Gives a request an `x-request-id` if it has none: random, in the form of a UUID of version 4 (RFC 9562, section 5.4).
pub(super) fn identify(headers: &mut HeaderMap) {
    if headers.contains_key(REQUEST_ID) {
        return;
    }
    let random = fastrand::u128(..) & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let mut text = [0; 36];
    let mut digits = (0..32).rev();
    for (at, byte) in text.iter_mut().enumerate() {
        *byte = match at {
            8 | 13 | 18 | 23 => b'-',
            _ => {
                let shift = digits.next().map_or(0, |digit| digit * 4);
                b"0123456789abcdef"[(random >> shift) as usize & 0xf]
            }
        };
    }
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.insert(REQUEST_ID, value);
    }
}

/// How a client is told of `flag`.
pub(super) const fn meaning(flag: Flag) -> (StatusCode, &'static str) {
    match flag {
        Flag::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, "the upstream did not answer in time"),
        Flag::UpstreamFailure => (StatusCode::SERVICE_UNAVAILABLE, "the upstream could not be reached"),
        Flag::UpstreamGone | Flag::UpstreamReset => {
            (StatusCode::BAD_GATEWAY, "the upstream ended the connection before its answer")
        }
        Flag::UpstreamProtocol => {
            (StatusCode::BAD_GATEWAY, "the upstream's answer is no HTTP that can be passed on")
        }
        Flag::NoHealthyUpstream => (StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream"),
        Flag::NoRoute => (StatusCode::NOT_FOUND, "no route matches"),
        Flag::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "too many requests"),
        Flag::Denied => (StatusCode::FORBIDDEN, "access denied"),
        Flag::DownstreamGone | Flag::DownstreamProtocol => {
            (StatusCode::BAD_REQUEST, "the request was not whole")
        }
        Flag::Overflow | Flag::RetriesExhausted | Flag::IdleTimeout => {
            (StatusCode::SERVICE_UNAVAILABLE, "the request could not be served")
        }
    }
}

/// Answers `status` with a short text, or as gRPC expects it (gRPC over HTTP/2, "Responses"), and tells it.
pub(super) fn refuse(
    mut telling: Telling,
    version: Version,
    status: StatusCode,
    text: &'static str,
) -> Response<Download> {
    if telling.kind() == RequestKind::Grpc && version == Version::HTTP_2 {
        let code = grpc_status(status);
        telling.answered_ourselves(StatusCode::OK, Some(code));
        let mut response = Response::new(Download::own("", Some(telling)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(code));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(text));
        return response;
    }
    telling.answered_ourselves(status, None);
    let mut response = Response::new(Download::own(text, Some(telling)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if version != Version::HTTP_2 && status.is_client_error() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The status of gRPC for one of HTTP (gRPC's "HTTP to gRPC Status Code Mapping").
const fn grpc_status(status: StatusCode) -> u16 {
    match status {
        StatusCode::BAD_REQUEST => 13,
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::NOT_FOUND => 12,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_identified_once() {
        let mut headers = HeaderMap::new();
        identify(&mut headers);
        let first = headers[REQUEST_ID].clone();
        let text = first.to_str().unwrap();
        let groups: Vec<_> = text.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{text}");
        assert!(text[14..].starts_with('4') && matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
        identify(&mut headers);
        assert_eq!(headers[REQUEST_ID], first);
    }
}
