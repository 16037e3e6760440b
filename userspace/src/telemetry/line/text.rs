//! A line for people: aligned and short, or the fields that they selected.

use std::fmt::{self, Write as _};

use super::time::{self, Clock};
use super::value::Value;
use super::{Event, escape, json};
use crate::model::{Decided, Direction, Ended, Exchange, Fault, Field, Identity, Ruling};

/// Bytes of an error, and of what was asked, that are told.
const MOST: usize = 512;

/// Appends the fields as `name=value`, in quotes where a value could be taken for more than one.
pub(super) fn write_fields<'a>(
    out: &mut String,
    values: impl Iterator<Item = (Field, Value<'a>)>,
    clock: &mut Clock,
) {
    for (index, (field, value)) in values.enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(field.word());
        out.push('=');
        let quoted =
            matches!(&value, Value::Text(text, _) if text.is_empty() || text.contains([' ', '=', '"']));
        let quote = if quoted { "\"" } else { "" };
        out.push_str(quote);
        if matches!(value, Value::Null) {
            out.push('-');
        }
        json::content(out, &value, clock);
        out.push_str(quote);
    }
}

/// Appends the short form.
pub(super) fn write(out: &mut String, event: &Event, clock: &mut Clock) {
    match event {
        Event::Connection(ended) => connection(out, ended, clock),
        Event::Request(exchange) => request(out, exchange, clock),
    }
}

fn connection(out: &mut String, ended: &Ended, clock: &mut Clock) {
    // Within one run the date says little; the time of day with milliseconds does.
    clock.push_time_of_day(out, ended.began);
    let _infallible = write!(
        out,
        " {} {:<6} {:<8} {:>21} {:<21} {:>9} sent {:>9} received {:>10} ms",
        arrow(ended.direction),
        ended.verdict.word(),
        ended.reason.word(),
        known(ended.client),
        known(ended.original),
        ended.traffic.sent,
        ended.traffic.received,
        milliseconds(ended.duration),
    );
    if let Some(sni) = &ended.sni {
        out.push_str("  for ");
        escape::push(out, sni, MOST);
    }
    policy(out, ended.decided.as_deref());
    identities(out, ended.source_identity.as_ref(), ended.destination_identity.as_ref());
    fault(out, ended.fault.as_ref());
}

fn request(out: &mut String, exchange: &Exchange, clock: &mut Clock) {
    let request = &exchange.request;
    clock.push_time_of_day(out, exchange.began);
    let _infallible = write!(
        out,
        " {} {} {:<5} {:>21} {:<21} {:>9} sent {:>9} received {:>10} ms  \"",
        arrow(exchange.direction),
        known(exchange.answer.map(|answer| answer.status.as_u16())),
        exchange.flags.to_string(),
        exchange.client.to_string(),
        known(exchange.original),
        exchange.request_bytes,
        exchange.answer_bytes,
        milliseconds(exchange.duration),
    );
    escape::push(out, request.method.as_str(), MOST);
    out.push(' ');
    escape::push(out, request.authority.as_deref().unwrap_or(""), MOST);
    escape::push(out, &request.target, MOST);
    out.push('"');
    if let Some(grpc_status) = exchange.answer.and_then(|answer| answer.grpc_status) {
        let _infallible = write!(out, "  grpc-status {grpc_status}");
    }
    if exchange.attempts > 1 {
        let _infallible = write!(out, "  {} attempts", exchange.attempts);
    }
    if exchange.span.known() {
        let _infallible = write!(out, "  trace {}", exchange.span.own.trace);
    }
    policy(out, exchange.decided.as_deref());
    identities(out, exchange.source_identity.as_ref(), exchange.destination_identity.as_ref());
    fault(out, exchange.fault.as_ref());
}

const fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "->",
        Direction::Inbound => "<-",
    }
}

fn known(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| value.to_string())
}

fn milliseconds(duration: std::time::Duration) -> String {
    let mut text = String::new();
    time::push_milliseconds(&mut text, duration);
    text
}

/// What decided against it, or would.
fn policy(out: &mut String, decided: Option<&Decided>) {
    let Some(Decided { ruling, would_be, audited }) = decided else { return };
    let name = |ruling: &Ruling| {
        ruling.rule().map_or_else(|| "default, as no rule allows it".to_owned(), ToString::to_string)
    };
    let _infallible = match (ruling, would_be) {
        (Ruling::Denied(_), _) => write!(out, "  denied by {}", name(ruling)),
        (_, Some(would_be @ Ruling::Denied(_))) => write!(out, "  would be denied by {}", name(would_be)),
        (Ruling::Allowed(_), _) => Ok(()),
    };
    if let Some(rule) = audited {
        let _infallible = write!(out, "  audited by {rule}");
    }
}

fn identities(out: &mut String, source: Option<&Identity>, destination: Option<&Identity>) {
    if let (Some(source), Some(destination)) = (source, destination) {
        let _infallible = write!(out, "  {} => {}", source.principal(), destination.principal());
    }
}

fn fault(out: &mut String, fault: Option<&Fault>) {
    if let Some(fault) = fault {
        let _infallible = write!(out, "  {} failed: ", fault.side.word());
        escape::push(out, &fault.to_string(), MOST);
    }
}
