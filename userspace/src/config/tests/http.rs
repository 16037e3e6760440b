//! `http:` and what services' ports are declared to speak.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::super::{Config, HttpSettings, Looking};
use crate::model::{Destination, OriginalDst, PathForm, Protocol};

fn parse(text: &str) -> Config {
    Config::parse(Path::new("test.yaml"), text).unwrap()
}

#[test]
fn nothing_is_looked_at_unless_it_is_asked_for() {
    assert_eq!(parse("{}").http, None);
    let asked = parse("http: {}").http.unwrap();
    assert_eq!((asked.outbound, asked.inbound), (Looking::Detect, Looking::Detect));
}

#[test]
fn every_setting_of_http_is_read() {
    let read = parse(
        "http:\n  outbound: declared\n  inbound: off\n  ports: { 8080: http, 50051: grpc }\n  opaque-ports: [3306, 25]\n  \
         max-header-size: 16KiB\n  header-timeout: 1s\n  idle-timeout: 2s\n  max-requests: 3\n",
    );
    assert_eq!(
        read.http.unwrap(),
        HttpSettings {
            outbound: Looking::Declared,
            inbound: Looking::Off,
            ports: BTreeMap::from([(8080, Protocol::Http1), (50051, Protocol::Http2)]),
            opaque_ports: BTreeSet::from([25, 3306]),
            max_header_size: 16 << 10,
            header_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(2),
            max_requests: 3,
        }
    );
}

#[test]
fn paths_are_compared_in_the_form_that_is_asked_for() {
    for (text, form) in [
        ("{}", PathForm::Base),
        ("http: {}", PathForm::Base),
        ("http: { path-normalization: none }", PathForm::None),
        ("http: { path-normalization: merge-slashes }", PathForm::MergeSlashes),
        ("http: { path-normalization: decode-and-merge-slashes }", PathForm::DecodeAndMergeSlashes),
    ] {
        assert_eq!(parse(text).path_form, form, "{text}");
    }
}

#[test]
fn what_a_service_speaks_is_declared_by_its_application_or_else_by_its_ports_name() {
    let config = parse(
        "services:\n  - hostname: web.shop\n    addresses: [10.96.0.1]\n    endpoints: [10.0.0.9]\n    ports:\n      \
         - { port: 80, name: http-web, app-protocol: kubernetes.io/h2c }\n      - { port: 81, name: http-web }\n      \
         - { port: 82, name: web }\n",
    );
    let declared = |port: u16| match config.directory.resolve(OriginalDst(([10, 96, 0, 1], port).into())) {
        Destination::Service { port, .. } => port.protocol,
        other => panic!("{other:?}"),
    };
    assert_eq!([80, 81, 82].map(declared), [Some(Protocol::Http2), Some(Protocol::Http1), None]);
}
