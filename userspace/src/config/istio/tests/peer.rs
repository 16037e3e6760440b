//! `PeerAuthentication`.

use std::collections::BTreeMap;

use super::{read, wrong};
use crate::policy::{MutualTlsMode, PeerAuthentication};

fn written(spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{ name: a, namespace: n }}\nspec:\n{spec}"
    )
}

#[test]
fn what_a_cluster_prints_is_read() {
    let text = r#"
# From a cluster.
---
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"security.istio.io/v1beta1"}
  creationTimestamp: "2024-03-01T00:00:10Z"
  generation: 1
  name: web
  namespace: shop
  resourceVersion: "1234"
  uid: 0d9b5e2c-0000-0000-0000-000000000000
spec:
  selector:
    matchLabels:
      app: web
      version: "1"
  mtls:
    mode: STRICT
  portLevelMtls:
    8080:
      mode: DISABLE
    "9090":
      mode: UNSET
    9091: {}
status: {}
---
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system, creationTimestamp: null }
"#;
    let (found, _) = read(text).unwrap_or_else(|error| panic!("{error}"));
    let selector = [("app", "web"), ("version", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(
        found,
        [
            PeerAuthentication {
                namespace: "shop".to_owned(),
                name: "web".to_owned(),
                created: Some(1_709_251_210),
                selector: selector.into(),
                mode: Some(MutualTlsMode::Strict),
                ports: [(8080, Some(MutualTlsMode::Disable)), (9090, None), (9091, None)].into(),
            },
            PeerAuthentication {
                namespace: "istio-system".to_owned(),
                name: "default".to_owned(),
                created: None,
                selector: BTreeMap::new(),
                mode: None,
                ports: BTreeMap::new(),
            },
        ]
    );
}

#[test]
fn what_is_not_a_peer_authentication_is_named_with_its_place() {
    let good = written("  mtls: { mode: STRICT }\n");
    for (text, message) in [
        (
            format!("{good}---\n{}", good.replace("kind: PeerAuthentication", "kind: RequestAuthentication")),
            "8:7: kind: expected one of AuthorizationPolicy, PeerAuthentication, found \"RequestAuthentication\"",
        ),
        (
            good.replace("security.istio.io/v1", "v1"),
            "1:13: apiVersion: expected one of security.istio.io/v1, security.istio.io/v1beta1, found \"v1\"",
        ),
        (
            format!("{good}---\n{good}"),
            "9:11: metadata: expected every resource once, found n/a again (the other is in f.yaml)",
        ),
        (good.replace(", namespace: n", ""), "3:13: metadata: expected the field \"namespace\", found none"),
        (
            written("  mtls:\n    mode: strict\n"),
            "6:11: spec.mtls.mode: expected one of UNSET, DISABLE, PERMISSIVE, STRICT, found \"strict\"",
        ),
        (
            written("  mTLS: { mode: STRICT }\n"),
            "5:3: spec.mTLS: expected one of selector, mtls, portLevelMtls, found unknown field \"mTLS\"",
        ),
        (
            written("  portLevelMtls:\n    80: { mode: STRICT }\n"),
            "6:5: spec.portLevelMtls: expected spec.selector.matchLabels beside it, without which ports mean nothing, \
             found none",
        ),
        (
            written("  selector: { matchLabels: { app: web } }\n  portLevelMtls: { 0: { mode: STRICT } }\n"),
            "6:20: spec.portLevelMtls.0: expected a port from 1 to 65535, found \"0\"",
        ),
        (
            good.replace("name: a,", "name: a, creationTimestamp: yesterday,"),
            "3:41: metadata.creationTimestamp: expected a time such as 2026-01-31T12:00:00Z, found \"yesterday\"",
        ),
        ("just text\n".to_owned(), "1:1: expected a mapping of settings, found \"just text\""),
    ] {
        assert_eq!(wrong(&text), Some(format!("f.yaml:{message}")), "{text}");
    }
}
