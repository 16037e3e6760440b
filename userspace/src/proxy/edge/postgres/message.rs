//! What stands at the beginning of a PostgreSQL connection, as bytes (PostgreSQL's documentation, "Message Formats").

use std::fmt;

/// Bytes of every first message: its length, and what it is.
pub(super) const HEADER: usize = 8;
/// Asks for TLS.
pub(super) const TLS_REQUEST: [u8; HEADER] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// `SSLRequest`, `GSSENCRequest`.
const TLS_CODE: u32 = 80_877_103;
const GSS_CODE: u32 = 80_877_104;
/// `MAX_STARTUP_PACKET_LENGTH` of the server's `libpq/pqcomm.h`.
const LONGEST: u32 = 10_000;

/// What a client says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// It asks for encryption, which can be declined.
    Encryption,
    /// It begins, or cancels what another connection does: nothing more of it is read here.
    Startup,
}

/// Why bytes are no beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("expected the first message of a PostgreSQL client, found something else")
    }
}

impl std::error::Error for Malformed {}

/// Reads the first bytes of a client.
///
/// # Errors
/// They are not a PostgreSQL client's.
pub(super) fn opening(header: [u8; HEADER]) -> Result<Opening, Malformed> {
    let [a, b, c, d, e, f, g, h] = header;
    let (length, code) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    match (length, code) {
        (8, TLS_CODE | GSS_CODE) => Ok(Opening::Encryption),
        (_, TLS_CODE | GSS_CODE) => Err(Malformed),
        (8..=LONGEST, _) => Ok(Opening::Startup),
        _ => Err(Malformed),
    }
}

/// An `ErrorResponse` that ends the connection: `connection_failure`.
#[must_use]
pub(super) fn fatal(message: &str) -> Vec<u8> {
    let mut fields = Vec::new();
    let said: String = message.chars().filter(|character| *character != '\0').take(400).collect();
    for (kind, text) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', "08006"), (b'M', &said)] {
        fields.push(kind);
        fields.extend(text.bytes());
        fields.push(0);
    }
    fields.push(0);
    let length = fields.len() as u32 + 4;
    let mut bytes = vec![b'E'];
    bytes.extend(length.to_be_bytes());
    bytes.extend(fields);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u32, code: u32) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..].copy_from_slice(&code.to_be_bytes());
        bytes
    }

    #[test]
    fn beginnings_are_told_apart() {
        assert_eq!(header(8, TLS_CODE), TLS_REQUEST);
        for (length, code, expected) in [
            (8, TLS_CODE, Ok(Opening::Encryption)),
            (8, GSS_CODE, Ok(Opening::Encryption)),
            (9, TLS_CODE, Err(Malformed)),
            (41, 196_608, Ok(Opening::Startup)),
            (16, 80_877_102, Ok(Opening::Startup)),
            (10_000, 196_608, Ok(Opening::Startup)),
            (10_001, 196_608, Err(Malformed)),
            (7, 196_608, Err(Malformed)),
        ] {
            assert_eq!(opening(header(length, code)), expected, "{length} {code}");
        }
        assert_eq!(opening(*b"GET / HT"), Err(Malformed));
    }

    #[test]
    fn a_fatal_error_is_one_whole_message() {
        let bytes = fatal("no\0 way");
        assert_eq!(bytes, b"E\0\0\0\x22SFATAL\0VFATAL\0C08006\0Mno way\0\0");
        assert_eq!(bytes.len(), 1 + 0x22);
    }
}
