//! What is counted under which labels, and that there is an end to them.

use std::ops::ControlFlow;

use http::{Method, StatusCode};

use super::super::samples::{self, asked, unanswered};
use super::*;
use crate::model::{Answer, Flag, Identity, RequestKind};
use std::sync::Arc;

fn golden() -> Golden {
    let identity = Some("spiffe://cluster.local/ns/shop/sa/web".parse().unwrap());
    Golden::new(Own { name: "web-0".to_owned(), identity })
}

fn text(golden: &Golden) -> String {
    let mut text = String::new();
    for family in Family::ALL {
        let mut position = Position::default();
        while let ControlFlow::Continue(next) = golden.write(family, position, text.len() + 100, &mut text) {
            position = next;
        }
    }
    text
}

fn has(golden: &Golden, line: &str) {
    let text = text(golden);
    assert!(text.lines().any(|found| found == line), "no line {line:?} in\n{text}");
}

const ASKED: &str = "reporter=\"source\",source_workload=\"web-0\",source_workload_namespace=\"shop\",\
                     source_principal=\"spiffe://cluster.local/ns/shop/sa/web\",destination_workload=\"db-0\",\
                     destination_workload_namespace=\"shop\",\
                     destination_principal=\"spiffe://cluster.local/ns/shop/sa/db\",\
                     destination_service=\"db.shop.svc.cluster.local\",destination_service_name=\"db\",\
                     destination_service_namespace=\"shop\",request_protocol=\"http\",response_code=\"200\",\
                     grpc_response_status=\"unknown\",response_flags=\"-\",\
                     connection_security_policy=\"mutual_tls\"";

#[test]
fn a_request_is_counted_with_who_asked_whom_and_how_it_went() {
    let golden = golden();
    golden.exchanged(&asked());
    golden.exchanged(&asked());
    has(&golden, &format!("istio_requests_total{{{ASKED}}} 2"));
    for (name, below, above, sum) in [
        ("istio_request_duration_milliseconds", "5", "10", "14.468"),
        ("istio_request_bytes", "50", "100", "156.000"),
        ("istio_response_bytes", "1000", "2500", "2468.000"),
    ] {
        has(&golden, &format!("{name}_bucket{{{ASKED},le=\"0.5\"}} 0"));
        has(&golden, &format!("{name}_bucket{{{ASKED},le=\"{below}\"}} 0"));
        has(&golden, &format!("{name}_bucket{{{ASKED},le=\"{above}\"}} 2"));
        has(&golden, &format!("{name}_bucket{{{ASKED},le=\"+Inf\"}} 2"));
        has(&golden, &format!("{name}_sum{{{ASKED}}} {sum}"));
        has(&golden, &format!("{name}_count{{{ASKED}}} 2"));
    }
}

#[test]
fn what_is_not_known_is_called_unknown_and_no_answer_has_the_code_0() {
    let golden = golden();
    golden.exchanged(&unanswered());
    has(
        &golden,
        "istio_requests_total{reporter=\"destination\",source_workload=\"unknown\",\
         source_workload_namespace=\"unknown\",source_principal=\"unknown\",destination_workload=\"web-0\",\
         destination_workload_namespace=\"shop\",destination_principal=\"unknown\",\
         destination_service=\"unknown\",destination_service_name=\"unknown\",\
         destination_service_namespace=\"unknown\",request_protocol=\"http\",response_code=\"0\",\
         grpc_response_status=\"unknown\",response_flags=\"UC\",connection_security_policy=\"none\"} 1",
    );
}

#[test]
fn the_namespace_of_a_stranger_with_a_certificate_is_the_certificates() {
    let golden = golden();
    let mut exchange = unanswered();
    exchange.source_identity = Some("spiffe://cluster.local/ns/other/sa/guest".parse().unwrap());
    exchange.destination_identity = golden.own.identity.clone();
    golden.exchanged(&exchange);
    let text = text(&golden);
    assert!(text.contains("source_workload=\"unknown\",source_workload_namespace=\"other\""), "{text}");
}

#[test]
fn grpc_has_a_status_of_its_own() {
    let golden = golden();
    let mut exchange = asked();
    exchange.request.kind = RequestKind::Grpc;
    exchange.answer = Some(Answer { status: StatusCode::OK, grpc_status: Some(14) });
    golden.exchanged(&exchange);
    let text = text(&golden);
    assert!(
        text.contains(
            "request_protocol=\"grpc\",response_code=\"200\",grpc_response_status=\"14\",response_flags=\"-\""
        ),
        "{text}"
    );
}

