//! What the instance does at the edge of the workload, as it is written.

use std::path::PathBuf;

use super::{config, refused};
use crate::config::{CertificateFiles, OriginateProtocol, OriginateSettings, ServeProtocol};

fn originate(text: &str) -> OriginateSettings {
    let mut list = config(&format!("originate-tls: [ {text} ]\n")).edge.originate;
    assert_eq!(list.len(), 1);
    list.remove(0)
}

#[test]
fn tls_can_be_added_towards_every_kind_of_service() {
    let least = originate("{ listen: 127.0.0.1:5432, to: DB.example.com:5433, ca: /ca.pem }");
    assert_eq!(least.listen, "127.0.0.1:5432".parse().expect("an address"));
    assert_eq!(least.to.to_string(), "db.example.com:5433");
    assert_eq!(least.server_name.to_string(), "db.example.com");
    assert_eq!(
        (least.protocol, least.ca, least.certificate),
        (OriginateProtocol::Tls, PathBuf::from("/ca.pem"), None)
    );

    let most = originate(
        "{ listen: \"[::1]:3306\", to: \"[fd00::9]:3306\", protocol: mysql, server-name: db.example.com, ca: /ca.pem, \
         certificate: { certificate: /a.pem, key: /b.pem } }",
    );
    assert_eq!(
        (most.protocol, most.server_name.to_string().as_str()),
        (OriginateProtocol::Mysql, "db.example.com")
    );
    assert_eq!(most.to.to_string(), "[fd00::9]:3306");
    let (certificate, key) = (PathBuf::from("/a.pem"), PathBuf::from("/b.pem"));
    assert_eq!(most.certificate, Some(CertificateFiles::Files { certificate, key }));

    for (word, protocol) in [
        ("tls", OriginateProtocol::Tls),
        ("https", OriginateProtocol::Https),
        ("postgres", OriginateProtocol::Postgres),
    ] {
        let text =
            format!("{{ listen: 127.1.2.3:1, to: a:2, protocol: {word}, ca: /ca.pem, certificate: /dir }}");
        let found = originate(&text);
        assert_eq!(
            (found.protocol, found.certificate),
            (protocol, Some(CertificateFiles::Directory(PathBuf::from("/dir"))))
        );
    }
}

#[test]
fn what_cannot_be_added_is_named_with_its_place() {
    for (text, message) in [
        (
            "originate-tls: [ { listen: 0.0.0.0:5432, to: db:5432, ca: /ca.pem } ]",
            "1:18: originate-tls[0].listen: expected an address of loopback, such as 127.0.0.1:5432, since whoever connects \
             there speaks in our name, found 0.0.0.0:5432",
        ),
        (
            "originate-tls: [ { listen: 127.0.0.1:5432, to: db:5432 } ]",
            "1:44: originate-tls[0]: expected the field \"ca\", found none",
        ),
        (
            "originate-tls: [ { listen: 127.0.0.1:5432, to: db, ca: /ca.pem } ]",
            "1:48: originate-tls[0].to: expected a host and a port, such as db.example.com:5432 or [fd00::9]:5432, found \"db\"",
        ),
        (
            "originate-tls: [ { listen: 127.0.0.1:1, to: db:1, ca: /ca.pem, protocol: smtp } ]",
            "1:74: originate-tls[0].protocol: expected one of tls, https, postgres, mysql, found \"smtp\"",
        ),
        (
            "originate-tls: [ { listen: 127.0.0.1:1, to: db:1, ca: /ca.pem, server-name: a b } ]",
            "1:77: originate-tls[0].server-name: expected a host name or an IP address, such as db.example.com or 10.0.0.9, \
             found \"a b\"",
        ),
        (
            "originate-tls: [ { listen: 127.0.0.1:1, to: db:1, ca: /ca.pem, certificate: { key: /b } } ]",
            "1:79: originate-tls[0].certificate: expected the field \"certificate\", found none",
        ),
        (
            "originate-tls:\n  - { listen: 127.0.0.1:1, to: db:1, ca: /ca.pem }\n  - { listen: 127.0.0.1:1, to: db:2, ca: /ca.pem }",
            "3:5: originate-tls[1].listen: expected an address that nothing else listens at, found 127.0.0.1:1 again",
        ),
    ] {
        refused(text, message);
    }
}

