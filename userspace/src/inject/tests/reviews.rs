//! Questions of the API server.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::super::*;
use super::{check, pod, settings};

fn question(object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
            "requestResource": { "group": "", "version": "v1", "resource": "pods" },
            "name": "",
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": { "username": "system:serviceaccount:kube-system:replicaset-controller", "uid": "u", "groups": ["g"] },
            "object": object,
            "oldObject": null,
            "dryRun": false,
            "options": { "apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions" },
        },
    })
}

fn whole(mut pod: Value) -> Value {
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    // As the server sends it.
    pod["metadata"]["creationTimestamp"] = json!(null);
    pod["status"] = json!({});
    pod
}

fn ask(question: &Value) -> (Value, Decided) {
    let answer = answer(question.to_string().as_bytes(), &settings(), &check).expect("an answer");
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(
        (&body["apiVersion"], &body["kind"]),
        (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
    );
    assert_eq!(body["response"]["uid"], question["request"]["uid"]);
    (body["response"].clone(), answer.decided)
}

/// The object with the patch of a response, which is in Base64.
fn patched(object: &Value, response: &Value) -> Value {
    let ByteString(bytes) = serde_json::from_value(response["patch"].clone()).expect("Base64");
    let patch: json_patch::Patch = serde_json::from_slice(&bytes).expect("a patch");
    let mut object = object.clone();
    json_patch::patch(&mut object, &patch).expect("it fits");
    object
}

#[test]
fn the_patch_makes_the_pod_that_injection_makes() {
    for object in [
        whole(pod(&json!({}))),
        whole(pod(
            &json!({ "initContainers": [{ "name": "a" }, { "name": "b" }], "volumes": [{ "name": "v" }] }),
        )),
    ] {
        let (response, decided) = ask(&question(&object));
        assert_eq!((&response["allowed"], decided), (&json!(true), Decided::Injected));
        assert_eq!(response["patchType"], "JSONPatch");
        let place = Place { namespace: "shop" };
        let Ok(Outcome::Injected { template, .. }) = put_in(&object, &place, &settings(), Existing::Keep)
        else {
            panic!("injected")
        };
        assert_eq!(patched(&object, &response), template);
        let (again, decided) = ask(&question(&template));
        assert_eq!((&again["patch"], decided), (&Value::Null, Decided::Untouched), "already injected");
    }
}

#[test]
fn a_pod_that_wants_none_is_admitted_in_silence_and_one_that_cannot_have_one_with_a_warning() {
    let mut out = whole(pod(&json!({})));
    out["metadata"]["annotations"] = json!({ INJECT: "false" });
    let (response, _) = ask(&question(&out));
    assert_eq!(
        (&response["allowed"], &response["warnings"], &response["patch"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
    let (response, _) = ask(&question(&whole(pod(&json!({ "hostNetwork": true })))));
    assert_eq!((&response["allowed"], &response["patch"]), (&json!(true), &Value::Null));
    assert!(response["warnings"][0].as_str().is_some_and(|it| it.contains("hostNetwork")), "{response}");
}

#[test]
fn a_pod_that_cannot_have_what_it_wants_is_not_admitted() {
    let mut odd = whole(pod(&json!({})));
    odd["metadata"]["annotations"] = json!({ SIDECAR: "inbound: { ports: some }" });
    for (object, expected) in [
        (whole(pod(&json!({ "containers": [] }))), "spec.containers"),
        (whole(pod(&json!({ "containers": [{ "name": "sidestep" }] }))), "a container named sidestep"),
        (odd, "inbound.ports"),
        (json!("a pod"), "expected a pod"),
        (json!(null), "expected a pod"),
    ] {
        let (response, decided) = ask(&question(&object));
        assert_eq!((&response["allowed"], decided), (&json!(false), Decided::Denied));
        let message = response["status"]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("sidestep: ") && message.contains(expected), "{message}");
    }
}

#[test]
fn what_is_not_the_making_of_a_pod_is_admitted_with_a_word() {
    for (field, value) in [
        ("operation", json!("UPDATE")),
        ("operation", json!("DELETE")),
        ("subResource", json!("ephemeralcontainers")),
        ("resource", json!({ "group": "apps", "version": "v1", "resource": "deployments" })),
    ] {
        let mut question = question(&whole(pod(&json!({}))));
        question["request"][field] = value;
        let (response, _) = ask(&question);
        assert_eq!((&response["allowed"], &response["patch"]), (&json!(true), &Value::Null), "{field}");
        assert!(response["warnings"][0].as_str().is_some_and(|it| it.contains("see the webhook's rules")));
    }
}

#[test]
fn what_is_no_question_is_an_error() {
    let mut without_request = question(&Value::Null);
    without_request["request"] = Value::Null;
    let mut beta = question(&whole(pod(&json!({}))));
    beta["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let mut other = question(&whole(pod(&json!({}))));
    other["kind"] = json!("ConversionReview");
    for body in ["", "{", "[]", "{}", "null", "\u{0}", &"[".repeat(10_000)] {
        answer(body.as_bytes(), &settings(), &check).expect_err(body);
    }
    answer(b"\xff\xfe", &settings(), &check).expect_err("no text");
    for question in [without_request, beta, other] {
        let error = answer(question.to_string().as_bytes(), &settings(), &check).expect_err("no question");
        assert!(error.contains("expected an AdmissionReview"), "{error}");
    }
}
