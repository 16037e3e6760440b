//! Selectors of labels and of fields, as they are written in queries.

use serde_json::Value;

use super::kind::Kind;

/// What to list or watch.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Test>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Clone, Debug)]
enum Test {
    Has(String, bool),
    In(String, bool, Vec<String>),
}

impl Selector {
    /// Reads both; what a real server would refuse is refused.
    pub(super) fn read(kind: &Kind, labels: &str, fields: &str) -> Result<Self, String> {
        let fields = fields.split(',').filter(|part| !part.is_empty()).map(|part| {
            let (field, equal, value) = part
                .split_once("!=")
                .map(|(field, value)| (field, false, value))
                .or_else(|| part.split_once("==").map(|(field, value)| (field, true, value)))
                .or_else(|| part.split_once('=').map(|(field, value)| (field, true, value)))
                .ok_or_else(|| format!("invalid selector: {part}"))?;
            let known =
                matches!(field, "metadata.name" | "metadata.namespace") || kind.fields.contains(&field);
            if !known {
                return Err(format!("field label not supported: {field}"));
            }
            Ok((field.to_owned(), equal, value.to_owned()))
        });
        let labels = requirements(labels).into_iter().map(|part| test(part.trim()));
        Ok(Self { labels: labels.collect(), fields: fields.collect::<Result<_, String>>()? })
    }

    /// Whether an object is one of those.
    pub(super) fn selects(&self, object: &Value) -> bool {
        let label = |name: &str| object["metadata"]["labels"][name].as_str();
        let labels = self.labels.iter().all(|test| match test {
            Test::Has(name, wanted) => label(name).is_some() == *wanted,
            Test::In(name, wanted, values) => match label(name) {
                Some(found) => values.iter().any(|value| value == found) == *wanted,
                None => !wanted,
            },
        });
        labels && self.fields.iter().all(|(name, equal, value)| (field(object, name) == *value) == *equal)
    }
}

/// Where commas inside of parentheses do not count.
fn requirements(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

fn test(part: &str) -> Test {
    let values = |list: &str| {
        let list = list.trim().trim_start_matches('(').trim_end_matches(')');
        list.split(',').map(|value| value.trim().to_owned()).collect()
    };
    if let Some((name, list)) = part.split_once(" notin ") {
        Test::In(name.trim().to_owned(), false, values(list))
    } else if let Some((name, list)) = part.split_once(" in ") {
        Test::In(name.trim().to_owned(), true, values(list))
    } else if let Some((name, value)) = part.split_once("!=") {
        Test::In(name.to_owned(), false, vec![value.to_owned()])
    } else if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        Test::In(name.to_owned(), true, vec![value.to_owned()])
    } else if let Some(name) = part.strip_prefix('!') {
        Test::Has(name.to_owned(), false)
    } else {
        Test::Has(part.to_owned(), true)
    }
}

fn field(object: &Value, name: &str) -> String {
    // The one that is not where its name says.
    let found = match name {
        "status.podIP" if object["status"]["podIP"].is_null() => &object["status"]["podIPs"][0]["ip"],
        _ => name.split('.').fold(object, |value, segment| &value[segment]),
    };
    match found {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
