//! The pods of a manifest, whatever kinds they are in: what `sidestep inject` does to one document.
//!
//! A document in which nothing changes stays as it was written, to the byte.

use std::fmt;

use serde_json::Value;

use super::pod::{Existing, Outcome, Place, Refusal, Untouched, put_in};
use super::settings::Settings;

/// Whether a configuration is one: the caller's word, since this room does not read configurations.
pub type Check<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// A document, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Injected {
    /// The document.
    pub text: String,
    /// What became of each pod in it.
    pub notes: Vec<Note>,
}

/// What became of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The object that it is in: kind, namespace and name.
    pub object: String,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has the sidecar now; with what its author should know.
    Injected(Vec<String>),
    /// It stays as it was.
    Untouched(Untouched),
    /// It cannot have the sidecar.
    Refused(Refusal),
}

impl Note {
    /// Whether somebody wanted something that cannot be.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self.fate, Fate::Refused(_))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.object)?;
        match &self.fate {
            Fate::Injected(warnings) if warnings.is_empty() => formatter.write_str("injected"),
            Fate::Injected(warnings) => write!(formatter, "injected; {}", warnings.join("; ")),
            Fate::Untouched(reason) => write!(formatter, "left as it is: {reason}"),
            Fate::Refused(refusal) => write!(formatter, "refused: {refusal}"),
        }
    }
}

/// Puts the sidecar into every pod of one YAML or JSON document. Objects without a namespace are in `namespace`.
///
/// # Errors
/// The text is no YAML, with the place within it.
pub fn inject(
    text: &str,
    namespace: &str,
    settings: &Settings,
    check: Check<'_>,
) -> Result<Injected, String> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        // As the API server's own reader has it: `defaultMode: 0644` is 420.
        legacy_octal_numbers: true,
    };
    let read = serde_saphyr::from_str_with_options::<Option<Value>>(text, options);
    let Some(mut object) = read.map_err(|error| error.without_snippet().to_string())? else {
        return Ok(Injected { text: text.to_owned(), notes: Vec::new() });
    };
    let mut notes = Vec::new();
    visit(&mut object, &mut |kind, object, template| {
        let metadata = &object.metadata;
        let place = Place { namespace: metadata["namespace"].as_str().unwrap_or(namespace) };
        let name = metadata["name"].as_str().or_else(|| metadata["generateName"].as_str());
        let fate = match outcome(template, &place, settings, check) {
            Ok(Outcome::Injected { template: injected, warnings, .. }) => {
                *template = injected;
                Fate::Injected(warnings)
            }
            Ok(Outcome::Untouched(reason)) => Fate::Untouched(reason),
            Err(refusal) => Fate::Refused(refusal),
        };
        let object = format!("{kind} {}/{}", place.namespace, name.unwrap_or("(no name)"));
        notes.push(Note { object, fate });
    });
    let changed = notes.iter().any(|note| matches!(note.fate, Fate::Injected(_)));
    let text = if changed { written(&object)? } else { text.to_owned() };
    Ok(Injected { text, notes })
}

/// What becomes of one pod, whose sidecar's configuration has to be one.
fn outcome(
    template: &Value,
    place: &Place<'_>,
    settings: &Settings,
    check: Check<'_>,
) -> Result<Outcome, Refusal> {
    let outcome = put_in(template, place, settings, Existing::Renew)?;
    if let Outcome::Injected { configuration, .. } = &outcome {
        check(configuration).map_err(Refusal::new)?;
    }
    Ok(outcome)
}

/// The object around a pod.
struct Around {
    metadata: Value,
}

/// Calls `each` for every pod, or template of one, with the kind and the metadata of the object that it is in.
fn visit(object: &mut Value, each: &mut impl FnMut(&str, &Around, &mut Value)) {
    let Some(kind) = object["kind"].as_str().map(str::to_owned) else { return };
    let path: &[&str] = match kind.as_str() {
        "Pod" => &[],
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
            &["spec", "template"]
        }
        "CronJob" => &["spec", "jobTemplate", "spec", "template"],
        "PodTemplate" => &["template"],
        _ => {
            let items = object.get_mut("items").and_then(Value::as_array_mut);
            items.into_iter().flatten().for_each(|item| visit(item, each));
            return;
        }
    };
    let around = Around { metadata: object["metadata"].clone() };
    let template = path.iter().try_fold(object, |object, field| object.get_mut(field));
    if let Some(template) = template {
        each(&kind, &around, template);
    }
}

/// A document that every reader of YAML 1.1 and 1.2 understands alike.
fn written(object: &Value) -> Result<String, String> {
    let text = serde_saphyr::to_string(object).map_err(|error| error.to_string())?;
    Ok(format!("---\n{text}{}", if text.ends_with('\n') { "" } else { "\n" }))
}
