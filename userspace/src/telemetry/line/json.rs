//! A line as one JSON object. What is not known is null, never left out.

use std::fmt::Write as _;

use super::escape;
use super::time::{self, Clock};
use super::value::Value;
use crate::model::Field;

/// Appends the object.
pub(super) fn write<'a>(
    out: &mut String,
    values: impl Iterator<Item = (Field, Value<'a>)>,
    clock: &mut Clock,
) {
    let mut before = '{';
    for (field, value) in values {
        out.push(before);
        before = ',';
        out.push('"');
        out.push_str(field.word());
        out.push_str("\":");
        match value {
            Value::Null => out.push_str("null"),
            Value::Number(number) => drop(write!(out, "{number}")),
            Value::Milliseconds(duration) => time::push_milliseconds(out, duration),
            value => {
                out.push('"');
                content(out, &value, clock);
                out.push('"');
            }
        }
    }
    if before == '{' {
        out.push('{');
    }
    out.push('}');
}

/// Appends a value without anything around it.
pub(super) fn content(out: &mut String, value: &Value<'_>, clock: &mut Clock) {
    let _infallible = match value {
        Value::Null => Ok(()),
        Value::Word(word) => return out.push_str(word),
        Value::Text(text, most) => return escape::push(out, text, *most),
        Value::Time(time) => return clock.push(out, *time),
        Value::Milliseconds(duration) => return time::push_milliseconds(out, *duration),
        Value::Number(number) => write!(out, "{number}"),
        Value::Address(address) => write!(out, "{address}"),
        Value::Trace(trace) => write!(out, "{trace}"),
        Value::Span(span) => span.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        Value::Flags(flags) => write!(out, "{flags}"),
    };
}
