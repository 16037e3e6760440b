//! What `tracing` and `access-log` mean, and what they may not say.

use std::path::PathBuf;

use super::*;
use crate::model::{Field, Parents, Sampling};

#[test]
fn everything_that_can_be_said_of_tracing() {
    let tracing = config(
        "tracing:\n  endpoint: https://collector.observability:4318/base\n  protocol: http\n  sampling: 0.25\n  \
         parents: ignored\n  headers: { x-token: secret }\n  resource: { deployment.environment.name: test }\n  \
         authorities: /etc/sidestep/collector.pem\n",
    );
    let tracing = tracing.tracing.expect("tracing");
    assert_eq!(tracing.endpoint, "https://collector.observability:4318/base");
    assert_eq!(tracing.protocol, TraceProtocol::Http);
    assert_eq!(tracing.sampling, Sampling::new(0.25, Parents::Ignored));
    assert_eq!(tracing.headers["x-token"], "secret");
    assert!(!format!("{tracing:?}").contains("secret"), "it could be logged");
    assert_eq!(tracing.resource, [("deployment.environment.name".to_owned(), "test".to_owned())]);
    assert_eq!(tracing.authorities, Some(PathBuf::from("/etc/sidestep/collector.pem")));
}

#[test]
fn an_endpoint_is_all_that_tracing_needs() {
    let tracing = config("tracing: { endpoint: http://collector:4317 }").tracing.expect("tracing");
    assert_eq!(tracing.protocol, TraceProtocol::Grpc);
    assert_eq!(tracing.sampling, Sampling::new(0.01, Parents::Followed));
    assert!(tracing.headers.is_empty() && tracing.resource.is_empty());
    assert_eq!(config("{}").tracing, None);
}

#[test]
fn what_is_wrong_with_tracing_is_named() {
    refused(
        "tracing: {}",
        "1:10: tracing.endpoint: expected an endpoint such as http://collector:4317, found none",
    );
    for endpoint in
        ["collector:4317", "ftp://collector", "http://", "http://user:secret@collector", "http://c/?q"]
    {
        refused(
            &format!("tracing: {{ endpoint: \"{endpoint}\" }}"),
            &format!(
                "1:22: tracing.endpoint: expected a URL such as http://collector:4317 or \
                 https://collector:4318/base, found {endpoint:?}"
            ),
        );
    }
    refused(
        "tracing: { endpoint: http://c, sampling: 1.5 }",
        "1:42: tracing.sampling: expected a number from 0 to 1, such as 0.01, found \"1.5\"",
    );
    refused(
        "tracing: { endpoint: http://c, headers: { \"a b\": c } }",
        "1:10: tracing.headers.a b: expected the name of a header field and a value without line breaks",
    );
}

#[test]
fn fields_of_the_access_log_can_be_selected() {
    let log = config("access-log: { fields: [ time, status, trace_id ] }").access_log.expect("a log");
    assert_eq!(log.fields, Some(vec![Field::Time, Field::Status, Field::TraceId]));
    let list: Vec<&str> = Field::WORDS.iter().map(|(word, _)| *word).collect();
    refused(
        "access-log: { fields: [ time, statuss ] }",
        &format!("1:31: access-log.fields[1]: expected one of {}, found \"statuss\"", list.join(", ")),
    );
}

#[test]
fn lines_go_to_the_collector_only_where_there_is_one() {
    let log = config("tracing: { endpoint: http://c }\naccess-log: { otlp: true }\n").access_log;
    assert_eq!(log.expect("a log").export, LogExport::Otlp);
    refused(
        "access-log: { otlp: true }",
        "1:13: access-log.otlp: expected the section tracing, which says where the collector is, found none",
    );
}
