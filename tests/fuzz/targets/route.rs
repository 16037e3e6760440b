//! Rules and a request: whatever they are, a match holds where a naive reading of the Gateway API says so, and of two that
//! hold the one in front is the one that the API puts there.
//!
//! A line is a rule: `p` (prefix) or `e` (exact) and a path, then a method, `name=value` (a field), `?name=value` (a query
//! parameter), `@host`. Behind an empty line the request: its method, its target, fields and `@host`.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use sidestep_fuzz::model::{PathForm, normalize};
use sidestep_fuzz::routing::{HostPattern, Match, PathMatch, RequestView, path_value};

fuzz_target!(|text: &str| {
    let Some((rules, request)) = text.split_once("\n\n") else { return };
    let mut words = request.split_ascii_whitespace();
    let (Some(method), Some(target)) = (words.next().and_then(|it| it.parse::<Method>().ok()), words.next()) else {
        return;
    };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let Ok(path) = normalize(path, PathForm::Base) else { return };
    let (mut headers, mut authority) = (HeaderMap::new(), None);
    for word in words {
        if let Some(host) = word.strip_prefix('@') {
            authority = Some(host);
        } else if let Some((name, value)) = field(word) {
            headers.append(name, value);
        }
    }
    let request = RequestView { method: &method, authority, path: &path, query, headers: &headers };
    let mut holding = Vec::new();
    for line in rules.lines() {
        let Some((matching, host)) = rule(line) else { continue };
        assert_eq!(matching.holds(&request), naive(&matching, &request), "{matching:?} of {request:?}");
        if let (Some(host), Some(asked)) = (host, request.host()) {
            assert_eq!(host.closeness(asked).is_some(), host_holds(&host, asked), "{host:?} of {asked:?}");
        }
        if matching.holds(&request) {
            holding.push(matching);
        }
    }
    for (one, other) in holding.iter().flat_map(|one| holding.iter().map(move |other| (one, other))) {
        assert_eq!(one.precedes(other), weight(one) > weight(other), "{one:?} and {other:?}");
    }
});

fn field(word: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = word.split_once('=')?;
    let name: HeaderName = name.parse().ok()?;
    (name != "host").then_some((name, value.parse().ok()?))
}

fn rule(line: &str) -> Option<(Match, Option<HostPattern>)> {
    let mut words = line.split_ascii_whitespace();
    let (kind, path) = (words.next()?, path_value(words.next()?).ok()?);
    let path = match kind {
        "e" => PathMatch::Exact(path),
        _ => PathMatch::Prefix(path.trim_end_matches('/').to_owned()),
    };
    let (mut matching, mut host) = (Match { path, ..Match::default() }, None);
    for word in words {
        if let Some(name) = word.strip_prefix('@') {
            host = Some(match name.strip_prefix('*') {
                Some(suffix) if suffix.starts_with('.') => HostPattern::Suffix(suffix.to_ascii_lowercase()),
                _ => HostPattern::Exact(name.to_ascii_lowercase()),
            });
        } else if let Some((name, value)) = word.strip_prefix('?').and_then(|pair| pair.split_once('=')) {
            matching.query.push((name.to_owned(), value.to_owned()));
        } else if let Some(pair) = field(word) {
            matching.headers.push(pair);
        } else {
            matching.method = Some(word.parse().ok()?);
        }
    }
    Some((matching, host))
}

/// What the Gateway API says, segment by segment and byte by byte.
fn naive(matching: &Match, request: &RequestView<'_>) -> bool {
    let segments = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let path = match &matching.path {
        PathMatch::Exact(exact) => exact == request.path,
        PathMatch::Prefix(prefix) => segments(request.path).starts_with(&segments(prefix)) && request.path != "*",
    };
    let method = matching.method.as_ref().is_none_or(|method| method == request.method);
    let headers = matching.headers.iter().all(|(name, value)| {
        request.headers.iter().any(|(found, its)| found == name && its.as_bytes() == value.as_bytes())
    });
    let query = matching.query.iter().all(|(name, value)| {
        let pairs = request.query.unwrap_or_default().split('&').filter(|_| request.query.is_some());
        let first = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).find(|(key, _)| plain(key) == name.as_bytes());
        first.is_some_and(|(_, its)| plain(its) == value.as_bytes())
    });
    path && method && headers && query
}

/// A text without escapes, if it is text then.
fn plain(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).filter(|digits| bytes[at] == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        match escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    if std::str::from_utf8(&out).is_ok() { out } else { bytes.to_vec() }
}

fn host_holds(pattern: &HostPattern, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    match pattern {
        HostPattern::Exact(exact) => exact == host,
        HostPattern::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
    }
}

/// How specific a match is, as the Gateway API lists it.
fn weight(matching: &Match) -> (bool, usize, bool, usize, usize) {
    let (exact, path) = match &matching.path {
        PathMatch::Exact(path) => (true, path),
        PathMatch::Prefix(path) => (false, path),
    };
    (exact, path.chars().count(), matching.method.is_some(), matching.headers.len(), matching.query.len())
}
