//! What the first bytes of a connection say is spoken on it.
//!
//! Pure. It decides as early as the bytes allow and waits for no more than one line. What calls itself HTTP/1 in its first
//! line is HTTP, and so is what asks for a target as only HTTP does, however badly that line is written: whether it may be
//! forwarded is decided by whoever parses it, and what a lenient server might take for a request must not pass unseen.

use std::io::Cursor;

use rustls::server::Acceptor;

/// How many bytes are looked at. A first line that is longer and could still be a request is taken for one.
pub const WINDOW: usize = 16 << 10;

/// The client connection preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest method that is taken for one.
const LONGEST_METHOD: usize = 64;

/// Methods that mean HTTP with what stands behind them (RFC 9110, section 9.3; RFC 5789).
const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"];

/// How a target begins that says where it is.
const SCHEMES: [&[u8]; 2] = [b"http://", b"https://"];

/// The target of a request that is about no resource, with what tells it from the same of RTSP.
const ANYTHING: &[u8] = b"* HTTP/";

/// What first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A request line of HTTP/1.
    Http1,
    /// The preface of HTTP/2.
    Http2,
    /// A TLS handshake (RFC 8446, section 5.1).
    Tls,
    /// None of these.
    Opaque,
    /// It may still become one.
    Undecided,
}

/// Looks at the first bytes that a client sent.
#[must_use]
pub fn look(bytes: &[u8]) -> Seen {
    if bytes.starts_with(PREFACE) {
        return Seen::Http2;
    }
    if PREFACE.starts_with(bytes) {
        return Seen::Undecided;
    }
    match bytes {
        [0x16] => Seen::Undecided,
        [0x16, 0x03, ..] => Seen::Tls,
        _ => line(bytes),
    }
}

/// What undecided bytes are taken for if no more of them come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaning {
    /// A request: what is missing is only the rest of its line.
    Request,
    /// What a request begins with, and hardly anything else.
    Beginning,
    /// Nothing in particular.
    #[default]
    Neither,
}

/// What bytes lean to that [`look`] cannot decide yet: whoever sends a request slowly is not to pass unseen.
#[must_use]
pub fn lean(bytes: &[u8]) -> Leaning {
    if bytes.is_empty() {
        return Leaning::Neither;
    }
    if PREFACE.starts_with(bytes) {
        return Leaning::Beginning;
    }
    let text = behind_empty_lines(bytes);
    if !text.is_empty() && METHODS.iter().any(|method| method.starts_with(text)) {
        return Leaning::Beginning;
    }
    let (method, target) = split(text);
    let known = METHODS.contains(&method);
    if target.is_empty() || !known && !method.iter().all(u8::is_ascii_uppercase) {
        return Leaning::Neither;
    }
    let target = target.trim_ascii_start();
    match target {
        _ if names_target(method, target) => Leaning::Request,
        [] if known => Leaning::Beginning,
        _ if known && SCHEMES.iter().any(|scheme| scheme.starts_with(target)) => Leaning::Beginning,
        _ if method == b"OPTIONS" && ANYTHING.starts_with(target) => Leaning::Beginning,
        [b'[' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z', ..] if method == b"CONNECT" => Leaning::Beginning,
        _ => Leaning::Neither,
    }
}

/// A server ignores an empty line in front of a request (RFC 9112, section 2.2).
fn behind_empty_lines(bytes: &[u8]) -> &[u8] {
    let empty = bytes.iter().take(4).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    &bytes[empty..]
}

/// Looks for a request line.
fn line(bytes: &[u8]) -> Seen {
    let bytes = behind_empty_lines(bytes);
    let end = bytes.iter().position(|&byte| byte < b' ' && byte != b'\t' || byte == 0x7f);
    let text = &bytes[..end.unwrap_or(bytes.len())];
    let method = text.iter().take_while(|&&byte| is_token(byte)).count();
    if method > LONGEST_METHOD || method == 0 && !text.is_empty() {
        return Seen::Opaque;
    }
    match text.get(method) {
        Some(b' ' | b'\t') if names_version(&text[method..]) => return Seen::Http1,
        Some(b' ' | b'\t') | None => {}
        Some(_) => return Seen::Opaque,
    }
    match end {
        // A line that has ended, or something that is no text.
        Some(_) if asks(text) && !names_another(text) => Seen::Http1,
        Some(_) => Seen::Opaque,
        None if bytes.len() >= WINDOW => Seen::Http1,
        None => Seen::Undecided,
    }
}

/// A method and what stands behind it.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|&&byte| is_token(byte)).count())
}

/// Whether a line begins as those of other protocols do not, although they know the same words.
fn asks(text: &[u8]) -> bool {
    let (method, target) = split(text);
    METHODS.contains(&method)
        && target.starts_with(b" ") | target.starts_with(b"\t")
        && names_target(method, target.trim_ascii_start())
}

/// Whether what stands behind a method is a target of HTTP.
fn names_target(method: &[u8], target: &[u8]) -> bool {
    target.starts_with(b"/")
        || SCHEMES.iter().any(|scheme| target.starts_with(scheme))
        || method == b"OPTIONS" && target.starts_with(ANYTHING)
}

