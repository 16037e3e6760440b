//! Whatever stands where something else belongs: an answer, and never a panic.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::{SHOP, check, pod, settings};

/// Any JSON, not deep.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z./{}'\" \n-]{0,12}".prop_map(Value::from),
        Just(json!("false")),
        Just(json!("Always")),
        Just(json!("sidestep")),
        Just(json!("sidestep-bpffs")),
        Just(json!("injected")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(field(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Names that mean something, among others.
fn field() -> impl Strategy<Value = String> {
    let known = [
        "name",
        "restartPolicy",
        "httpGet",
        "port",
        "path",
        "ports",
        "livenessProbe",
        "lifecycle",
        "annotations",
        "labels",
        STATUS,
        SIDECAR,
        CONFIGURATION,
        INJECT,
    ];
    prop_oneof![prop::sample::select(known.to_vec()).prop_map(str::to_owned), "[a-z]{1,6}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn injection_ends_and_what_it_makes_it_leaves_alone(
        place in prop::sample::select(vec![
            "/metadata", "/metadata/labels", "/metadata/annotations", "/spec", "/spec/containers",
            "/spec/containers/0", "/spec/initContainers", "/spec/volumes", "/spec/serviceAccountName",
            "/spec/hostNetwork",
        ]),
        value in json(),
    ) {
        let mut odd = pod(&json!({ "initContainers": [], "volumes": [], "serviceAccountName": "a", "hostNetwork": false }));
        odd["metadata"]["annotations"] = json!({});
        *odd.pointer_mut(place).expect("a place") = value;
        if let Ok(Outcome::Injected { template, .. }) = put_in(&odd, &SHOP, &settings(), Existing::Keep) {
            let again = put_in(&template, &SHOP, &settings(), Existing::Keep);
            prop_assert_eq!(again, Ok(Outcome::Untouched(Untouched::HasIt)));
            let renewed = put_in(&template, &SHOP, &settings(), Existing::Renew);
            let Ok(Outcome::Injected { template: renewed, .. }) = renewed else {
                return Err(TestCaseError::fail(format!("{renewed:?}")));
            };
            prop_assert_eq!(renewed, template);
        }
    }

    #[test]
    fn documents_and_questions_of_any_kind_end(value in json()) {
        let text = value.to_string();
        let _ = inject(&text, "default", &settings(), &check);
        let _ = answer(text.as_bytes(), &settings(), &check);
    }
}
