//! What strangers wrote, as a part of a line: bounded, and unable to end the line or to change how it is shown.

use std::fmt::Write as _;

/// What stands where a text was cut off.
const CUT: char = '…';

/// Appends `text` without quotes, as it stands in a JSON string (RFC 8259, section 7); at most `most` bytes of it.
///
/// Besides what JSON demands, what moves the cursor, ends a line or turns the direction of writing is escaped too: logs are
/// looked at in terminals.
pub(super) fn push(out: &mut String, text: &str, most: usize) {
    let end = out.len() + most;
    let mut rest = text;
    while let Some(at) = rest.find(needs_escape) {
        if !push_plain(out, &rest[..at], end) {
            return;
        }
        let mut characters = rest[at..].chars();
        let Some(character) = characters.next() else { return };
        // The longest escape has six bytes for each half of a pair.
        if out.len() + 12 > end {
            out.push(CUT);
            return;
        }
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    let _infallible = write!(out, "\\u{unit:04x}");
                }
            }
        }
        rest = characters.as_str();
    }
    push_plain(out, rest, end);
}

/// Appends what needs no escape; `false` if it had to be cut off.
fn push_plain(out: &mut String, text: &str, end: usize) -> bool {
    let room = end.saturating_sub(out.len());
    if text.len() <= room {
        out.push_str(text);
        return true;
    }
    out.push_str(&text[..text.floor_char_boundary(room)]);
    out.push(CUT);
    false
}

fn needs_escape(character: char) -> bool {
    // Most of what is logged is plain ASCII.
    if character.is_ascii() {
        return character.is_ascii_control() || matches!(character, '"' | '\\');
    }
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str, most: usize) -> String {
        let mut out = String::new();
        push(&mut out, text, most);
        out
    }

    #[test]
    fn what_could_end_a_string_or_a_line_is_escaped() {
        assert_eq!(escaped("/a b?c=ü&d=%0a", 100), "/a b?c=ü&d=%0a");
        assert_eq!(
            escaped("a\"b\\c\nd\re\tf\0g\x1b[2J\x7f", 100),
            r#"a\"b\\c\nd\re\tf\u0000g\u001b[2J\u007f"#
        );
        assert_eq!(escaped("a\u{202e}b\u{2028}c\u{85}d", 100), r"a\u202eb\u2028c\u0085d");
    }

    #[test]
    fn whatever_is_escaped_is_read_back_by_a_reader_of_json() {
        let text: String = (0..0x3000).filter_map(char::from_u32).chain(['\u{feff}', '\u{1f600}']).collect();
        let json = format!("\"{}\"", escaped(&text, usize::MAX / 2));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_escapes() {
        assert_eq!(escaped("abcdef", 4), "abcd…");
        assert_eq!(escaped("abcü", 4), "abc…");
        for most in 0..40 {
            let text = escaped("ab\"cd\nef\u{202e}gh", most);
            assert!(text.len() <= most + CUT.len_utf8(), "{most}: {text}");
            let read: String = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert!("ab\"cd\nef\u{202e}gh".starts_with(read.trim_end_matches(CUT)), "{most}: {text}");
        }
    }
}
