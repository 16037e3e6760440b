//! `filters`, of a rule and of a backend, as they are written.

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::value::{Denominator, EditableName, NewPath, Numerator, Percent, RedirectStatus};
use super::{Context, WrittenBackend};
use crate::config::value::{Hostname, Port, Value};
use crate::config::{Choice, ConfigError};
use crate::routing::{
    Filters, HeaderEdit, Match, Mirror, PathEdit, PathMatch, Redirect, Rewrite, Scheme, Share,
};

/// A filter: its kind, and the one field that goes with it.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a filter with its type and the field that goes with it"
)]
pub(super) struct WrittenFilter {
    #[serde(rename = "type")]
    kind: Value<FilterType>,
    request_header_modifier: Option<WrittenEdit>,
    response_header_modifier: Option<WrittenEdit>,
    request_redirect: Option<WrittenRedirect>,
    url_rewrite: Option<WrittenRewrite>,
    request_mirror: Option<WrittenMirror>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FilterType {
    RequestHeaders,
    ResponseHeaders,
    Redirect,
    Rewrite,
    Mirror,
}

impl Choice for FilterType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("RequestHeaderModifier", Self::RequestHeaders),
        ("ResponseHeaderModifier", Self::ResponseHeaders),
        ("RequestRedirect", Self::Redirect),
        ("URLRewrite", Self::Rewrite),
        ("RequestMirror", Self::Mirror),
    ];
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "fields to set, add or remove")]
struct WrittenEdit {
    set: Option<Vec<WrittenField>>,
    add: Option<Vec<WrittenField>>,
    remove: Option<Vec<Value<EditableName>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a header field such as { name: version, value: v2 }")]
struct WrittenField {
    name: Value<EditableName>,
    value: Value<HeaderValue>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "what to redirect to")]
struct WrittenRedirect {
    scheme: Option<Value<Scheme>>,
    hostname: Option<Value<Hostname>>,
    path: Option<WrittenPathEdit>,
    port: Option<Value<Port>>,
    status_code: Option<Value<RedirectStatus>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "what to rewrite: hostname or path")]
struct WrittenRewrite {
    hostname: Option<Value<Hostname>>,
    path: Option<WrittenPathEdit>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a path such as { type: ReplacePrefixMatch, replacePrefixMatch: /new }"
)]
struct WrittenPathEdit {
    #[serde(rename = "type")]
    kind: Value<PathEditType>,
    replace_full_path: Option<Value<NewPath>>,
    replace_prefix_match: Option<Value<NewPath>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathEditType {
    Full,
    Prefix,
}

impl Choice for PathEditType {
    const WORDS: &'static [(&'static str, Self)] =
        &[("ReplaceFullPath", Self::Full), ("ReplacePrefixMatch", Self::Prefix)];
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "where to mirror requests to")]
struct WrittenMirror {
    backend_ref: Spanned<WrittenBackend>,
    percent: Option<Value<Percent>>,
    fraction: Option<WrittenFraction>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a fraction such as { numerator: 1, denominator: 100 }")]
struct WrittenFraction {
    numerator: Value<Numerator>,
    denominator: Option<Value<Denominator>>,
}

/// The filters of what stands at `at`, whose rule has these matches.
pub(super) fn filters(
    written: Vec<Spanned<WrittenFilter>>,
    at: &str,
    matches: &[Match],
    context: Context<'_>,
) -> Result<Filters, ConfigError> {
    let mut filters = Filters::default();
    for (index, filter) in written.into_iter().enumerate() {
        let at = format!("{at}.filters[{index}]");
        let place = filter.referenced;
        let invalid =
            |field: &str, message: String| context.part.invalid(place, format!("{at}.{field}"), message);
        let edit_path = |field: &str, edit: Option<WrittenPathEdit>| {
            edit.map(|edit| edit.edit(matches))
                .transpose()
                .map_err(|message| invalid(&format!("{field}.path"), message))
        };
        let kind = filter.value.kind.0;
        let name = FilterType::WORDS.iter().find(|(_, known)| *known == kind).map_or("", |(word, _)| word);
        let twice =
            || invalid("type", format!("expected each type once but for RequestMirror, found {name} again"));
        let WrittenFilter {
            request_header_modifier: request,
            response_header_modifier: response,
            request_redirect: redirect,
            url_rewrite: rewrite,
            request_mirror: mirror,
            ..
        } = filter.value;
        match (kind, request, response, redirect, rewrite, mirror) {
            (FilterType::RequestHeaders, Some(edit), None, None, None, None) => {
                once(&mut filters.request_headers, edit.edit(), twice)?;
            }
            (FilterType::ResponseHeaders, None, Some(edit), None, None, None) => {
                once(&mut filters.response_headers, edit.edit(), twice)?;
            }
            (FilterType::Redirect, None, None, Some(written), None, None) => {
                let path = edit_path("requestRedirect", written.path)?;
                let redirect = Redirect {
                    scheme: written.scheme.map(|Value(scheme)| scheme),
                    hostname: written.hostname.map(|Value(Hostname(name))| name),
                    path,
                    port: written.port.map(|Value(Port(port))| port),
                    status: written
                        .status_code
                        .map_or(StatusCode::FOUND, |Value(RedirectStatus(status))| status),
                };
                once(&mut filters.redirect, redirect, twice)?;
            }
            (FilterType::Rewrite, None, None, None, Some(written), None) => {
                let path = edit_path("urlRewrite", written.path)?;
                let hostname = written.hostname.map(|Value(Hostname(name))| name);
                once(&mut filters.rewrite, Rewrite { hostname, path }, twice)?;
            }
            (FilterType::Mirror, None, None, None, None, Some(written)) => {
                filters.mirrors.push(written.mirror(&at, context)?);
            }
            _ => {
                let message = format!("expected the one field that goes with {name}, found none or others");
                return Err(invalid("type", message));
            }
        }
        if filters.redirect.is_some() && filters.rewrite.is_some() {
            let message = "expected either a RequestRedirect or a URLRewrite, found both";
            return Err(invalid("type", message.to_owned()));
        }
    }
    Ok(filters)
}

fn once<T>(place: &mut Option<T>, value: T, twice: impl Fn() -> ConfigError) -> Result<(), ConfigError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(twice()),
    }
}

