//! One connection as one line of the access log.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;

use crate::model::{Direction, Ended, Identity};

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object with stable keys, for machines.
    Json,
    /// One short aligned line, for a terminal.
    Text,
}

/// The keys of the JSON form, in their order. What is not known is null, never left out.
#[derive(Serialize)]
struct Fields<'a> {
    /// When the connection was accepted or refused, UTC with microseconds (RFC 3339).
    time: String,
    workload: &'a str,
    direction: &'static str,
    source: Option<String>,
    original_destination: Option<String>,
    upstream: Option<String>,
    verdict: &'static str,
    reason: &'static str,
    tier: &'static str,
    source_principal: Option<&'a str>,
    destination_principal: Option<&'a str>,
    peer_workload: Option<&'a str>,
    trace_id: Option<String>,
    bytes_sent: u64,
    bytes_received: u64,
    duration_ms: f64,
    error: Option<String>,
    error_side: Option<&'static str>,
}

/// Appends the line of `ended` with its newline to `out`.
pub(super) fn write(out: &mut String, format: Format, workload: &str, ended: &Ended) {
    match format {
        Format::Json => write_json(out, workload, ended),
        Format::Text => write_text(out, ended),
    }
    out.push('\n');
}

fn write_json(out: &mut String, workload: &str, ended: &Ended) {
    let fields = Fields {
        time: timestamp(ended.began),
        workload,
        direction: ended.direction.word(),
        source: ended.client.map(|address| address.to_string()),
        original_destination: ended.original.map(|address| address.to_string()),
        upstream: ended.upstream.map(|address| address.to_string()),
        verdict: ended.verdict.word(),
        reason: ended.reason.word(),
        tier: ended.tier.word(),
        source_principal: ended.source_identity.as_ref().map(Identity::as_str),
        destination_principal: ended.destination_identity.as_ref().map(Identity::as_str),
        peer_workload: ended.peer_workload.as_deref(),
        trace_id: ended.trace_id.map(|trace| trace.to_string()),
        bytes_sent: ended.traffic.sent,
        bytes_received: ended.traffic.received,
        duration_ms: milliseconds(ended.duration),
        error: ended.fault.as_ref().map(ToString::to_string),
        error_side: ended.fault.as_ref().map(|fault| fault.side.word()),
    };
    // Strings and numbers only: it cannot fail, and a line that somehow did would rather be seen than missed.
    match serde_json::to_string(&fields) {
        Ok(json) => out.push_str(&json),
        Err(error) => drop(write!(out, "{{\"error\":\"access log line: {error}\"}}")),
    }
}

fn write_text(out: &mut String, ended: &Ended) {
    let arrow = match ended.direction {
        Direction::Outbound => "->",
        Direction::Inbound => "<-",
    };
    let known = |address: Option<String>| address.unwrap_or_else(|| "?".to_owned());
    let time = timestamp(ended.began);
    // Within one run the date says little; the time of day with milliseconds does.
    let time = time.get(11..23).unwrap_or(&time);
    let _ = write!(
        out,
        "{time} {arrow} {:<6} {:<8} {:>21} {:<21} {:>9} sent {:>9} received {:>10.3} ms",
        ended.verdict.word(),
        ended.reason.word(),
        known(ended.client.map(|address| address.to_string())),
        known(ended.original.map(|address| address.to_string())),
        ended.traffic.sent,
        ended.traffic.received,
        milliseconds(ended.duration),
    );
    if let (Some(source), Some(destination)) = (&ended.source_identity, &ended.destination_identity) {
        let _ = write!(out, "  {} => {}", source.principal(), destination.principal());
    }
    if let Some(fault) = &ended.fault {
        let _ = write!(out, "  {} failed: {fault}", fault.side.word());
    }
}

/// RFC 3339, UTC, always six digits of a second so that lines align and sort.
fn timestamp(time: SystemTime) -> String {
    // A clock outside of the years -9999 to 9999 is told as the nearest that can be.
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::MAX);
    format!("{time:.6}")
}

/// Milliseconds with three digits behind the point, which is microseconds.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn line(format: Format, ended: &Ended) -> String {
        let mut out = String::new();
        write(&mut out, format, "web", ended);
        out
    }

    #[test]
    fn json_has_every_key_in_a_stable_order() {
        assert_eq!(
            line(Format::Json, &samples::relayed()),
            "{\"time\":\"2023-11-14T22:13:20.123456Z\",\"workload\":\"web\",\"direction\":\"outbound\",\
             \"source\":\"10.0.0.5:40000\",\"original_destination\":\"10.0.0.9:80\",\"upstream\":\"10.0.0.9:80\",\
             \"verdict\":\"proxy\",\"reason\":\"rule\",\"tier\":\"relay\",\"source_principal\":null,\
             \"destination_principal\":null,\"peer_workload\":null,\"trace_id\":null,\"bytes_sent\":78,\"bytes_received\":1234,\
             \"duration_ms\":1.234,\"error\":null,\"error_side\":null}\n"
        );
    }

    #[test]
    fn json_tells_whose_fault_an_error_is() {
        let line = line(Format::Json, &samples::unreachable());
        assert!(
            line.contains("\"error\":\"dial upstream: Connection refused\",\"error_side\":\"peer\"}"),
            "{line}"
        );
    }

    #[test]
    fn json_says_null_for_what_is_not_known_of_a_denied_connect() {
        let line = line(Format::Json, &samples::denied());
        assert!(
            line.contains("\"source\":null,\"original_destination\":\"10.0.0.9:80\",\"upstream\":null"),
            "{line}"
        );
    }

    #[test]
    fn a_tunnelled_connection_tells_who_was_at_either_end() {
        let tunnelled = samples::tunnelled();
        let json = line(Format::Json, &tunnelled);
        assert!(
            json.contains(
                "\"tier\":\"tunnel\",\"source_principal\":\"spiffe://cluster.local/ns/shop/sa/web\",\
                 \"destination_principal\":\"spiffe://cluster.local/ns/shop/sa/db\",\"peer_workload\":\"shop/db-0\",\
                 \"trace_id\":\"01010101010101010101010101010101\""
            ),
            "{json}"
        );
        let text = line(Format::Text, &tunnelled);
        assert!(
            text.ends_with(" ms  cluster.local/ns/shop/sa/web => cluster.local/ns/shop/sa/db\n"),
            "{text}"
        );
    }

    #[test]
    fn text_is_one_short_aligned_line() {
        assert_eq!(
            line(Format::Text, &samples::relayed()),
            "22:13:20.123 -> proxy  rule            10.0.0.5:40000 10.0.0.9:80                  78 sent      1234 \
             received      1.234 ms\n"
        );
        let failed = line(Format::Text, &samples::unreachable());
        assert!(failed.ends_with(" ms  peer failed: dial upstream: Connection refused\n"), "{failed}");
        assert!(
            line(Format::Text, &samples::denied())
                .contains("deny   rule                         ? 10.0.0.9:80")
        );
    }

    #[test]
    fn a_whole_second_keeps_its_digits() {
        assert_eq!(timestamp(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00.000000Z");
    }
}
