//! A network's list of plugins as text, and our entry in it. Pure.
//!
//! Whoever wrote the file keeps every byte of it: order, spaces, numbers that JSON parsers round. So the text is not written
//! anew from what it means; the entry is put in and cut out where the list ends.

use std::ops::Range;

use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value, json};

use crate::cni::PLUGIN;

/// A list of plugins (`.conflist`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List {
    text: String,
    /// Where its plugins are, at least one.
    plugins: Vec<Range<usize>>,
}

/// The configuration of one plugin (`.conf`, `.json`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Single {
    text: String,
    version: Value,
    name: Value,
}

impl List {
    /// None if a runtime would not take it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let meaning: Value = serde_json::from_str(text).ok()?;
        let plugins = spans(text, text.find('{')?)?;
        // The last of a name counts, for those who read it in Go and for serde_json.
        let (_, plugins) = plugins.into_iter().rev().find(|(name, _)| name == "plugins")?;
        let elements = elements(text, plugins.start)?;
        let types = meaning["plugins"].as_array()?;
        let sound = !types.is_empty() && types.iter().all(|plugin| plugin["type"].is_string());
        (sound && types.len() == elements.len()).then(|| Self { text: text.to_owned(), plugins: elements })
    }

    /// What our entry says, if it is there.
    pub(super) fn ours(&self) -> Option<Value> {
        self.meanings().find(is_ours)
    }

    /// The text with `entry` at the end, and no other of ours.
    pub(super) fn with(&self, entry: &Value) -> String {
        let text = self.without();
        let Some(bare) = Self::parse(&text) else { return text };
        let Some(last) = bare.plugins.last() else { return text };
        // On a line of its own as the one before it is, if that is on one.
        let line = text[..last.start].rfind('\n').map(|at| &text[at..last.start]);
        let apart = line.filter(|line| line.trim().is_empty()).unwrap_or(" ");
        format!("{},{apart}{entry}{}", &text[..last.end], &text[last.end..])
    }

    /// The text without any entry of ours.
    pub(super) fn without(&self) -> String {
        let mut text = self.text.clone();
        let ours: Vec<bool> = self.meanings().map(|plugin| is_ours(&plugin)).collect();
        for (place, _) in ours.iter().enumerate().rev().filter(|(_, ours)| **ours) {
            let Range { start, end } = self.plugins[place];
            // With the comma and the spaces before it, or after it if it is the first.
            let cut = match (place.checked_sub(1), self.plugins.get(place + 1)) {
                (Some(before), _) => self.plugins[before].end..end,
                (None, Some(after)) => start..after.start,
                (None, None) => start..end,
            };
            text.replace_range(cut, "");
        }
        text
    }

    fn meanings(&self) -> impl Iterator<Item = Value> {
        self.plugins.iter().map(|span| serde_json::from_str(&self.text[span.clone()]).unwrap_or_default())
    }
}

impl Single {
    /// None if a runtime would not take it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let meaning: Value = serde_json::from_str(text).ok()?;
        let sound = meaning["type"].as_str().is_some_and(|plugin| !plugin.is_empty());
        sound.then(|| Self {
            text: text.trim().to_owned(),
            version: meaning["cniVersion"].clone(),
            name: meaning["name"].clone(),
        })
    }

    /// A list of it and `entry`, of the same name and version (as `ConfListFromConf` of libcni).
    pub(super) fn listed(&self, entry: &Value) -> String {
        let head: Vec<String> = [("cniVersion", &self.version), ("name", &self.name)]
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| format!("  {}: {value},\n", json!(name)))
            .collect();
        format!("{{\n{}  \"plugins\": [\n{},\n{entry}\n  ]\n}}\n", head.concat(), self.text)
    }
}

fn is_ours(plugin: &Value) -> bool {
    plugin["type"] == PLUGIN
}

/// Where the members of the object that begins at `start` are, by name. The text is known to be valid.
fn spans(text: &str, start: usize) -> Option<Vec<(String, Range<usize>)>> {
    let mut members = Vec::new();
    let mut at = start + 1;
    loop {
        at = skip(text, at, ',');
        if text[at..].starts_with('}') {
            return Some(members);
        }
        let name: String = serde_json::from_str(&text[value(text, at)?]).ok()?;
        at = skip(text, value(text, at)?.end, ':');
        let span = value(text, at)?;
        at = span.end;
        members.push((name, span));
    }
}