#[test]
fn tls_is_taken_off_for_an_app_on_loopback_at_a_port_that_is_not_captured() {
    let all = config(
        "serve-tls:\n  - { listen: 0.0.0.0:8443, to: 127.0.0.1:8080, certificate: /certs }\n  \
         - { listen: \"[::]:9443\", to: \"[::1]:9000\", protocol: http2, certificate: { certificate: /a, key: /b }, client-ca: /ca.pem }\n\
         admin: { address: 127.0.0.1:15021 }\n",
    );
    let [first, second] = &all.edge.serve[..] else { panic!("{:?}", all.edge.serve) };
    assert_eq!((first.protocol, first.client_ca.as_deref()), (ServeProtocol::Http, None));
    assert_eq!(first.certificate, CertificateFiles::Directory(PathBuf::from("/certs")));
    assert_eq!(
        (second.protocol, second.client_ca.clone()),
        (ServeProtocol::Http2, Some(PathBuf::from("/ca.pem")))
    );
    let captured = all.inbound_ports();
    for port in [8443, 9443, 15021] {
        assert!(!captured.contains(port), "{port}");
    }
    assert!(captured.contains(8080), "the app's own port is the app's");
    for (text, message) in [
        (
            "serve-tls: [ { listen: 0.0.0.0:8443, to: 10.0.0.1:8080, certificate: /certs } ]",
            "1:14: serve-tls[0].to: expected where the app listens on loopback, such as 127.0.0.1:8080, found 10.0.0.1:8080; an \
             app that others reach would be reached without TLS too",
        ),
        (
            "serve-tls: [ { listen: 127.0.0.1:1, to: 127.0.0.1:1, certificate: /certs } ]",
            "1:14: serve-tls[0].to: expected another address than that of listen, found 127.0.0.1:1 again",
        ),
        (
            "serve-tls: [ { listen: 0.0.0.0:15021, to: 127.0.0.1:1, certificate: /certs } ]\nadmin: { address: 0.0.0.0:15021 }",
            "1:14: serve-tls[0].listen: expected an address that nothing else listens at, found 0.0.0.0:15021 again",
        ),
    ] {
        refused(text, message);
    }
}

#[test]
fn programs_address_us_over_loopback_only() {
    let edge = config("explicit: { address: 127.0.0.1:15001 }").edge;
    assert_eq!(edge.explicit, Some("127.0.0.1:15001".parse().expect("an address")));
    refused(
        "explicit: { address: 0.0.0.0:15001 }",
        "1:11: explicit.address: expected an address of loopback, such as 127.0.0.1:15001, since this is no open proxy, found \
         0.0.0.0:15001",
    );
    refused("explicit: {}", "1:11: explicit: expected the field \"address\", found none");
    refused(
        "explicit: { address: 127.0.0.1:1 }\nadmin: { address: 127.0.0.1:1 }",
        "1:11: explicit.address: expected an address that nothing else listens at, found 127.0.0.1:1 again",
    );
}

#[test]
fn a_change_at_the_edge_waits_for_a_restart() {
    let running = config("originate-tls: [ { listen: 127.0.0.1:1, to: db:1, ca: /ca.pem } ]");
    let new = config("originate-tls: [ { listen: 127.0.0.1:1, to: db:2, ca: /ca.pem } ]");
    assert_eq!(running.restart_only_changes(&new), ["originate-tls"]);
    assert_eq!(new.keeping(&running), running);
}

#[test]
fn the_edge_of_the_readme_is_valid() {
    let readme = include_str!("../../../../README.md");
    let (_, rest) = readme.split_once("```yaml edge\n").expect("the README shows the edge");
    let (text, _) = rest.split_once("```").expect("its block ends");
    let edge = config(text).edge;
    assert_eq!((edge.originate.len(), edge.serve.len(), edge.explicit.is_some()), (1, 1, true));
}