#[test]
fn connections_that_nobody_looked_into_are_counted_when_they_end() {
    let golden = golden();
    let mut ended = samples::tunnelled();
    ended.peer = Some(Arc::new(samples::workload("db-0")));
    golden.ended(&ended);
    golden.ended(&samples::denied());
    golden.ended(&samples::unreachable());
    let text = text(&golden);
    let of = |name: &str| -> Vec<&str> { text.lines().filter(|line| line.starts_with(name)).collect() };
    assert_eq!(of("istio_tcp_connections_opened_total").len(), 2, "{text}");
    let tunnelled = |name: &str| {
        let lines = of(name);
        let line = lines.iter().find(|line| line.contains("destination_workload=\"db-0\"")).unwrap();
        assert!(line.contains(
            "request_protocol=\"tcp\",response_flags=\"-\",connection_security_policy=\"mutual_tls\"}"
        ));
        line.rsplit(' ').next().unwrap().to_owned()
    };
    // From the view of the side that was dialled.
    assert_eq!(tunnelled("istio_tcp_sent_bytes_total"), "1234");
    assert_eq!(tunnelled("istio_tcp_received_bytes_total"), "78");
    assert_eq!(tunnelled("istio_tcp_connections_closed_total"), "1");
    assert!(
        of("istio_tcp_connections_closed_total").iter().any(|line| line.contains("response_flags=\"UF\""))
    );
    assert!(!text.contains("istio_requests_total"));
}

#[test]
fn a_directory_that_was_read_anew_goes_on_with_the_same_sets() {
    let golden = golden();
    golden.exchanged(&asked());
    // Made anew each time: other references, the same names.
    golden.exchanged(&asked());
    assert_eq!(text(&golden).lines().filter(|line| line.starts_with("istio_requests_total")).count(), 1);
}

#[test]
fn nothing_that_a_client_says_makes_a_set_of_labels() {
    let golden = golden();
    for number in 0..10_000 {
        let mut exchange = asked();
        exchange.request.method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
        exchange.request.authority = Some(format!("host-{number}").into());
        exchange.request.target = format!("/{number}\"}} 1\n").into();
        exchange.request.user_agent = Some(format!("agent-{number}").into());
        exchange.route = None;
        golden.exchanged(&exchange);
    }
    assert_eq!(golden.sets.load(Ordering::Relaxed), 1);
}

#[test]
fn an_upstream_that_answers_anything_makes_a_bounded_number_of_sets() {
    let golden = golden();
    for status in 100..1000 {
        for grpc_status in [None, Some(0), Some(16), Some(17), Some(u16::MAX)] {
            let mut exchange = asked();
            exchange.answer = Some(Answer { status: StatusCode::from_u16(status).unwrap(), grpc_status });
            golden.exchanged(&exchange);
        }
    }
    let registered = (100..1000)
        .filter(|code| StatusCode::from_u16(*code).is_ok_and(|status| status.canonical_reason().is_some()));
    // Those, and one for all others; with three words for the status of gRPC.
    assert_eq!(golden.sets.load(Ordering::Relaxed), (registered.count() + 1) * 3);
    assert_eq!(golden.overflowed(), 0);
}

#[test]
fn what_comes_after_the_last_set_is_counted_in_one_that_says_so() {
    let golden = golden();
    let count = MOST_SETS + 100;
    for number in 0..count {
        let mut exchange = asked();
        let identity: Identity = format!("spiffe://cluster.local/ns/n/sa/a{number}").parse().unwrap();
        exchange.destination_identity = Some(identity);
        golden.exchanged(&exchange);
    }
    let mut flags = asked();
    flags.flags.raise(Flag::Overflow);
    golden.exchanged(&flags);
    golden.ended(&samples::relayed());
    let text = text(&golden);
    let sets = text.lines().filter(|line| line.starts_with("istio_requests_total"));
    assert_eq!(sets.count(), MOST_SETS + 1);
    assert_eq!(golden.overflowed(), 102);
    let overflow = text.lines().find(|line| line.contains("reporter=\"overflow\"")).unwrap();
    assert!(overflow.ends_with(" 101"), "{overflow}");
    assert!(
        text.lines().any(|line| line.starts_with("istio_tcp_connections_closed_total{reporter=\"overflow\""))
    );
    // A set that stands goes on to be counted.
    let mut again = asked();
    again.destination_identity = Some("spiffe://cluster.local/ns/n/sa/a7".parse().unwrap());
    golden.exchanged(&again);
    assert_eq!(golden.overflowed(), 102);
}

#[test]
fn values_are_escaped_as_the_format_demands() {
    let golden = golden();
    let mut exchange = asked();
    exchange.service = Some(Arc::new(samples::service("a\\b\"c\nd")));
    golden.exchanged(&exchange);
    let text = text(&golden);
    assert!(text.contains(r#"destination_service="a\\b\"c\nd","#), "{text}");
}

#[test]
fn a_thousand_destinations_take_less_than_a_megabyte() {
    // Beside what the directory holds anyway: the table, and an entry for each with its link.
    let entry = size_of::<Labels>() + size_of::<Requests>() + 3 * size_of::<usize>();
    assert!(1000 * entry < 1 << 20, "{entry} bytes for each");
}