impl WrittenEdit {
    fn edit(self) -> HeaderEdit {
        let fields = |list: Option<Vec<WrittenField>>| -> Vec<(HeaderName, HeaderValue)> {
            let list = list.unwrap_or_default().into_iter();
            list.map(|field| (field.name.0.0, field.value.0)).collect()
        };
        HeaderEdit {
            set: fields(self.set),
            add: fields(self.add),
            remove: self
                .remove
                .unwrap_or_default()
                .into_iter()
                .map(|Value(EditableName(name))| name)
                .collect(),
        }
    }
}

impl WrittenPathEdit {
    fn edit(self, matches: &[Match]) -> Result<PathEdit, String> {
        match (self.kind.0, self.replace_full_path, self.replace_prefix_match) {
            (PathEditType::Full, Some(Value(NewPath(path))), None) if !path.is_empty() => Ok(PathEdit::Full(path)),
            (PathEditType::Prefix, None, Some(Value(NewPath(path)))) => match matches {
                // Which prefix is replaced has to be plain.
                [Match { path: PathMatch::Prefix(_), .. }] => Ok(PathEdit::Prefix(path)),
                _ => Err("expected exactly one match of type PathPrefix in a rule with ReplacePrefixMatch, found others"
                    .to_owned()),
            },
            _ => Err("expected replaceFullPath with ReplaceFullPath, or replacePrefixMatch with ReplacePrefixMatch, \
                      found none or others"
                .to_owned()),
        }
    }
}

impl WrittenMirror {
    fn mirror(self, at: &str, context: Context<'_>) -> Result<Mirror, ConfigError> {
        let at = format!("{at}.requestMirror");
        let invalid =
            |field: &str, message: &str| context.invalid(&self.backend_ref, format!("{at}.{field}"), message);
        if self.backend_ref.value.weight.is_some() || self.backend_ref.value.filters.is_some() {
            return Err(invalid(
                "backendRef",
                "expected neither weight nor filters at a mirror's backend, found some",
            ));
        }
        let share = match (&self.percent, &self.fraction) {
            (None, None) => Share::ALL,
            (Some(Value(Percent(percent))), None) => Share { of: *percent, all: 100 },
            (None, Some(fraction)) => {
                let all = fraction.denominator.as_ref().map_or(100, |Value(Denominator(all))| *all);
                let Value(Numerator(of)) = fraction.numerator;
                if of > all {
                    return Err(invalid(
                        "fraction",
                        "expected a numerator up to the denominator, found a greater one",
                    ));
                }
                Share { of, all }
            }
            (Some(_), Some(_)) => return Err(invalid("percent", "expected percent or fraction, found both")),
        };
        let to = self.backend_ref.value.backing(&self.backend_ref, &format!("{at}.backendRef"), context)?;
        Ok(Mirror { to, share })
    }
}