/// Where the elements of the array that begins at `start` are. The text is known to be valid.
fn elements(text: &str, start: usize) -> Option<Vec<Range<usize>>> {
    let mut elements = Vec::new();
    let mut at = text[start..].starts_with('[').then_some(start + 1)?;
    loop {
        at = skip(text, at, ',');
        if text[at..].starts_with(']') {
            return Some(elements);
        }
        let span = value(text, at)?;
        at = span.end;
        elements.push(span);
    }
}

/// Where the value ends that begins at `start`.
fn value(text: &str, start: usize) -> Option<Range<usize>> {
    let mut values = Deserializer::from_str(&text[start..]).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(start..start + values.byte_offset())
}

/// The place of the first letter that is neither a space nor the mark between two values.
fn skip(text: &str, at: usize, mark: char) -> usize {
    let rest = &text[at..];
    text.len() - rest.trim_start_matches(|letter: char| letter == mark || letter.is_ascii_whitespace()).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Value {
        json!({ "type": PLUGIN, "timeout": "10s" })
    }

    /// Every byte is kept, and the meaning is that of the list with one more plugin.
    fn check(text: &str) -> String {
        let list = List::parse(text).expect("a list");
        assert_eq!(list.ours(), None);
        let with = list.with(&entry());
        let mut expected: Value = serde_json::from_str(text).expect("JSON");
        expected["plugins"].as_array_mut().expect("a list").push(entry());
        assert_eq!(serde_json::from_str::<Value>(&with).expect("JSON"), expected);
        let again = List::parse(&with).expect("a list");
        assert_eq!(again.ours(), Some(entry()));
        assert_eq!(again.without(), text);
        assert_eq!(again.with(&entry()), with);
        with
    }

    #[test]
    fn the_entry_comes_and_goes_and_every_other_byte_stays() {
        let flat = r#"{"cniVersion":"0.3.1","plugins":[{"type":"ptp","x":1e400}],"z":0.10}"#;
        // A number that no float holds cannot be compared by meaning.
        check(&flat.replace("1e400", "1.0"));
        check("{ \"plugins\" : [ {\"type\":\"a]}\\\"\"} , {\"type\":\"b\"} ] , \"name\":\"p,]\"}\n");
        let with = check(
            "{\n  \"name\": \"pods\",\n  \"plugins\": [\n    {\n      \"type\": \"ptp\"\n    }\n  ]\n}\n",
        );
        assert!(with.contains("    },\n    {\"timeout\""), "{with}");
    }

    #[test]
    fn an_entry_that_others_have_moved_is_found_and_goes() {
        for (text, without) in [
            (r#"{"plugins":[{"type":"sidestep-cni"}, {"type":"a"}]}"#, r#"{"plugins":[{"type":"a"}]}"#),
            (
                r#"{"plugins":[{"type":"a"},{"type":"sidestep-cni"},{"type":"b"},{"type":"sidestep-cni"}]}"#,
                r#"{"plugins":[{"type":"a"},{"type":"b"}]}"#,
            ),
        ] {
            let list = List::parse(text).expect("a list");
            assert!(list.ours().is_some());
            assert_eq!(list.without(), without);
        }
    }

    #[test]
    fn what_a_runtime_would_not_take_is_no_list() {
        for text in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"plugins":[]}"#,
            r#"{"plugins":{}}"#,
            r#"{"plugins":[{}]}"#,
            r#"{"plugins":[1]}"#,
        ] {
            assert_eq!(List::parse(text), None, "{text}");
        }
        for text in ["{}", "[]", r#"{"type":1}"#, r#"{"plugins":[{"type":"a"}]}"#] {
            assert_eq!(Single::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_single_configuration_becomes_a_list_of_two() {
        let single =
            "{ \"cniVersion\": \"0.4.0\", \"name\": \"pods\", \"type\": \"bridge\", \"mtu\": 9000 }\n";
        let listed = Single::parse(single).expect("a plugin").listed(&entry());
        let list = List::parse(&listed).expect("a list");
        assert_eq!(list.ours(), Some(entry()));
        let meaning: Value = serde_json::from_str(&listed).expect("JSON");
        assert_eq!(meaning["cniVersion"], "0.4.0");
        assert_eq!(meaning["name"], "pods");
        assert_eq!(meaning["plugins"][0]["mtu"], 9000);
    }
}
