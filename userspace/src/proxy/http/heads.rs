//! A strict look at every head that a client sends over HTTP/1, before the parser sees it.
//!
//! The parser is lenient where two parsers may well differ: it takes a bare LF for the end of a line, and of a
//! Content-Length beside a Transfer-Encoding it keeps what it likes and shows nothing of the other. Whoever stands in front
//! or behind may have understood something else, which is what request smuggling is made of (RFC 9112, section 11.2). So what is
//! not written as RFC 9112 says is refused here, and what passes means the same to everybody.
//!
//! Pure: bytes in, at most one [`Violation`] out. It frames bodies to find the next head, and looks at nothing within them.

use std::fmt;

use super::detect::is_token;

/// What is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A line that does not end with CR LF, or a CR or another control character within one.
    Line,
    /// A request line that is not `method target HTTP/1.x`.
    RequestLine,
    /// A field line that is not `name: value`, or is folded.
    Field,
    /// A Content-Length that is no number, or is there twice with different values.
    ContentLength,
    /// A Transfer-Encoding other than one `chunked`.
    TransferEncoding,
    /// Content-Length and Transfer-Encoding in one head.
    TwoFramings,
    /// Transfer-Encoding in a request of HTTP/1.0.
    ChunkedInHttp10,
    /// No Host, or more than one.
    Host,
    /// A chunk that is not framed as it should be.
    Chunk,
    /// A trailer that means something only in a head.
    Trailer,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Line => "expected lines that end with CR LF and have no control characters, found another",
            Self::RequestLine => "expected a request line such as `GET / HTTP/1.1`, found another line",
            Self::Field => "expected fields such as `name: value`, each in one line, found another line",
            Self::ContentLength => "expected one Content-Length that is a number, found something else",
            Self::TransferEncoding => "expected no Transfer-Encoding but one `chunked`, found another",
            Self::TwoFramings => "expected Content-Length or Transfer-Encoding, found both",
            Self::ChunkedInHttp10 => "expected no Transfer-Encoding in a request of HTTP/1.0, found one",
            Self::Host => "expected one Host, found none or several",
            Self::Chunk => "expected chunks framed by their sizes, found something else",
            Self::Trailer => "expected trailers that do not frame a message, found one that does",
        })
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    RequestLine,
    Field,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    /// Nothing is framed as HTTP any more.
    Raw,
    /// There was a violation.
    Nothing,
}

/// Follows the heads of one connection.
#[derive(Debug)]
pub struct Heads {
    next: Next,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    head: Head,
    begun: u64,
    /// Empty lines in front of the head that comes.
    empty: u32,
}

/// What is known of a head that is not whole.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    http10: bool,
    connect: bool,
    upgrade: bool,
    /// An Upgrade field names what requests could hide behind.
    hidden: bool,
    chunked: bool,
    hosts: u32,
    length: Option<u64>,
}

/// Empty lines that are allowed in front of a head (RFC 9112, section 2.2).
const EMPTY_LINES: u32 = 2;
/// Digits of a chunk's size.
const CHUNK_DIGITS: usize = 15;
/// Digits of a Content-Length.
const LENGTH_DIGITS: usize = 18;

impl Default for Heads {
    fn default() -> Self {
        Self { next: Next::RequestLine, partial: Vec::new(), head: Head::default(), begun: 0, empty: 0 }
    }
}

