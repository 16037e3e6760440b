//! Whether bytes are TLS and nothing else: a sequence of records, of which the first is a greeting (RFC 8446, section 5.1).

use anyhow::{Context, Result, ensure};

/// The kind of record that greetings are in.
const HANDSHAKE: u8 = 0x16;
/// The kind that everything encrypted is in.
const APPLICATION_DATA: u8 = 0x17;
/// All kinds: change of cipher, alert, handshake, data.
const KINDS: std::ops::RangeInclusive<u8> = 0x14..=APPLICATION_DATA;
/// Kind, version, length.
const HEADER: usize = 5;
/// What a record may be longer than its text (RFC 8446, section 5.2).
const LONGEST: usize = 16_384 + 256;

/// How many records of each kind a direction of a connection has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) handshake: usize,
    pub(super) application_data: usize,
}

/// Counts the records of one direction; anything that is none of them is an error.
pub(super) fn records(mut bytes: &[u8]) -> Result<Records> {
    let mut found = Records::default();
    ensure!(bytes.first() == Some(&HANDSHAKE), "expected a greeting (0x16), found {:02x?}", bytes.first());
    while !bytes.is_empty() {
        let header = bytes.get(..HEADER).context("the last record ends within its header")?;
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let is_record = KINDS.contains(&header[0]) && header[1] == 0x03 && length <= LONGEST;
        ensure!(is_record, "expected the header of a record, found {header:02x?}");
        match header[0] {
            HANDSHAKE => found.handshake += 1,
            // The version that all encrypted records claim.
            APPLICATION_DATA if header[2] == 0x03 => found.application_data += 1,
            _ => {}
        }
        bytes = bytes.get(HEADER + length..).context("the last record is not whole")?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_to_the_last_byte() {
        let bytes = [&[0x16, 3, 1, 0, 2, 9, 9][..], &[0x14, 3, 3, 0, 1, 1], &[0x17, 3, 3, 0, 1, 7]].concat();
        assert_eq!(records(&bytes).unwrap(), Records { handshake: 1, application_data: 1 });
        assert!(records(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn plain_text_is_no_record_wherever_it_stands() {
        let text = b"GET /secret HTTP/1.1\r\n";
        assert!(records(text).is_err() && records(b"").is_err());
        let after = [&[0x16, 3, 1, 0, 1, 9][..], text].concat();
        let error = records(&after).unwrap_err().to_string();
        assert_eq!(error, "expected the header of a record, found [47, 45, 54, 20, 2f]");
    }
}
