//! One connection or one request as one line of the access log.
//!
//! What strangers wrote into a request is bounded and escaped: a line is one line, whatever they wrote.
//!
//! # Layout
//! - `value`: what a field of a connection or of a request is
//! - `json`, `text`: how it is written
//! - `escape`, `time`: what both need

mod escape;
mod json;
mod text;
mod time;
mod value;

use std::sync::Arc;

use super::teller::Teller;
use crate::model::{Ended, Exchange, Field, Flag, Told, Verdict};
use time::Clock;
pub(super) use value::{Value, value};

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object with stable keys, for machines.
    Json,
    /// For a terminal: one short aligned line, or the selected fields as `name=value`.
    Text,
}

/// What becomes a line, and whose it is.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) teller: Arc<Teller>,
    pub(super) event: Event,
}

/// What a line tells of.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A connection.
    Connection(Arc<Ended>),
    /// A request, which the exporter of spans may want as well.
    Request(Arc<Exchange>),
}

impl Event {
    /// Whether it was refused, so that whoever is refused decides how often there is one.
    pub(super) fn is_denial(&self) -> bool {
        match self {
            Self::Connection(ended) => ended.verdict == Verdict::Deny,
            Self::Request(exchange) => {
                exchange.flags.has(Flag::Denied) || exchange.flags.has(Flag::RateLimited)
            }
        }
    }

    /// Bytes that it takes while it waits, about.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Connection(ended) => size_of::<Ended>() + ended.sni.as_ref().map_or(0, |name| name.len()),
            Self::Request(exchange) => weight(exchange),
        }
    }
}

/// Bytes that a request takes while it waits, about.
pub(super) fn weight(exchange: &Exchange) -> usize {
    let request = &exchange.request;
    let texts = [&request.authority, &request.user_agent, &request.request_id, &exchange.span.state];
    size_of::<Exchange>()
        + request.target.len()
        + texts.into_iter().flatten().map(|text| text.len()).sum::<usize>()
}

/// Writes the lines of a log.
#[derive(Debug)]
pub(super) struct Lines {
    format: Format,
    selected: Option<Vec<Field>>,
    of_connections: Vec<Field>,
    of_requests: Vec<Field>,
    clock: Clock,
}

impl Lines {
    /// Lines with the fields that are selected, or with all that belong to each.
    pub(super) fn new(format: Format, selected: Option<Vec<Field>>) -> Self {
        let all_but = |other| {
            let fields = Field::WORDS.iter().map(|(_, field)| *field);
            selected.clone().unwrap_or_else(|| fields.filter(|field| field.told() != other).collect())
        };
        let (of_connections, of_requests) = (all_but(Told::OfRequests), all_but(Told::OfConnections));
        Self { format, selected, of_connections, of_requests, clock: Clock::default() }
    }

    /// Appends a line with its newline to `out`.
    pub(super) fn write(&mut self, out: &mut String, line: &Line) {
        let Line { teller, event } = line;
        let fields = match event {
            Event::Connection(_) => &self.of_connections,
            Event::Request(_) => &self.of_requests,
        };
        let values = fields.iter().map(|field| (*field, value(*field, event, &teller.own)));
        match (self.format, &self.selected) {
            (Format::Json, _) => json::write(out, values, &mut self.clock),
            (Format::Text, Some(_)) => text::write_fields(out, values, &mut self.clock),
            (Format::Text, None) => text::write(out, event, &mut self.clock),
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests;