impl Heads {
    /// Follows the next `bytes`.
    ///
    /// # Errors
    /// How many of them come before a violation, and which it is. From then on there is nothing to follow.
    pub fn inspect(&mut self, bytes: &[u8]) -> Result<(), (usize, Violation)> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.next {
                Next::Raw => return Ok(()),
                Next::Nothing => return Err((at, Violation::Line)),
                Next::Body(left) | Next::Chunk(left) => {
                    let taken = (*left).min(rest.len() as u64);
                    *left -= taken;
                    at += taken as usize;
                    self.next = match self.next {
                        Next::Body(0) => Next::RequestLine,
                        Next::Chunk(0) => Next::ChunkEnd,
                        within => within,
                    };
                }
                _ => {
                    if self.next == Next::RequestLine && self.partial.is_empty() && self.empty == 0 {
                        self.begun += 1;
                    }
                    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                        self.partial.extend_from_slice(rest);
                        return Ok(());
                    };
                    let followed = if self.partial.is_empty() {
                        self.line(&rest[..=end])
                    } else {
                        let mut whole = std::mem::take(&mut self.partial);
                        whole.extend_from_slice(&rest[..=end]);
                        self.line(&whole)
                    };
                    if let Err(violation) = followed {
                        self.next = Next::Nothing;
                        return Err((at, violation));
                    }
                    at += end + 1;
                }
            }
        }
        Ok(())
    }

    /// How many heads have begun.
    #[must_use]
    pub const fn begun(&self) -> u64 {
        self.begun
    }

    /// Whether a head has begun and is not whole.
    #[must_use]
    pub const fn within(&self) -> bool {
        match self.next {
            Next::Field => true,
            Next::RequestLine => !self.partial.is_empty() || self.empty > 0,
            _ => false,
        }
    }

    /// Whether the next byte would be the first of a head.
    #[must_use]
    pub const fn between(&self) -> bool {
        matches!(self.next, Next::RequestLine) && self.partial.is_empty()
    }

    /// Whether there was a violation.
    #[must_use]
    pub const fn violated(&self) -> bool {
        matches!(self.next, Next::Nothing)
    }

    /// Follows a line with its end.
    fn line(&mut self, line: &[u8]) -> Result<(), Violation> {
        let text = line.strip_suffix(b"\r\n").ok_or(Violation::Line)?;
        if text.iter().any(|&byte| byte < b' ' && byte != b'\t' || byte == 0x7f) {
            return Err(Violation::Line);
        }
        self.next = match self.next {
            Next::RequestLine if text.is_empty() => {
                self.empty += 1;
                if self.empty > EMPTY_LINES {
                    return Err(Violation::RequestLine);
                }
                Next::RequestLine
            }
            Next::RequestLine => {
                self.empty = 0;
                self.head = Head::of(text).ok_or(Violation::RequestLine)?;
                Next::Field
            }
            Next::Field if text.is_empty() => self.head.end()?,
            Next::Field => {
                self.head.field(text)?;
                Next::Field
            }
            Next::ChunkSize => match chunk_size(text).ok_or(Violation::Chunk)? {
                0 => Next::Trailer,
                size => Next::Chunk(size),
            },
            Next::ChunkEnd if text.is_empty() => Next::ChunkSize,
            Next::ChunkEnd => return Err(Violation::Chunk),
            Next::Trailer if text.is_empty() => Next::RequestLine,
            Next::Trailer => {
                let (name, _) = split(text)?;
                let framing: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];
                if framing.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
                    return Err(Violation::Trailer);
                }
                Next::Trailer
            }
            Next::Body(_) | Next::Chunk(_) | Next::Raw | Next::Nothing => self.next,
        };
        Ok(())
    }
}

impl Head {
    /// Reads a request line (RFC 9112, section 3).
    fn of(line: &[u8]) -> Option<Self> {
        let mut parts = line.split(|&byte| byte == b' ');
        let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
        let http10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return None,
        };
        let sound = parts.next().is_none()
            && !method.is_empty()
            && method.iter().all(|&byte| is_token(byte))
            && !target.is_empty()
            && target.iter().all(|&byte| matches!(byte, 0x21..=0x7e));
        sound.then_some(Self { http10, connect: method == b"CONNECT", ..Self::default() })
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Violation> {
        let (name, value) = split(line)?;
        // Most names are told apart by their length.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                if self.hosts > 1 {
                    return Err(Violation::Host);
                }
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade |= is_upgrade(value);
                self.hidden |= hides_requests(value);
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = number(value, 10, LENGTH_DIGITS).ok_or(Violation::ContentLength)?;
                if self.length.is_some_and(|other| other != length) {
                    return Err(Violation::ContentLength);
                }
                self.length = Some(length);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::TransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// What comes behind the head.
    fn end(self) -> Result<Next, Violation> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Violation::TwoFramings),
            (true, None) if self.http10 => Err(Violation::ChunkedInHttp10),
            _ if self.hosts == 0 && !self.http10 => Err(Violation::Host),
            (true, None) => Ok(Next::ChunkSize),
            (false, Some(length)) if length > 0 => Ok(Next::Body(length)),
            // What comes now is HTTP only if the answer says so, and we close the connection then.
            (false, _) if self.connect || self.upgrade && !self.hidden && !self.http10 => Ok(Next::Raw),
            (false, _) => Ok(Next::RequestLine),
        }
    }
}

