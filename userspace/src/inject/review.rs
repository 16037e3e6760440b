//! What the API server asks about a pod that is to be made, and the answer (`admission.k8s.io/v1`).
//!
//! A pod that cannot have the sidecar is not admitted: one that ran without would be one that policies do not reach.

use json_patch::diff;
use k8s_openapi::ByteString;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use serde_json::Value;

use super::manifest::Check;
use super::pod::{Existing, Outcome, Place, Untouched, put_in};
use super::settings::Settings;

/// An answer, and what to log of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// The namespace that was asked about.
    pub namespace: String,
    /// What the pod is called, or how its name will begin.
    pub name: String,
    /// What became of it, in a word.
    pub decided: Decided,
}

/// What became of a pod, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It gets the sidecar.
    Injected,
    /// It is admitted as it is.
    Untouched,
    /// It is not admitted.
    Denied,
}

impl Decided {
    /// The word, also as a label of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Untouched => "untouched",
            Self::Denied => "denied",
        }
    }
}

/// Answers a question.
///
/// # Errors
/// The body is no `AdmissionReview` with a request in it: what was expected and what was found.
pub fn answer(body: &[u8], settings: &Settings, check: Check<'_>) -> Result<Answer, String> {
    let mut review: Value = serde_json::from_slice(body)
        .map_err(|error| format!("expected an AdmissionReview as JSON, found something else: {error}"))?;
    // The object stays as it came: what the types of this room's crate do not know of it is not lost.
    let object = review.pointer_mut("/request/object").map(Value::take).unwrap_or_default();
    let review: AdmissionReview<DynamicObject> = serde_json::from_value(review)
        .map_err(|error| format!("expected an AdmissionReview of admission.k8s.io/v1: {error}"))?;
    if review.types.api_version != "admission.k8s.io/v1" || review.types.kind != "AdmissionReview" {
        let found = review.types;
        return Err(format!(
            "expected an AdmissionReview of admission.k8s.io/v1, found {} of {}",
            found.kind, found.api_version
        ));
    }
    let request: AdmissionRequest<_> =
        review.try_into().map_err(|_| "expected an AdmissionReview with a request, found none".to_owned())?;
    let (response, decided) = decide(&request, &object, settings, check)?;
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().or_else(|| metadata["generateName"].as_str());
    let body = written(response).map_err(|error| format!("the answer cannot be written: {error}"))?;
    Ok(Answer {
        body,
        namespace: request.namespace.unwrap_or_default(),
        name: name.unwrap_or(&request.name).to_owned(),
        decided,
    })
}

/// The answer as Kubernetes documents it, with the patch in Base64. The crate writes a list of numbers, which an API server reads
/// too, and people and tools between us and it do not.
fn written(mut response: AdmissionResponse) -> serde_json::Result<Vec<u8>> {
    let patch = response.patch.take().map(ByteString);
    let mut review = serde_json::to_value(response.into_review())?;
    if let Some(patch) = patch {
        review["response"]["patch"] = serde_json::to_value(patch)?;
    }
    serde_json::to_vec(&review)
}

fn decide(
    request: &AdmissionRequest<DynamicObject>,
    object: &Value,
    settings: &Settings,
    check: Check<'_>,
) -> Result<(AdmissionResponse, Decided), String> {
    let response = AdmissionResponse::from(request);
    let resource = &request.resource;
    let is_pod = resource.group.is_empty() && resource.resource == "pods" && request.sub_resource.is_none();
    if !is_pod || request.operation != Operation::Create {
        let found = format!("{:?} of {}", request.operation, resource.resource);
        let warning =
            format!("sidestep: expected the creation of pods, found {found}: see the webhook's rules");
        return Ok((warned(response, vec![warning]), Decided::Untouched));
    }
    let Some(namespace) = request.namespace.as_deref() else {
        return Ok((response.deny("sidestep: expected a pod with a namespace, found none"), Decided::Denied));
    };
    let outcome = put_in(object, &Place { namespace }, settings, Existing::Keep);
    let outcome = outcome.map_err(|refusal| refusal.to_string()).and_then(|outcome| match &outcome {
        Outcome::Injected { configuration, .. } => check(configuration).map(|()| outcome),
        Outcome::Untouched(_) => Ok(outcome),
    });
    match outcome {
        Ok(Outcome::Injected { template, warnings, .. }) => {
            let patched = response.with_patch(diff(object, &template)).map_err(|error| error.to_string())?;
            Ok((warned(patched, warnings), Decided::Injected))
        }
        Ok(Outcome::Untouched(Untouched::HasIt | Untouched::OptedOut)) => Ok((response, Decided::Untouched)),
        Ok(Outcome::Untouched(reason)) => {
            let warning = format!("sidestep: the pod gets no sidecar: {reason}");
            Ok((warned(response, vec![warning]), Decided::Untouched))
        }
        Err(refusal) => Ok((response.deny(format!("sidestep: {refusal}")), Decided::Denied)),
    }
}

fn warned(mut response: AdmissionResponse, warnings: Vec<String>) -> AdmissionResponse {
    if !warnings.is_empty() {
        response.warnings = Some(warnings);
    }
    response
}
