//! Pods and what they become.

use serde_json::{Value, json};

use super::*;
use crate::config::Config;

mod any;
mod documents;
mod reviews;

fn check(configuration: &str) -> Result<(), String> {
    Config::parse(std::path::Path::new("f"), configuration).map(drop).map_err(|error| error.to_string())
}

fn pod(spec: &Value) -> Value {
    let mut pod = json!({
        "metadata": { "name": "web", "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "app", "image": "nginx" }] },
    });
    for (field, value) in spec.as_object().expect("a mapping") {
        pod["spec"][field] = value.clone();
    }
    pod
}

const SHOP: Place<'static> = Place { namespace: "shop" };

fn settings() -> Settings {
    Settings { identity: Some(IdentitySource::CertManager), ..Settings::default() }
}

/// The pod with the sidecar, and the configuration.
fn injected(pod: &Value, settings: &Settings) -> (Value, Config) {
    match put_in(pod, &SHOP, settings, Existing::Renew) {
        Ok(Outcome::Injected { template, configuration, .. }) => {
            assert_eq!(template["metadata"]["annotations"][CONFIGURATION], configuration);
            let config = Config::parse(std::path::Path::new("f"), &configuration);
            (template, config.unwrap_or_else(|error| panic!("{error}\n{configuration}")))
        }
        other => panic!("{other:?}"),
    }
}

fn refusal(pod: &Value) -> String {
    put_in(pod, &SHOP, &settings(), Existing::Keep).expect_err("refused").to_string()
}

#[test]
fn the_sidecar_is_native_comes_first_and_has_exactly_the_capabilities_it_needs() {
    let (pod, _) = injected(&pod(&json!({ "initContainers": [{ "name": "migrate" }] })), &settings());
    let [sidecar, migrate] = pod["spec"]["initContainers"].as_array().expect("a list").as_slice() else {
        panic!("{pod}")
    };
    assert_eq!(migrate["name"], "migrate");
    assert_eq!((&sidecar["name"], &sidecar["restartPolicy"]), (&json!("sidestep"), &json!("Always")));
    let capabilities = &sidecar["securityContext"]["capabilities"];
    assert_eq!(*capabilities, json!({ "drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "SYS_ADMIN"] }));
    assert_eq!(sidecar["securityContext"]["privileged"], Value::Null);
    assert_eq!(sidecar["startupProbe"]["httpGet"], json!({ "path": "/readyz", "port": 15021 }));
    assert_eq!(sidecar["resources"]["limits"]["memory"], "256Mi");
    assert_eq!(pod["metadata"]["annotations"][STATUS], INJECTED);
}

#[test]
fn every_mount_of_the_sidecar_has_its_volume_and_the_apps_stay() {
    for identity in [
        None,
        Some(IdentitySource::CertManager),
        Some(IdentitySource::Spire),
        Some(IdentitySource::Secret("web".to_owned())),
    ] {
        let settings = Settings { identity, ..Settings::default() };
        let (pod, config) = injected(&pod(&json!({ "volumes": [{ "name": "cache" }] })), &settings);
        let names = |list: &Value| {
            let names = list.as_array().expect("a list").iter().map(|it| it["name"].clone());
            names.collect::<Vec<_>>()
        };
        let volumes = names(&pod["spec"]["volumes"]);
        assert_eq!(volumes[0], "cache");
        assert_eq!(volumes[1..], names(&pod["spec"]["initContainers"][0]["volumeMounts"]));
        assert_eq!(config.identity.is_some(), settings.identity.is_some());
    }
}

#[test]
fn the_configuration_says_who_the_pod_is() {
    let mut pod = pod(&json!({ "serviceAccountName": "orders" }));
    pod["metadata"]["labels"] = json!({ "app": "web", "version": "1.0" });
    let (pod, config) = injected(&pod, &settings());
    let identity = config.identity.expect("an identity").id.expect("an id");
    assert_eq!(identity.to_string(), "spiffe://cluster.local/ns/shop/sa/orders");
    let text = pod["metadata"]["annotations"][CONFIGURATION].as_str().expect("a text");
    assert!(text.contains("version: \"1.0\"") || text.contains("version: '1.0'"), "{text}");
    assert_eq!(config.admin.expect("an address").address.port(), 15021);
    assert_eq!(config.capture.cgroup_mount.expect("a path"), std::path::Path::new("/host/sys/fs/cgroup"));
}

#[test]
fn what_the_kubelet_asks_in_plain_text_passes_and_nothing_else() {
    let pod = pod(&json!({ "containers": [{
        "name": "app",
        "ports": [{ "name": "web", "containerPort": 8080 }],
        "livenessProbe": { "httpGet": { "port": "web", "path": "/healthz" } },
        "readinessProbe": { "httpGet": { "port": 8080 } },
        "startupProbe": { "tcpSocket": { "port": 9000 } },
        "lifecycle": { "preStop": { "httpGet": { "port": "web", "path": "drain" } } },
    }, {
        "name": "grpc",
        "livenessProbe": { "grpc": { "port": 50051, "service": "orders" } },
        "readinessProbe": { "httpGet": { "port": 8443, "scheme": "HTTPS" } },
        "startupProbe": { "exec": { "command": ["true"] } },
    }] }));
    assert_eq!(
        probes::of(&pod["spec"]),
        [
            json!({ "port": 8080, "http": ["/", "/drain", "/healthz"] }),
            json!({ "port": 9000, "tcp": true }),
            json!({ "port": 50051, "grpc": ["orders"] }),
        ]
    );
    let (_, config) = injected(&pod, &settings());
    assert_ne!(config.mutual_tls, Config::default().mutual_tls);
}

#[test]
fn injecting_twice_is_injecting_once() {
    for spec in
        [json!({}), json!({ "initContainers": [{ "name": "migrate" }], "volumes": [{ "name": "v" }] })]
    {
        let (once, _) = injected(&pod(&spec), &settings());
        let (twice, _) = injected(&once, &settings());
        assert_eq!(once, twice);
        let kept = put_in(&once, &SHOP, &settings(), Existing::Keep);
        assert_eq!(kept, Ok(Outcome::Untouched(Untouched::HasIt)));
    }
}

#[test]
fn a_renewed_sidecar_is_the_one_of_the_new_settings() {
    let (old, _) = injected(&pod(&json!({})), &settings());
    let settings = Settings { image: "sidestep:2".to_owned(), identity: None, ..settings() };
    let (new, config) = injected(&old, &settings);
    assert_eq!(new["spec"]["initContainers"].as_array().map(Vec::len), Some(1));
    assert_eq!(new["spec"]["initContainers"][0]["image"], "sidestep:2");
    assert_eq!(new["spec"]["volumes"].as_array().map(Vec::len), Some(3));
    assert_eq!(config.identity, None);
}

#[test]
fn a_pod_has_the_last_word_on_its_sidecar() {
    let mut pod = pod(&json!({}));
    pod["metadata"]["annotations"] =
        json!({ SIDECAR: "inbound: { ports: [8080] }\nadmin: { address: '0.0.0.0:9999' }\n" });
    let (pod, config) = injected(&pod, &settings());
    assert_eq!(config.inbound_ports(), [crate::policy::PortSpan::one(8080)].into_iter().collect());
    assert_eq!(pod["spec"]["initContainers"][0]["readinessProbe"]["httpGet"]["port"], 9999);
    let mut wrong = self::pod(&json!({}));
    wrong["metadata"]["annotations"] = json!({ SIDECAR: "- a list" });
    assert!(refusal(&wrong).contains("annotation sidestep.io/sidecar: expected a mapping"));
}

#[test]
fn pods_that_want_none_or_cannot_have_one_stay_as_they_are() {
    let mut annotated = pod(&json!({}));
    annotated["metadata"]["annotations"] = json!({ INJECT: "false" });
    let mut labelled = pod(&json!({}));
    labelled["metadata"]["labels"] = json!({ INJECT: "false" });
    for (pod, reason) in [
        (annotated, Untouched::OptedOut),
        (labelled, Untouched::OptedOut),
        (pod(&json!({ "hostNetwork": true })), Untouched::HostNetwork),
        (pod(&json!({ "os": { "name": "windows" } })), Untouched::Windows),
    ] {
        let outcome = put_in(&pod, &SHOP, &settings(), Existing::Renew);
        assert_eq!(outcome, Ok(Outcome::Untouched(reason)));
    }
}

#[test]
fn the_annotation_alone_is_no_sidecar() {
    let mut forged = pod(&json!({}));
    forged["metadata"]["annotations"] = json!({ STATUS: INJECTED });
    let outcome = put_in(&forged, &SHOP, &settings(), Existing::Keep);
    assert!(matches!(outcome, Ok(Outcome::Injected { .. })), "{outcome:?}");
}

#[test]
fn a_pod_that_would_not_work_is_refused() {
    for (spec, expected) in [
        (json!({ "containers": [] }), "expected a pod with spec.containers, found none"),
        (json!({ "containers": [{ "name": "sidestep" }] }), "found a container named sidestep"),
        (json!({ "volumes": [{ "name": "sidestep-bpffs" }] }), "found a volume named sidestep-bpffs"),
        (json!({ "hostUsers": false }), "found hostUsers: false"),
        (json!({ "volumes": "all" }), "spec.volumes: expected a list, found \"all\""),
        (json!({ "initContainers": { "a": 1 } }), "spec.initContainers: expected a list"),
    ] {
        let found = refusal(&pod(&spec));
        assert!(found.contains(expected), "{found}");
    }
    let mut wrong = pod(&json!({}));
    wrong["metadata"] = json!("web");
    assert!(refusal(&wrong).contains("metadata: expected a mapping, found \"web\""));
    for nothing in [json!(null), json!([]), json!({ "spec": 1 })] {
        assert!(refusal(&nothing).contains("expected a pod"), "{nothing}");
    }
}

#[test]
fn little_time_to_drain_is_told() {
    let outcome =
        put_in(&pod(&json!({ "terminationGracePeriodSeconds": 5 })), &SHOP, &settings(), Existing::Keep);
    let Ok(Outcome::Injected { warnings, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(warnings[0].contains("terminationGracePeriodSeconds"), "{warnings:?}");
}

#[test]
fn settings_that_make_no_sidecar_are_known_before_there_is_a_pod() {
    assert_eq!(rehearse(&Settings::default(), &check), Ok(()));
    let wrong: Settings =
        serde_json::from_value(json!({ "sidecar": { "inbound": { "ports": "some" } } })).expect("settings");
    let error = rehearse(&wrong, &check).expect_err("no such word");
    assert!(error.contains("inbound.ports"), "{error}");
    let unknown = serde_json::from_value::<Settings>(json!({ "picture": "x" }));
    assert!(unknown.expect_err("no such field").to_string().contains("picture"));
}
