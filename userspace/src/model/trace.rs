//! The trace context that travels with a request, and with a connection that nobody looks into.
//!
//! Pure: headers go in, headers come out; random bits are handed in.
//!
//! # Layout
//! - here: the identifiers, and `traceparent` (W3C Trace Context, section 3.2)
//! - `context`: what a request said, read from its headers, and how it becomes a span
//! - `state`: `tracestate` (section 3.3)
//! - `b3`: the headers of Zipkin, `b3` and `X-B3-…`
//! - `sampling`: which traces are recorded

mod b3;
mod context;
mod sampling;
mod state;

use std::fmt;

pub use context::{Context, RandomIds, Span};
pub use sampling::{Parents, Sampling};

/// The trace that a request or a connection belongs to. Never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// Its bytes, the most significant first.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(formatter, &self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// One piece of work within a trace. Never all zero.
pub type SpanId = [u8; 8];

/// A trace and the span that is the parent of what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Which trace.
    pub trace: TraceId,
    /// The parent span; never all zero.
    pub span: SpanId,
    /// Bit 0: sampled.
    pub flags: u8,
}

impl TraceParent {
    /// A new trace made of random bits; `None` if the bits that must not all be zero are.
    #[must_use]
    pub fn from_random(trace: [u8; 16], span: SpanId) -> Option<Self> {
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace: TraceId(trace), span, flags: 0 })
    }

    /// Whether spans of this trace are recorded.
    #[must_use]
    pub const fn sampled(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Reads a `traceparent` header. A version above 00 is read as far as version 00 goes (section 3.2.2.1).
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let separated = text.len() >= 55 && [2, 35, 52].iter().all(|&at| text[at] == b'-');
        if !separated {
            return None;
        }
        let [version] = bytes(&text[..2])?;
        let fits = match version {
            0 => text.len() == 55,
            0xff => false,
            _ => text.len() == 55 || text[55] == b'-',
        };
        let parent = Self::from_random(bytes(&text[3..35])?, bytes(&text[36..52])?)?;
        let [flags] = bytes(&text[53..55])?;
        fits.then_some(Self { flags, ..parent })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{}-", self.trace)?;
        hexadecimal(formatter, &self.span)?;
        write!(formatter, "-{:02x}", self.flags)
    }
}

fn hexadecimal(formatter: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
}

/// Bytes from twice as many lower-case hexadecimal digits.
fn bytes<const LENGTH: usize>(text: &[u8]) -> Option<[u8; LENGTH]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; LENGTH];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_parent_is_written_as_it_was_read() {
        let parent = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(parent.to_string(), GOOD);
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn what_is_no_trace_parent_is_not_read() {
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(text.as_bytes()), None, "{text:?}");
        }
        let later = format!("cc{}-what-comes-later", &GOOD[2..]);
        assert!(TraceParent::parse(later.as_bytes()).is_some());
    }
}
