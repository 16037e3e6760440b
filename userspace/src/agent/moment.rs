//! How far away a time is, for people.

use jiff::Timestamp;

/// In its largest unit or two: `in 2h 4m`, `3d 1h ago`.
pub(super) fn away(time: Timestamp, now: Timestamp) -> String {
    let seconds = time.as_second() - now.as_second();
    let away = seconds.unsigned_abs();
    let (minutes, hours, days) = (away / 60, away / 3600, away / 86_400);
    let away = match away {
        0..60 => format!("{away}s"),
        60..3600 => format!("{minutes}m"),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    };
    if seconds < 0 { format!("{away} ago") } else { format!("in {away}") }
}
