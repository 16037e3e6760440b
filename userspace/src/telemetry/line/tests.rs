//! Lines as they are read by people and machines.

use super::super::samples;
use super::super::workload::Own;
use super::*;
use crate::model::{Decided, RuleName, Ruling};

fn line(format: Format, selected: Option<Vec<Field>>, event: &Event) -> String {
    let mut out = String::new();
    let teller = Arc::new(Teller::new(Own::named("web")));
    Lines::new(format, selected).write(&mut out, &Line { teller, event: event.clone() });
    out
}

fn connection(ended: Ended) -> Event {
    Event::Connection(Arc::new(ended))
}

fn request(exchange: Exchange) -> Event {
    Event::Request(Arc::new(exchange))
}

fn json(event: &Event) -> String {
    line(Format::Json, None, event)
}

fn text(event: &Event) -> String {
    line(Format::Text, None, event)
}

#[test]
fn a_connections_json_has_every_key_in_a_stable_order() {
    assert_eq!(
        json(&connection(samples::relayed())),
        "{\"time\":\"2023-11-14T22:13:20.123456Z\",\"workload\":\"web\",\"connection\":7,\"direction\":\"outbound\",\
         \"source\":\"10.0.0.5:40000\",\"original_destination\":\"10.0.0.9:80\",\"upstream\":\"10.0.0.9:80\",\
         \"verdict\":\"proxy\",\"reason\":\"rule\",\"policy\":null,\"would_be\":null,\"audit\":null,\"tier\":\"relay\",\"protocol\":null,\"sni\":null,\"requests\":0,\
         \"service\":null,\"source_principal\":null,\"destination_principal\":null,\"peer_workload\":null,\
         \"trace_id\":null,\"bytes_sent\":78,\"bytes_received\":1234,\"duration_ms\":1.234,\"error\":null,\
         \"error_side\":null}\n"
    );
}

#[test]
fn a_requests_json_has_every_key_in_a_stable_order() {
    assert_eq!(
        json(&request(samples::asked())),
        "{\"time\":\"2023-11-14T22:13:20.123456Z\",\"workload\":\"web\",\"connection\":7,\"direction\":\"outbound\",\
         \"source\":\"10.0.0.5:40000\",\"original_destination\":\"10.96.0.10:80\",\"upstream\":\"10.0.0.9:8080\",\
         \"policy\":null,\"would_be\":null,\"audit\":null,\"tier\":\"http\",\"protocol\":\"http/1.1\",\"method\":\"GET\",\"authority\":\"db.shop\",\
         \"path\":\"/items?id=7\",\"status\":200,\"grpc_status\":null,\"response_flags\":\"-\",\
         \"route\":\"shop/db/1\",\"service\":\"db.shop.svc.cluster.local\",\
         \"source_principal\":\"spiffe://cluster.local/ns/shop/sa/web\",\
         \"destination_principal\":\"spiffe://cluster.local/ns/shop/sa/db\",\"peer_workload\":\"shop/db-0\",\
         \"trace_id\":\"0102030405060708090a0b0c0d0e0f10\",\"span_id\":\"1112131415161718\",\"parent_span_id\":null,\
         \"request_id\":\"e7b0\",\"user_agent\":\"curl/8\",\"bytes_sent\":78,\"bytes_received\":1234,\
         \"duration_ms\":7.234,\"upstream_ms\":5.000,\"proxy_ms\":2.233,\"attempts\":1,\"error\":null,\
         \"error_side\":null}\n"
    );
}

#[test]
fn json_tells_whose_fault_an_error_is() {
    let line = json(&connection(samples::unreachable()));
    assert!(
        line.contains("\"error\":\"dial upstream: Connection refused\",\"error_side\":\"peer\"}"),
        "{line}"
    );
    let line = json(&request(samples::unanswered()));
    assert!(line.contains("\"status\":null,\"grpc_status\":null,\"response_flags\":\"UC\""), "{line}");
    assert!(line.contains("\"error_side\":\"workload\""), "{line}");
}

#[test]
fn json_says_null_for_what_is_not_known_of_a_denied_connect() {
    let line = json(&connection(samples::denied()));
    assert!(
        line.contains("\"source\":null,\"original_destination\":\"10.0.0.9:80\",\"upstream\":null"),
        "{line}"
    );
}

#[test]
fn a_tunnelled_connection_tells_who_was_at_either_end() {
    let tunnelled = connection(samples::tunnelled());
    let line = json(&tunnelled);
    assert!(
        line.contains(
            "\"source_principal\":\"spiffe://cluster.local/ns/shop/sa/web\",\
             \"destination_principal\":\"spiffe://cluster.local/ns/shop/sa/db\",\"peer_workload\":\"shop/db-0\",\
             \"trace_id\":\"01010101010101010101010101010101\""
        ),
        "{line}"
    );
    let line = text(&tunnelled);
    assert!(line.ends_with(" ms  cluster.local/ns/shop/sa/web => cluster.local/ns/shop/sa/db\n"), "{line}");
}

