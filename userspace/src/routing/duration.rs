//! Times as the Gateway API writes them (GEP-2257): up to four parts such as `1h30m` or `500ms`, whole numbers only.

use std::time::Duration;

/// The most that can be written: 99999 of each unit would overflow no clock, but no more than four parts may be there.
const PARTS: usize = 4;

/// Reads a time; `0s` is one.
///
/// # Errors
/// The text is not of the form `([0-9]{1,5}(h|m|s|ms)){1,4}`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "expected a duration such as 10s, 500ms or 1h30m (up to four whole numbers of at most five digits), found {text:?}"
        )
    };
    let mut rest = text;
    let mut total = Duration::ZERO;
    for _ in 0..PARTS {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return Err(wrong());
        }
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let (unit, millis) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))
            .ok_or_else(wrong)?;
        total += Duration::from_millis(number * millis);
        rest = &rest[unit.len()..];
        if rest.is_empty() {
            return Ok(total);
        }
    }
    Err(wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_gateway_api_writes_them() {
        for (text, millis) in [
            ("0s", 0),
            ("10s", 10_000),
            ("500ms", 500),
            ("1h", 3_600_000),
            ("1h30m5s10ms", 5_405_010),
            ("1m1m", 120_000),
            ("99999h", 99_999 * 3_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "1", "s", "1.5s", "100000s", "-1s", "1d", "1s ", "1h1m1s1ms1s", "1 s", "1S", "1us"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }
}
