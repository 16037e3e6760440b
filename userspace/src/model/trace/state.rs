//! `tracestate` (W3C Trace Context, section 3.3): what tracing systems tell each other beside the trace itself.
//!
//! It is handed on and never looked into, but bounded and well formed: it comes from a stranger and goes to a collector.

use http::HeaderMap;

use super::context::TRACESTATE;

/// Most entries (section 3.3.1.1).
const ENTRIES: usize = 32;
/// Most bytes that are handed on (section 3.3.1.5 asks for at least as many).
const BYTES: usize = 512;
/// Entries above this go first where there is too much (section 3.3.1.5).
const LARGE_ENTRY: usize = 128;
/// Most bytes of a key, and of a value (section 3.3.1.3).
const HALF_ENTRY: usize = 256;

/// What to hand on: the entries of all fields in their order. `None` if there are none, or one of them is malformed.
pub(super) fn read(headers: &HeaderMap) -> Option<Box<str>> {
    let mut entries = [""; ENTRIES];
    let mut count = 0;
    for field in headers.get_all(TRACESTATE) {
        let text = std::str::from_utf8(field.as_bytes()).ok()?;
        for entry in text.split(',').map(trimmed).filter(|entry| !entry.is_empty()) {
            if !is_entry(entry) {
                return None;
            }
            *entries.get_mut(count)? = entry;
            count += 1;
        }
    }
    bounded(&entries[..count])
}

fn bounded(entries: &[&str]) -> Option<Box<str>> {
    let length =
        |entries: &mut dyn Iterator<Item = &str>| entries.map(|entry| entry.len() + 1).sum::<usize>();
    let fits = length(&mut entries.iter().copied()) <= BYTES + 1;
    let kept = |entry: &&str| fits || entry.len() <= LARGE_ENTRY;
    let mut state = String::with_capacity(length(&mut entries.iter().copied().filter(kept)).min(BYTES + 1));
    for entry in entries.iter().copied().filter(kept) {
        let comma = usize::from(!state.is_empty());
        if state.len() + comma + entry.len() > BYTES {
            break;
        }
        if comma == 1 {
            state.push(',');
        }
        state.push_str(entry);
    }
    (!state.is_empty()).then(|| state.into_boxed_str())
}

/// Without the white space that may stand around an entry (section 3.3.1.2).
fn trimmed(entry: &str) -> &str {
    entry.trim_matches([' ', '\t'])
}

fn is_entry(entry: &str) -> bool {
    let Some((key, value)) = entry.split_once('=') else { return false };
    let is_key = (1..=HALF_ENTRY).contains(&key.len())
        && key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && key
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'))
        && key.bytes().filter(|byte| *byte == b'@').count() <= 1
        && !key.ends_with('@');
    let is_value = (1..=HALF_ENTRY).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'='))
        && !value.ends_with(' ');
    is_key && is_value
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn state(fields: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(TRACESTATE, HeaderValue::from_bytes(field.as_bytes()).unwrap());
        }
        read(&headers).map(String::from)
    }

    #[test]
    fn several_fields_are_one_list_in_their_order() {
        assert_eq!(state(&["a=1,b=2"]).unwrap(), "a=1,b=2");
        assert_eq!(state(&["a=1 ,\tb=2,,", "", "tenant@vendor=x y"]).unwrap(), "a=1,b=2,tenant@vendor=x y");
        assert_eq!(state(&[]), None);
        assert_eq!(state(&[" , "]), None);
    }

    #[test]
    fn one_malformed_entry_spoils_the_list() {
        for bad in ["a", "=1", "a=", "A=1", "_a=1", "a b=1", "a=1=2", "a@b@c=1", "a@=1", "a=\u{e9}"] {
            assert_eq!(state(&["a=1", bad]), None, "{bad:?}");
        }
        assert_eq!(state(&[&format!("{}=1", "a".repeat(257))]), None);
        assert_eq!(state(&[&format!("a={}", "b".repeat(257))]), None);
    }

    #[test]
    fn there_are_at_most_32_entries() {
        let list = |count| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(state(&[&list(32)]).unwrap(), list(32));
        assert_eq!(state(&[&list(33)]), None);
    }

    #[test]
    fn what_is_too_long_loses_its_large_entries_first_and_then_its_last() {
        let entry = |key: &str, length: usize| format!("{key}={}", "v".repeat(length - key.len() - 1));
        let whole = [entry("a", 255), entry("b", 256)].join(",");
        assert_eq!(whole.len(), BYTES);
        assert_eq!(state(&[&whole]).unwrap(), whole);
        let (large, small) = (entry("large", 129), entry("s", 128));
        let fields = [&small, &large, &small, &small, &small];
        assert_eq!(state(&fields.map(String::as_str)).unwrap(), [small.as_str(); 3].join(","));
    }
}