/// Whether the value of an Upgrade field asks for anything.
pub(super) fn is_upgrade(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|protocol| !protocol.trim_ascii().is_empty())
}

/// Whether the value of an Upgrade field names what we take no part in, whatever else it names: behind HTTP/2 (RFC 9113 has
/// given that upgrade up) and TLS (RFC 2817) there would be requests that pass by whoever looks at those of HTTP/1.
pub(super) fn hides_requests(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|one| {
        let name = one.trim_ascii().split(|&byte| byte == b'/').next().unwrap_or_default().trim_ascii();
        ["h2c", "h2", "tls", "http"].iter().any(|hiding| name.eq_ignore_ascii_case(hiding.as_bytes()))
    })
}

/// Name and value of a field line (RFC 9112, section 5).
fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let colon = line.iter().position(|&byte| byte == b':').ok_or(Violation::Field)?;
    let name = &line[..colon];
    if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
        return Err(Violation::Field);
    }
    Ok((name, line[colon + 1..].trim_ascii()))
}

/// The size in front of a chunk (RFC 9112, section 7.1); extensions are passed over.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|&byte| byte == b';').next()?;
    number(size, 16, CHUNK_DIGITS)
}

/// A number of at most `most` digits and nothing else.
fn number(text: &[u8], radix: u32, most: usize) -> Option<u64> {
    if text.is_empty() || text.len() > most {
        return None;
    }
    text.iter().try_fold(0_u64, |number, &byte| {
        let digit = char::from(byte).to_digit(radix)?;
        Some(number * u64::from(radix) + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    fn all(text: &str) -> Result<u64, Violation> {
        let mut heads = Heads::default();
        let whole =
            heads.inspect(text.as_bytes()).map(|()| heads.begun()).map_err(|(_, violation)| violation);
        // However it is cut into pieces, it is the same.
        for size in [1, 2, 3, 7] {
            let mut heads = Heads::default();
            let pieces = text.as_bytes().chunks(size).try_for_each(|piece| heads.inspect(piece));
            assert_eq!(pieces.map(|()| heads.begun()).map_err(|(_, violation)| violation), whole, "{text:?}");
        }
        whole
    }

    #[test]
    fn what_is_written_as_it_should_be_passes() {
        let bodies = [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /".to_owned(),
            "POST / HTTP/1.1\r\nHost: a\r\ncontent-length:5\r\nContent-Length: 5\r\n\r\n\n\n\n\n\n".to_owned(),
            "POST / HTTP/1.1\r\nHost:\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\n\0\0\0\0\n\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n".to_owned(),
            "GET / HTTP/1.0\r\n\r\n".to_owned(),
            "\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\nX-Obs: \u{e4}\r\nEmpty:\r\n\r\n".to_owned(),
        ];
        for body in bodies {
            assert_eq!(all(&format!("{body}{GET}{GET}")), Ok(3), "{body:?}");
        }
    }

    #[test]
    fn nothing_is_followed_behind_an_upgrade() {
        let upgrade =
            "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x01\x02\n";
        assert_eq!(all(upgrade), Ok(1));
        assert_eq!(all("CONNECT db:1 HTTP/1.1\r\nHost: db:1\r\n\r\n\0\0"), Ok(1));
        let h2c = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade, http2-settings\r\n\r\n{GET}"
        );
        assert_eq!(all(&h2c), Ok(2), "an upgrade to HTTP/2 is not made");
        for also in ["h2c, websocket", "websocket\r\nUpgrade: h2c", "websocket, TLS/1.0"] {
            let beside = h2c.replace("Upgrade: h2c", &format!("Upgrade: {also}"));
            assert_eq!(all(&beside), Ok(2), "nor beside another: {also}");
        }
    }

    #[test]
    fn what_two_parsers_could_take_differently_is_refused() {
        let post = |fields: &str| all(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
        for (fields, violation) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", Violation::TwoFramings),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5", Violation::TwoFramings),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Violation::TransferEncoding),
            ("Transfer-Encoding: identity, chunked", Violation::TransferEncoding),
            ("Transfer-Encoding: xchunked", Violation::TransferEncoding),
            ("Transfer-Encoding: chunked, identity", Violation::TransferEncoding),
            ("Transfer-Encoding:\x0bchunked", Violation::Line),
            ("Transfer-Encoding : chunked", Violation::Field),
            ("Transfer-Encoding:\r\n chunked", Violation::TransferEncoding),
            ("X: a\r\n Transfer-Encoding: chunked", Violation::Field),
            ("Content-Length: 5\r\nContent-Length: 6", Violation::ContentLength),
            ("Content-Length: 5, 5", Violation::ContentLength),
            ("Content-Length: +5", Violation::ContentLength),
            ("Content-Length: 0x5", Violation::ContentLength),
            ("Content-Length: -1", Violation::ContentLength),
            ("Content-Length:", Violation::ContentLength),
            ("Content-Length: 99999999999999999999", Violation::ContentLength),
            ("Host: b", Violation::Host),
            ("X: a\nContent-Length: 5", Violation::Line),
            ("X: a\rContent-Length: 5", Violation::Line),
            ("X: a\0b", Violation::Line),
            ("no colon", Violation::Field),
            (": nameless", Violation::Field),
        ] {
            assert_eq!(post(fields), Err(violation), "{fields:?}");
        }
        for (text, violation) in [
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Violation::ChunkedInHttp10),
            ("GET / HTTP/1.1\r\n\r\n", Violation::Host),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", Violation::Line),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", Violation::Line),
            ("GET  / HTTP/1.1\r\n", Violation::RequestLine),
            ("GET /a b HTTP/1.1\r\n", Violation::RequestLine),
            ("GET / HTTP/1.2\r\n", Violation::RequestLine),
            ("GET / http/1.1\r\n", Violation::RequestLine),
            ("GET /\u{e4} HTTP/1.1\r\n", Violation::RequestLine),
            ("\r\n\r\n\r\n", Violation::RequestLine),
        ] {
            assert_eq!(all(text), Err(violation), "{text:?}");
        }
        let chunked = |chunks: &str| {
            all(&format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"))
        };
        for (chunks, violation) in [
            ("5\nhello\r\n", Violation::Line),
            ("5\r\nhelloX\r\n", Violation::Chunk),
            ("5\r\nhello\n0\r\n", Violation::Line),
            ("0x5\r\n", Violation::Chunk),
            ("5 \r\n", Violation::Chunk),
            ("-5\r\n", Violation::Chunk),
            ("\r\n", Violation::Chunk),
            ("ffffffffffffffffff\r\n", Violation::Chunk),
            ("0\r\nContent-Length: 5\r\n", Violation::Trailer),
            ("0\r\n folded\r\n", Violation::Field),
        ] {
            assert_eq!(chunked(chunks), Err(violation), "{chunks:?}");
        }
    }

    #[test]
    fn a_violation_comes_behind_all_that_was_good() {
        let mut heads = Heads::default();
        let text = format!("{GET}GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n");
        let (good, violation) = heads.inspect(text.as_bytes()).unwrap_err();
        assert_eq!((&text[..good], violation), (&text[..GET.len() + 16], Violation::Line));
        assert!(heads.violated() && heads.inspect(GET.as_bytes()).is_err());
    }

    #[test]
    fn a_head_is_under_way_from_its_first_byte_to_its_last() {
        let mut heads = Heads::default();
        assert!(!heads.within());
        for byte in &GET.as_bytes()[..GET.len() - 1] {
            heads.inspect(&[*byte]).unwrap();
            assert!(heads.within() && heads.begun() == 1);
        }
        heads.inspect(b"\n").unwrap();
        assert!(!heads.within());
    }
}
