//! A line of the access log as an OTLP log record.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};

use super::super::line::{Event, Line, Value, value};
use super::super::teller::Teller;
use super::super::workload::Own;
use super::attributes::{Attributes, Resource, scope};
use super::client::Request;
use super::span::nanoseconds;
use crate::model::Field;

/// The message that exports these lines, workload by workload.
pub(super) fn request(configured: &[(String, String)], groups: &[(Arc<Teller>, Vec<Line>)]) -> Request {
    let of_workload = |(teller, lines): &(Arc<Teller>, Vec<Line>)| {
        let log_records = lines.iter().map(|line| record(&line.event, &teller.own)).collect();
        ResourceLogs {
            resource: Resource::of(&teller.own, configured).wire(),
            scope_logs: vec![ScopeLogs { scope: scope(), log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }
    };
    Request::Records(ExportLogsServiceRequest { resource_logs: groups.iter().map(of_workload).collect() })
}

fn record(event: &Event, own: &Own) -> LogRecord {
    let (began, fault, name) = match event {
        Event::Connection(ended) => (ended.began, &ended.fault, "sidestep.connection"),
        Event::Request(exchange) => (exchange.began, &exchange.fault, "sidestep.request"),
    };
    let severity = if fault.is_some() { SeverityNumber::Warn } else { SeverityNumber::Info };
    let mut record = LogRecord {
        time_unix_nano: nanoseconds(began),
        observed_time_unix_nano: nanoseconds(began),
        severity_number: severity.into(),
        severity_text: if fault.is_some() { "WARN" } else { "INFO" }.to_owned(),
        event_name: name.to_owned(),
        body: Some(AnyValue { value: Some(Any::StringValue(body(event))) }),
        ..LogRecord::default()
    };
    if let Event::Request(exchange) = event
        && exchange.span.known()
    {
        record.trace_id = exchange.span.own.trace.bytes().to_vec();
        record.span_id = exchange.span.own.span.to_vec();
        record.flags = exchange.span.own.flags.into();
    }
    let mut attributes = Attributes::default();
    for (key, field) in Field::WORDS {
        match value(*field, event, own) {
            Value::Null | Value::Time(_) | Value::Trace(_) | Value::Span(_) => {}
            Value::Word(word) => attributes.word(key, word),
            Value::Text(text, most) => attributes.text(key, Some(&text), most),
            Value::Address(address) => attributes.word(key, &address.to_string()),
            Value::Flags(flags) => attributes.word(key, &flags.to_string()),
            Value::Number(number) => attributes.number(key, number),
            Value::Milliseconds(duration) => attributes.fraction(key, duration.as_secs_f64() * 1000.0),
        }
    }
    record.attributes = attributes.into_list();
    record
}

/// The shortest that says what happened.
fn body(event: &Event) -> String {
    match event {
        Event::Connection(ended) => {
            format!("{} connection, {}", ended.direction.word(), ended.verdict.word())
        }
        Event::Request(exchange) => {
            let status = exchange.answer.map_or("no answer".to_owned(), |answer| answer.status.to_string());
            format!("{} request, {status}", exchange.direction.word())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::samples::{asked, unreachable};
    use super::super::attributes::shown;
    use super::*;

    #[test]
    fn a_line_is_a_record_with_the_same_fields_in_its_trace() {
        let own = Own::named("web");
        let request = record(&Event::Request(Arc::new(asked())), &own);
        assert_eq!((request.trace_id.len(), request.span_id.len()), (16, 8));
        assert_eq!(request.event_name, "sidestep.request");
        for (key, value) in [("path", "/items?id=7"), ("status", "200"), ("workload", "web")] {
            assert_eq!(shown(&request.attributes, key).as_deref(), Some(value));
        }
        assert_eq!(shown(&request.attributes, "error"), None, "what is not known is left out");
        let connection = record(&Event::Connection(Arc::new(unreachable())), &own);
        assert_eq!(connection.severity_text, "WARN");
        let error = shown(&connection.attributes, "error").unwrap();
        assert!(error.contains("refused"), "{error}");
    }
}
