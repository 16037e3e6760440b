//! `rules[].matches`: what a request has to look like, as it is written.

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Context;
use super::value::{PathType, ValueType, WrittenMethod};
use crate::config::ConfigError;
use crate::config::value::Value;
use crate::routing::{Match, PathMatch, path_value};

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a match with path, headers, queryParams or method"
)]
pub(super) struct WrittenMatch {
    path: Option<WrittenPath>,
    headers: Option<Vec<WrittenHeader>>,
    query_params: Option<Vec<WrittenParameter>>,
    method: Option<Value<WrittenMethod>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a path such as { type: PathPrefix, value: /app }")]
struct WrittenPath {
    #[serde(rename = "type")]
    comparison: Option<Value<PathType>>,
    value: Option<Value<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a header field such as { name: version, value: v2 }")]
struct WrittenHeader {
    #[serde(rename = "type")]
    _comparison: Option<Value<ValueType>>,
    name: Value<HeaderName>,
    value: Value<HeaderValue>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a query parameter such as { name: version, value: v2 }")]
struct WrittenParameter {
    #[serde(rename = "type")]
    _comparison: Option<Value<ValueType>>,
    name: Value<String>,
    value: Value<String>,
}

impl WrittenMatch {
    pub(super) fn matching(
        written: Spanned<Self>,
        at: &str,
        context: Context<'_>,
    ) -> Result<Match, ConfigError> {
        let path = match &written.value.path {
            None => PathMatch::Prefix(String::new()),
            Some(path) => path
                .path()
                .map_err(|message| context.invalid(&written, format!("{at}.path.value"), message))?,
        };
        let Self { headers, query_params, method, .. } = written.value;
        // Of several with one name the first counts, says the Gateway API.
        let mut fields: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for header in headers.unwrap_or_default() {
            if fields.iter().all(|(name, _)| *name != header.name.0) {
                fields.push((header.name.0, header.value.0));
            }
        }
        let mut query: Vec<(String, String)> = Vec::new();
        for parameter in query_params.unwrap_or_default() {
            if query.iter().all(|(name, _)| *name != parameter.name.0) {
                query.push((parameter.name.0, parameter.value.0));
            }
        }
        Ok(Match { path, method: method.map(|Value(WrittenMethod(it))| it), headers: fields, query })
    }
}

impl WrittenPath {
    fn path(&self) -> Result<PathMatch, String> {
        let value = path_value(self.value.as_ref().map_or("/", |Value(value)| value))?;
        Ok(match self.comparison {
            Some(Value(PathType::Exact)) => PathMatch::Exact(value),
            Some(Value(PathType::Prefix)) | None => PathMatch::Prefix(value.trim_end_matches('/').to_owned()),
        })
    }
}
