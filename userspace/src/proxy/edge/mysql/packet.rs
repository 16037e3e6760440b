//! The packets of a MySQL or MariaDB connection up to the end of its authentication, as bytes: whose they are is not known here.
//!
//! Both servers document them alike (MariaDB: "Connecting", MySQL: "Connection Phase"). Only what hiding TLS needs is read.

use std::fmt;

/// Bytes in front of each packet: three of length and one of sequence.
pub(super) const HEADER: usize = 4;
/// The longest packet of an authentication: attributes of 64 KiB beside everything else.
pub(super) const LONGEST: usize = 128 << 10;
/// The part of a handshake response that is a request for TLS if it comes alone.
pub(super) const TLS_REQUEST: usize = 32;

/// `CLIENT_PROTOCOL_41`, without which everything looks different.
const PROTOCOL_41: u32 = 1 << 9;
/// `CLIENT_SSL`.
const TLS: u32 = 1 << 11;
/// The version of the protocol that all servers of this century speak.
const VERSION: u8 = 10;
/// First bytes of answers.
const OK: u8 = 0x00;
const ERROR: u8 = 0xff;
/// `ER_HANDSHAKE_ERROR` and its SQL state.
const BAD_HANDSHAKE: (u16, &[u8]) = (1043, b"#08S01");

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// Its number within its exchange.
    pub(super) sequence: u8,
    /// What it says.
    pub(super) payload: Vec<u8>,
}

/// Length and sequence of a packet.
///
/// # Errors
/// It is longer than [`LONGEST`], or empty.
pub(super) fn header(bytes: [u8; HEADER]) -> Result<(usize, u8), Malformed> {
    let [low, middle, high, sequence] = bytes;
    let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
    match length {
        0 => Err(Malformed("expected a packet that says something, found an empty one")),
        1..=LONGEST => Ok((length, sequence)),
        _ => Err(Malformed(
            "expected a packet of at most 128 KiB before the login is over, found a longer one",
        )),
    }
}

impl Packet {
    /// A packet as it is sent.
    #[must_use]
    pub(super) fn bytes(&self) -> Vec<u8> {
        let [low, middle, high, _] = (self.payload.len() as u32).to_le_bytes();
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.extend([low, middle, high, self.sequence]);
        bytes.extend(&self.payload);
        bytes
    }

    /// What tells a client why it cannot go on. One that has not said yet how it speaks gets no SQL state.
    #[must_use]
    pub(super) fn error(sequence: u8, message: &str) -> Self {
        let (code, state) = BAD_HANDSHAKE;
        let mut payload = vec![ERROR];
        payload.extend(code.to_le_bytes());
        if sequence > 0 {
            payload.extend(state);
        }
        payload.extend(message.bytes().filter(|byte| *byte != 0).take(400));
        Self { sequence, payload }
    }

    /// Whether the authentication ends with this packet of the server's. Packets of its plug-ins that would begin like these
    /// two have another byte in front.
    #[must_use]
    pub(super) fn ends_authentication(&self) -> bool {
        matches!(self.payload.first(), Some(&(OK | ERROR)))
    }
}

/// What a server says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// It takes TLS, of which there is nothing in the packet any more.
    Secure,
    /// It takes no TLS.
    Plain,
    /// It takes nobody, and says why.
    Refusal,
}

/// Reads a greeting, and takes the server's offer of TLS out of it.
///
/// # Errors
/// It is none of this protocol.
pub(super) fn greeting(payload: &mut [u8]) -> Result<Greeting, Malformed> {
    match payload.first() {
        Some(&ERROR) => return Ok(Greeting::Refusal),
        Some(&VERSION) => {}
        _ => {
            return Err(Malformed(
                "expected the greeting of a MySQL or MariaDB server (protocol 10), found something else",
            ));
        }
    }
    let end = payload.iter().position(|byte| *byte == 0);
    // Behind the server's version: a thread's id, the first part of a challenge, a zero, the lower half of the capabilities.
    let flags = end.map(|end| end + 1 + 4 + 8 + 1);
    let Some([low, high]) = flags.and_then(|at| payload.get_mut(at..at + 2)) else {
        return Err(Malformed("expected a greeting with capabilities, found a shorter one"));
    };
    let capabilities = u32::from(u16::from_le_bytes([*low, *high]));
    if capabilities & PROTOCOL_41 == 0 {
        return Err(Malformed("expected a server that speaks protocol 4.1, found an older one"));
    }
    if capabilities & TLS == 0 {
        return Ok(Greeting::Plain);
    }
    [*low, *high] = ((capabilities & !TLS) as u16).to_le_bytes();
    Ok(Greeting::Secure)
}