#[test]
fn what_policy_says_is_told_with_the_rule_that_says_so() {
    let rule = |name: &str| Some(RuleName { policy: name.into(), rule: 2 });
    let decided = Decided {
        ruling: Ruling::Denied(None),
        would_be: Some(Ruling::Allowed(rule("shop/new"))),
        audited: rule("shop/watch"),
    };
    let denied = connection(Ended { decided: Some(Box::new(decided)), ..samples::tunnelled() });
    let line = json(&denied);
    assert!(
        line.contains("\"policy\":\"none\",\"would_be\":\"allowed:shop/new[2]\",\"audit\":\"shop/watch[2]\""),
        "{line}"
    );
    let line = text(&denied);
    assert!(line.contains("  denied by default, as no rule allows it  audited by shop/watch[2]"), "{line}");
    let would_be = Some(Ruling::Denied(rule("shop/no")));
    let decided = Decided { ruling: Ruling::Allowed(rule("shop/yes")), would_be, audited: None };
    let tried = request(Exchange { decided: Some(Box::new(decided)), ..samples::asked() });
    let line = json(&tried);
    assert!(
        line.contains("\"policy\":\"shop/yes[2]\",\"would_be\":\"denied:shop/no[2]\",\"audit\":null"),
        "{line}"
    );
    assert!(text(&tried).contains("  would be denied by shop/no[2]"), "{}", text(&tried));
}

#[test]
fn text_is_one_short_aligned_line() {
    assert_eq!(
        text(&connection(samples::relayed())),
        "22:13:20.123 -> proxy  rule            10.0.0.5:40000 10.0.0.9:80                  78 sent      1234 \
         received      1.234 ms\n"
    );
    let failed = text(&connection(samples::unreachable()));
    assert!(failed.ends_with(" ms  peer failed: dial upstream: Connection refused\n"), "{failed}");
    let denied = text(&connection(samples::denied()));
    assert!(denied.contains("deny   rule                         ? 10.0.0.9:80"), "{denied}");
    assert_eq!(
        text(&request(samples::asked())),
        "22:13:20.123 -> 200 -            10.0.0.5:40000 10.96.0.10:80                78 sent      1234 \
         received      7.234 ms  \"GET db.shop/items?id=7\"  trace 0102030405060708090a0b0c0d0e0f10  \
         cluster.local/ns/shop/sa/web => cluster.local/ns/shop/sa/db\n"
    );
}

#[test]
fn selected_fields_stand_in_their_order_and_no_others() {
    let selected = vec![Field::Status, Field::Path, Field::Sni, Field::DurationMs];
    let event = request(samples::asked());
    assert_eq!(
        line(Format::Json, Some(selected.clone()), &event),
        "{\"status\":200,\"path\":\"/items?id=7\",\"sni\":null,\"duration_ms\":7.234}\n"
    );
    assert_eq!(
        line(Format::Text, Some(selected.clone()), &event),
        "status=200 path=\"/items?id=7\" sni=- duration_ms=7.234\n"
    );
    let connection = connection(samples::relayed());
    assert_eq!(
        line(Format::Json, Some(selected), &connection),
        "{\"status\":null,\"path\":null,\"sni\":null,\"duration_ms\":1.234}\n"
    );
}

#[test]
fn what_strangers_write_stays_within_its_field_and_its_line() {
    let evil = "x\"} {\"status\":200}\r\n{\"forged\":true}\u{202e}\u{2028}\x1b[1A status=200 ".repeat(100);
    let mut exchange = samples::asked();
    exchange.request.target = evil.clone().into();
    exchange.request.authority = Some(evil.clone().into());
    exchange.request.user_agent = Some(evil.clone().into());
    exchange.request.request_id = Some(evil.clone().into());
    exchange.request.method = http::Method::from_bytes(&[b'M'; 4096]).unwrap();
    let mut ended = samples::relayed();
    ended.sni = Some(evil.into());
    let all: Vec<Field> = Field::WORDS.iter().map(|(_, field)| *field).collect();
    for event in [request(exchange), connection(ended)] {
        let line_of_json = json(&event);
        assert!(line_of_json.len() < 4096, "a pipe takes {} bytes apart", line_of_json.len());
        let object: serde_json::Value = serde_json::from_str(&line_of_json).unwrap();
        assert!(object.get("forged").is_none());
        for line in [line_of_json, text(&event), line(Format::Text, Some(all.clone()), &event)] {
            assert_eq!(line.find('\n'), Some(line.len() - 1), "one line: {line}");
            assert!(!line.contains(['\r', '\u{202e}', '\u{2028}', '\x1b']), "{line}");
        }
    }
}

#[test]
fn a_trace_that_nobody_else_knows_is_not_told() {
    let mut exchange = samples::asked();
    exchange.span =
        crate::model::Context::default().child(None, crate::model::RandomIds { trace: 1, span: 2 });
    let line = json(&request(exchange));
    assert!(line.contains("\"trace_id\":null,\"span_id\":null,\"parent_span_id\":null"), "{line}");
}
