//! Fields that concern one connection and are not passed on (RFC 9110, section 7.6.1).

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::upgrade::Wish;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fields that frame a message or say where it goes: whoever names them in Connection wants two parsers to differ.
const KEPT: [HeaderName; 3] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING];

/// Whether Connection names a field that it must not.
pub(super) fn names_framing(headers: &HeaderMap) -> bool {
    named(headers).any(|name| KEPT.contains(&name))
}

/// Removes what is not passed on; an upgrade that is wished for stays.
///
/// Transfer-Encoding stays in both directions: it is how the body is framed, which is what the next connection is told anew.
pub(super) fn strip_request(headers: &mut HeaderMap, wish: Wish) {
    let trailers = headers.get_all(TE).iter().any(|value| has_token(value, "trailers"));
    strip(headers, wish == Wish::Upgrade);
    if headers.contains_key(TE) || trailers {
        headers.remove(TE);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
    if wish == Wish::Upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
}

/// Whether an answer says in one way only how its body is framed. Of a Content-Length beside a Transfer-Encoding two parsers
/// may take either (RFC 9112, section 6.3), and `chunked, identity` would be framed again (section 6.1).
pub(super) fn frames_once(headers: &HeaderMap) -> bool {
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        return false;
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first =
        codings.next().is_none_or(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    first && codings.next().is_none()
}

/// Removes what is not passed on.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    strip(headers, false);
}

fn strip(headers: &mut HeaderMap, keep_upgrade: bool) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = named(headers).collect();
        for name in named {
            if !(KEPT.contains(&name) || keep_upgrade && name == UPGRADE || name == TE) {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    if !keep_upgrade {
        headers.remove(UPGRADE);
    }
}

/// The fields that Connection names.
fn named(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> + '_ {
    let values = headers.get_all(CONNECTION).iter();
    values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

fn has_token(value: &HeaderValue, token: &str) -> bool {
    value
        .as_bytes()
        .split(|&byte| byte == b',')
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        fields.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn what_concerns_one_connection_is_not_passed_on() {
        let mut fields = headers(&[
            ("connection", "close, X-Mine"),
            ("connection", "te"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("te", "gzip, trailers;q=0.5"),
            ("te", "trailers"),
            ("x-other", "2"),
        ]);
        strip_request(&mut fields, Wish::Answer);
        assert_eq!(fields, headers(&[("te", "trailers"), ("x-other", "2")]));
    }

    #[test]
    fn an_upgrade_that_is_wished_for_stays() {
        let mut fields = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        strip_request(&mut fields, Wish::Upgrade);
        assert_eq!(fields, headers(&[("upgrade", "websocket"), ("connection", "Upgrade")]));
    }

    #[test]
    fn an_answer_is_framed_once_or_not_at_all() {
        let framed = |values: &[&'static str]| {
            let fields: Vec<_> = values.iter().map(|&value| ("transfer-encoding", value)).collect();
            frames_once(&headers(&fields))
        };
        assert!(framed(&[]) && framed(&["chunked"]) && framed(&["Chunked"]));
        for values in [&["chunked, identity"][..], &["identity"], &["gzip, chunked"], &["chunked", "chunked"]]
        {
            assert!(!framed(values), "{values:?}");
        }
        assert!(!frames_once(&headers(&[("transfer-encoding", "chunked"), ("content-length", "5")])));
    }

    #[test]
    fn framing_cannot_be_named_away() {
        for name in ["content-length", "Transfer-Encoding", "HOST"] {
            assert!(names_framing(&headers(&[("connection", name)])), "{name}");
        }
        assert!(!names_framing(&headers(&[("connection", "close, x")])));
        let mut answer = headers(&[("connection", "content-length"), ("content-length", "5")]);
        strip_answer(&mut answer);
        assert_eq!(answer, headers(&[("content-length", "5")]));
    }
}
