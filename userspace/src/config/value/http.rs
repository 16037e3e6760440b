//! Scalars about HTTP: how many bytes a head may have.

use super::Scalar;

/// Bytes of a head.
#[derive(Debug)]
pub(in crate::config) struct HeaderSize(pub(in crate::config) usize);

/// The least that can be asked for: what parsers read at a time.
const LEAST: usize = 8 << 10;
/// The most.
const MOST: usize = 1 << 20;

impl Scalar for HeaderSize {
    fn expected() -> String {
        "a size from 8KiB to 1MiB, such as 64KiB".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let (digits, unit) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
            (Some(digits), _) => (digits, 1 << 10),
            (None, Some(digits)) => (digits, 1 << 20),
            (None, None) => (text, 1),
        };
        let number: Option<usize> = digits.trim_end().parse().ok().filter(|_| !digits.starts_with('+'));
        let size = number.and_then(|number| number.checked_mul(unit));
        let size = size.filter(|size| (LEAST..=MOST).contains(size));
        size.map(Self).ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_is_in_bytes() {
        let read = |text: &str| HeaderSize::read(text).ok().map(|HeaderSize(bytes)| bytes);
        assert_eq!(read("64KiB"), Some(65_536));
        assert_eq!(read("1 MiB"), Some(1 << 20));
        assert_eq!(read("8192"), Some(8192));
        for bad in ["8191", "2MiB", "+64KiB", "64KB", "", "-1", "18446744073709551615MiB"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
