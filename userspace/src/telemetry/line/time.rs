//! Times and durations as they stand in lines.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Writes times, most of which are in the same second as the one before.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: i64,
    /// `2023-11-14T22:13:20.`
    written: String,
}

impl Clock {
    /// RFC 3339, UTC, always six digits of a second so that lines align and sort.
    pub(super) fn push(&mut self, out: &mut String, time: SystemTime) {
        let micros = self.tell(time);
        let _infallible = write!(out, "{}{micros:06}Z", self.written);
    }

    /// The time of day with milliseconds.
    pub(super) fn push_time_of_day(&mut self, out: &mut String, time: SystemTime) {
        let micros = self.tell(time);
        let time = self.written.split_once('T').map_or("", |(_date, time)| time);
        let _infallible = write!(out, "{time}{:03}", micros / 1000);
    }

    fn tell(&mut self, time: SystemTime) -> i32 {
        // A clock outside of the years -9999 to 9999 is told as the nearest that can be.
        let time = Timestamp::try_from(time).unwrap_or(Timestamp::MAX);
        // Before 1970 a timestamp's fraction is negative.
        let whole = Timestamp::new(time.as_second() - i64::from(time.subsec_nanosecond() < 0), 0);
        let whole = whole.unwrap_or(Timestamp::MIN);
        if self.written.is_empty() || whole.as_second() != self.second {
            self.second = whole.as_second();
            self.written = whole.to_string().replace('Z', ".");
        }
        time.subsec_microsecond().rem_euclid(1_000_000)
    }
}

/// Milliseconds with three digits behind the point, which is microseconds.
pub(super) fn push_milliseconds(out: &mut String, duration: Duration) {
    let micros = duration.as_micros();
    let _infallible = write!(out, "{}.{:03}", micros / 1000, micros % 1000);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(micros: u64) -> (String, String) {
        let mut clock = Clock::default();
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
        let (mut whole, mut of_day) = (String::new(), String::new());
        clock.push(&mut whole, time);
        clock.push_time_of_day(&mut of_day, time);
        (whole, of_day)
    }

    #[test]
    fn times_have_all_their_digits() {
        assert_eq!(told(0), ("1970-01-01T00:00:00.000000Z".into(), "00:00:00.000".into()));
        assert_eq!(
            told(1_700_000_000_123_456),
            ("2023-11-14T22:13:20.123456Z".into(), "22:13:20.123".into())
        );
    }

    #[test]
    fn a_clock_that_goes_back_is_followed() {
        let mut clock = Clock::default();
        let mut out = String::new();
        for seconds in [5, 5, 4] {
            clock.push(&mut out, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            out.push(' ');
        }
        clock.push(&mut out, SystemTime::UNIX_EPOCH - Duration::from_millis(1));
        assert_eq!(
            out,
            "1970-01-01T00:00:05.000000Z 1970-01-01T00:00:05.000000Z 1970-01-01T00:00:04.000000Z \
             1969-12-31T23:59:59.999000Z"
        );
    }

    #[test]
    fn durations_have_three_digits() {
        let mut out = String::new();
        push_milliseconds(&mut out, Duration::from_nanos(1_002_999));
        assert_eq!(out, "1.002");
    }
}
