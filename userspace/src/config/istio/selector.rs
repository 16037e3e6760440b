//! Which workloads a policy selects, by their labels.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::findings::Findings;
use crate::config::value::Value;

/// `spec.selector`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a selector with matchLabels")]
pub(super) struct Selector {
    match_labels: Option<BTreeMap<String, Spanned<Value<String>>>>,
}

impl Selector {
    /// The labels that a workload has to have; none: every workload is meant.
    pub(super) fn labels(selector: Option<Self>, findings: &mut Findings<'_>) -> BTreeMap<String, String> {
        let written = selector.and_then(|selector| selector.match_labels).unwrap_or_default();
        let mut labels = BTreeMap::new();
        for (key, Spanned { value: Value(value), referenced, .. }) in written {
            if key.is_empty() || key.contains('*') || value.contains('*') {
                let message = format!("expected a label and its value, without *, found {key:?}: {value:?}");
                findings.invalid(referenced, "spec.selector.matchLabels", message);
            }
            labels.insert(key, value);
        }
        labels
    }
}