/// Whether a line ends with the version of a protocol that took its requests over from HTTP (RFC 7826, RFC 3261).
fn names_another(text: &[u8]) -> bool {
    let last = text.trim_ascii_end().rsplit(|&byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
    [&b"RTSP/"[..], b"SIP/"].iter().any(|name| last.starts_with(name))
}

/// Whether `HTTP/1.` and a digit stand behind a blank.
fn names_version(text: &[u8]) -> bool {
    const VERSION: &[u8] = b"HTTP/1.";
    text.windows(VERSION.len() + 2).any(|window| {
        matches!(window[0], b' ' | b'\t')
            && window[1..].starts_with(VERSION)
            && window[VERSION.len() + 1].is_ascii_digit()
    })
}

/// `tchar` (RFC 9110, section 5.6.2).
pub(super) const fn is_token(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
        || byte.is_ascii_alphanumeric()
}

/// The server name in a `ClientHello` of which `bytes` are the beginning; `None` if it has none, is not whole, or is none.
#[must_use]
pub fn server_name(bytes: &[u8]) -> Option<Box<str>> {
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut Cursor::new(bytes)).ok()?;
    let accepted = acceptor.accept().ok()??;
    accepted.client_hello().server_name().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_calls_itself_http_is_http() {
        for text in [
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.0",
            "OPTIONS * HTTP/1.1\n",
            "CONNECT db:5432 HTTP/1.1\r\n",
            "M-SEARCH * HTTP/1.1\r\n",
            "\r\nGET / HTTP/1.1\r\n",
            "get http://a/ HTTP/1.1\r\n",
            // Refused later, but never relayed unseen.
            "GET  / HTTP/1.1\r\n",
            "GET\t/ HTTP/1.1\r\n",
            "GET /a b HTTP/1.1\r\n",
            "GET / HTTP/1.1 \r\n",
            "GET /\r\n",
            "GET /x\r\n",
            "GET /x \n",
            "GET /x HTTP/2.0\r\n",
            "GET /x http/1.1\r\n",
            "GET /x\0b HTTP/1.1\r\n",
            "GET /x\rb HTTP/1.1\r\n",
            "DELETE https://a/ HTTP/3\r\n",
            "OPTIONS * HTTP/2\r\n",
            "\r\nPATCH \t/x\r\n",
        ] {
            assert_eq!(look(text.as_bytes()), Seen::Http1, "{text:?}");
        }
        assert_eq!(look(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0"), Seen::Http2);
        assert_eq!(look(&[0x16, 0x03, 0x01, 0x02]), Seen::Tls);
    }

    #[test]
    fn other_protocols_are_opaque_at_the_end_of_their_first_line_at_the_latest() {
        let binary: [&[u8]; 6] = [
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\x10\x25\0\x04MQTT",
            b"\x80\0\0\0",
            b"\x03\0\0\x13\x0e",
            b"\x16\x02",
            b"GET\0/ HTTP/1.1",
        ];
        for bytes in binary {
            assert_eq!(look(bytes), Seen::Opaque, "{bytes:?}");
        }
        for text in [
            "PING\r\n",
            "*1\r\n$4\r\nPING\r\n",
            "GET foo\r\n",
            "get foo\r\n",
            "get /foo\r\n",
            "SET /foo bar\r\n",
            "OPTIONS * RTSP/1.0\r\n",
            "OPTIONS rtsp://a/ RTSP/2.0\r\n",
            "OPTIONS /a RTSP/1.0\r\n",
            "OPTIONS sip:bob@example.com SIP/2.0\r\n",
            "CONNECT {\"verbose\":false}\r\n",
            "TRACE irc.example.com\r\n",
            "GE:T /x HTTP/1.1\r\n",
            " GET /x HTTP/1.1\r\n",
            "INVITE sip:bob@example.com SIP/2.0\r\n",
            "NICK somebody\r\n",
            "EHLO client.example.com\r\n",
            "SSH-2.0-OpenSSH_9.9\r\n",
            "CONNECT\n",
            "<?xml",
            "{\"a\":",
            "PRI * HTTP/2.0\r\n\r\nXX",
        ] {
            assert_eq!(look(text.as_bytes()), Seen::Opaque, "{text:?}");
        }
    }

    #[test]
    fn every_beginning_of_a_request_line_may_still_become_one() {
        for whole in ["GET /some/path?query HTTP/1", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r", "\r\nPOST / HTT"] {
            for length in 0..=whole.len() {
                assert_eq!(look(&whole.as_bytes()[..length]), Seen::Undecided, "{:?}", &whole[..length]);
            }
        }
    }

    #[test]
    fn what_stops_within_a_request_leans_to_one() {
        for text in ["GET /", "\r\nPOST\t/x HTT", "GET http://a", "PROPFIND /x", "GET / RTSP/1"] {
            assert_eq!(
                (look(text.as_bytes()), lean(text.as_bytes())),
                (Seen::Undecided, Leaning::Request),
                "{text:?}"
            );
        }
        for text in ["G", "P", "PRI * HT", "GET", "\r\nDEL", "GET ", "GET htt", "OPTIONS * H", "CONNECT db:5"]
        {
            assert_eq!(
                (look(text.as_bytes()), lean(text.as_bytes())),
                (Seen::Undecided, Leaning::Beginning),
                "{text:?}"
            );
        }
        for text in
            ["", "\r\n", "PING", "GET foo", "get /foo", "OPTIONS * R", "OPTIONS rtsp:", "CONNECT {", "FOO"]
        {
            assert_eq!(
                (look(text.as_bytes()), lean(text.as_bytes())),
                (Seen::Undecided, Leaning::Neither),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_line_that_does_not_end_is_taken_for_a_request() {
        let mut long = b"GET /".to_vec();
        long.resize(WINDOW, b'a');
        assert_eq!(look(&long), Seen::Http1);
        assert_eq!(look(&[b'a'; LONGEST_METHOD + 1]), Seen::Opaque);
    }

    #[test]
    fn a_server_name_is_read_from_a_whole_client_hello() {
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = "db.example.com".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        assert_eq!(look(&hello), Seen::Tls);
        assert_eq!(server_name(&hello).as_deref(), Some("db.example.com"));
        assert_eq!(server_name(&hello[..40]), None);
        assert_eq!(server_name(b"\x16\x03\x01\x00\x01\xff"), None);
    }
}