/// Makes the handshake response of a client that knows nothing of TLS that of one that does, and gives its first part, which is
/// the request for TLS.
///
/// # Errors
/// It is none, or asks for TLS itself.
pub(super) fn response(payload: &mut [u8]) -> Result<[u8; TLS_REQUEST], Malformed> {
    let Some(first) = payload.first_chunk_mut::<TLS_REQUEST>() else {
        return Err(Malformed("expected a handshake response of protocol 4.1, found a shorter packet"));
    };
    let [a, b, c, d, ..] = *first;
    let capabilities = u32::from_le_bytes([a, b, c, d]);
    if capabilities & PROTOCOL_41 == 0 {
        return Err(Malformed("expected a client that speaks protocol 4.1, found an older one"));
    }
    if capabilities & TLS != 0 {
        return Err(Malformed(
            "expected a client that leaves TLS to us, found one that asks for it; switch TLS off in the app",
        ));
    }
    if let Some(flags) = first.first_chunk_mut() {
        *flags = (capabilities | TLS).to_le_bytes();
    }
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The greeting of a MariaDB server, cut behind its capabilities.
    fn hello(lower: u16) -> Vec<u8> {
        let mut payload = b"\x0a5.5.5-10.11.19-MariaDB\0\x05\0\0\0abcdefgh\0".to_vec();
        payload.extend(lower.to_le_bytes());
        payload.extend(b"\x2d\x02\x00\xff\x81\x15");
        payload
    }

    #[test]
    fn the_offer_of_tls_is_taken_out_and_nothing_else() {
        let mut offered = hello(0xf7fe | 0x0800);
        let before = offered.clone();
        assert_eq!(greeting(&mut offered), Ok(Greeting::Secure));
        assert_eq!(offered, hello((0xf7fe | 0x0800) & !0x0800));
        assert_eq!(offered.iter().zip(&before).filter(|(a, b)| a != b).count(), 1);
        assert_eq!(greeting(&mut offered), Ok(Greeting::Plain), "it is gone");
    }

    #[test]
    fn greetings_of_something_else_are_told_from_good_ones() {
        assert_eq!(greeting(&mut [0xff, 0x15, 0x04, b'n', b'o']), Ok(Greeting::Refusal));
        for payload in [&b""[..], b"\x09old\0", b"\x0ano end", b"\x0av\0", b"HTTP/1.1 400"] {
            assert!(greeting(&mut payload.to_vec()).is_err(), "{payload:?}");
        }
        assert!(greeting(&mut hello(0x0800)).is_err(), "protocol 4.0");
        let whole = hello(0x0a00);
        for length in 0..whole.len() {
            // Whatever is cut off, reading ends, and only the whole capabilities count.
            let cut = greeting(&mut whole[..length].to_vec());
            assert_eq!(cut.is_ok(), length >= whole.len() - 6, "{length}");
        }
    }

    #[test]
    fn a_response_asks_for_tls_and_begins_with_the_request() {
        let mut payload = vec![0; 60];
        payload[..4].copy_from_slice(&0x0081_a685_u32.to_le_bytes());
        payload[40] = b'u';
        let request = response(&mut payload).expect("a response");
        assert_eq!(request[..4], (0x0081_a685_u32 | 0x0800).to_le_bytes());
        assert_eq!(request[..], payload[..32]);
        assert_eq!(payload[40], b'u');
        assert!(response(&mut payload).is_err(), "it asks for TLS itself");
        assert!(response(&mut [0xff; 31]).is_err());
        assert!(response(&mut [0; 60]).is_err(), "protocol 4.0");
    }

    #[test]
    fn lengths_are_bounded_and_packets_are_written_as_they_are_read() {
        assert_eq!(header([5, 0, 0, 3]), Ok((5, 3)));
        assert_eq!(header([0, 0, 2, 0]), Ok((LONGEST, 0)));
        assert!(header([1, 0, 2, 0]).is_err() && header([0; 4]).is_err() && header([0xff; 4]).is_err());
        let packet = Packet { sequence: 7, payload: vec![1, 2, 3] };
        assert_eq!(packet.bytes(), [3, 0, 0, 7, 1, 2, 3]);
        assert!(!packet.ends_authentication());
        let error = Packet::error(2, "no\0t");
        assert!(error.ends_authentication());
        assert_eq!(error.payload, b"\xff\x13\x04#08S01not");
        assert_eq!(Packet::error(0, "x").payload, b"\xff\x13\x04x");
    }
}
