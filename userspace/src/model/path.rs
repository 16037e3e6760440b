//! Paths of requests in the form in which they are compared; what is forwarded is the path as it came.
//!
//! Two paths that an app may take for one have to be one here, or a rule about the one is got around by writing the
//! other. How much is taken for the same is chosen, in Istio's words (`pathNormalization` of its `MeshConfig`).

use std::borrow::Cow;

use thiserror::Error;

/// How much is taken for the same path. Each form includes those above it; a fragment belongs to no path in any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PathForm {
    /// Nothing but what is written the same.
    None,
    /// Unreserved characters escaped or not, dot segments resolved (RFC 3986, 6.2.2.2 and 5.2.4), and `\` for `/`. The
    /// default, as it is Istio's: what routes are matched in.
    #[default]
    Base,
    /// Besides, several slashes in a row for one.
    MergeSlashes,
    /// Besides, slashes and backslashes that are escaped.
    DecodeAndMergeSlashes,
}

/// Why a path is none that can be compared: two readers of it could differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AmbiguousPath {
    /// It has a NUL, escaped or not.
    #[error("expected a path without NUL, found one")]
    Nul,
    /// A `%` is not followed by two hexadecimal digits.
    #[error("expected two hexadecimal digits after every %, found other characters")]
    Escape,
    /// It does not begin with a slash, and is not the `*` of OPTIONS.
    #[error("expected a path that begins with /, found another")]
    Relative,
}

/// `path` (without query) in the form in which paths are compared. What is in that form already stays as it is, and
/// nothing becomes longer.
///
/// # Errors
/// The path is ambiguous in any form.
pub fn normalize(path: &str, form: PathForm) -> Result<Cow<'_, str>, AmbiguousPath> {
    let path = path.split('#').next().unwrap_or_default();
    if path == "*" {
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(AmbiguousPath::Relative);
    }
    expect_unambiguous(path.as_bytes())?;
    let plain = !path.contains(['%', '\\']) && !path.contains("//") && !path.contains("/.");
    if form == PathForm::None || plain {
        return Ok(Cow::Borrowed(path));
    }
    let resolved = without_dot_segments(&unescaped(path, form));
    Ok(Cow::Owned(match form {
        PathForm::None | PathForm::Base => resolved,
        PathForm::MergeSlashes | PathForm::DecodeAndMergeSlashes => merged(&resolved),
    }))
}

fn expect_unambiguous(path: &[u8]) -> Result<(), AmbiguousPath> {
    for (at, byte) in path.iter().enumerate() {
        match byte {
            0 => return Err(AmbiguousPath::Nul),
            b'%' => match escaped(&path[at..]) {
                None => return Err(AmbiguousPath::Escape),
                Some(0) => return Err(AmbiguousPath::Nul),
                Some(_) => {}
            },
            _ => {}
        }
    }
    Ok(())
}

/// The byte that an escape at the beginning of `text` stands for.
fn escaped(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    let byte = digit(1)? * 16 + digit(2)?;
    u8::try_from(byte).ok()
}

/// `path` with the escapes resolved that mean nothing, and with `/` for what is one in this form. An escaped `%` stays
/// escaped, so that nothing is ever resolved twice.
fn unescaped(path: &str, form: PathForm) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(['%', '\\']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (resolved, length) = match escaped(rest.as_bytes()) {
            _ if rest.starts_with('\\') => (Some('/'), 1),
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                (Some(char::from(byte)), 3)
            }
            Some(b'/' | b'\\') if form == PathForm::DecodeAndMergeSlashes => (Some('/'), 3),
            _ => (None, 3),
        };
        match resolved {
            Some(character) => out.push(character),
            None => out.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            // What ends in a dot segment names a directory.
            kept.push("");
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in kept {
        out.push('/');
        out.push_str(segment);
    }
    out
}

fn merged(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !out.ends_with('/') {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMS: [PathForm; 4] =
        [PathForm::None, PathForm::Base, PathForm::MergeSlashes, PathForm::DecodeAndMergeSlashes];

    #[test]
    fn each_form_takes_more_for_the_same() {
        for (path, expected) in [
            ("/app/../admin", ["/app/../admin", "/admin", "/admin", "/admin"]),
            ("/app//", ["/app//", "/app//", "/app/", "/app/"]),
            ("/app/%2f", ["/app/%2f", "/app/%2f", "/app/%2f", "/app/"]),
            ("/app/%2E./admin", ["/app/%2E./admin", "/admin", "/admin", "/admin"]),
            (r"/app\admin", [r"/app\admin", "/app/admin", "/app/admin", "/app/admin"]),
            ("/app//../admin", ["/app//../admin", "/app/admin", "/app/admin", "/app/admin"]),
            ("/xyz%30..//abc", ["/xyz%30..//abc", "/xyz0..//abc", "/xyz0../abc", "/xyz0../abc"]),
            ("/%2Fapp%5cadmin", ["/%2Fapp%5cadmin", "/%2Fapp%5cadmin", "/%2Fapp%5cadmin", "/app/admin"]),
            ("/a/%2f../b", ["/a/%2f../b", "/a/%2f../b", "/a/%2f../b", "/a/b"]),
            ("/%252e%252e/a", ["/%252e%252e/a"; 4]),
            ("/%c0%ae/a", ["/%c0%ae/a"; 4]),
            ("/a#b", ["/a"; 4]),
            ("/a#%", ["/a"; 4]),
            ("/..", ["/..", "/", "/", "/"]),
            ("/a/..", ["/a/..", "/", "/", "/"]),
            ("/a/.", ["/a/.", "/a/", "/a/", "/a/"]),
            ("/a/b/../../../c", ["/a/b/../../../c", "/c", "/c", "/c"]),
            ("/.a/..b/...", ["/.a/..b/..."; 4]),
            ("/%7Ea%2d", ["/%7Ea%2d", "/~a-", "/~a-", "/~a-"]),
            ("/", ["/"; 4]),
            ("*", ["*"; 4]),
            ("/ä%C3%A4", ["/ä%C3%A4"; 4]),
        ] {
            for (form, expected) in FORMS.into_iter().zip(expected) {
                assert_eq!(normalize(path, form).as_deref(), Ok(expected), "{path} as {form:?}");
            }
        }
    }

    #[test]
    fn what_two_readers_could_differ_on_is_no_path() {
        for (path, why) in [
            ("/a%00", AmbiguousPath::Nul),
            ("/a\0", AmbiguousPath::Nul),
            ("/%", AmbiguousPath::Escape),
            ("/%2", AmbiguousPath::Escape),
            ("/%zz", AmbiguousPath::Escape),
            ("/%%32e", AmbiguousPath::Escape),
            ("/%ä1", AmbiguousPath::Escape),
            ("/%+1", AmbiguousPath::Escape),
            ("", AmbiguousPath::Relative),
            ("a/b", AmbiguousPath::Relative),
            ("*/", AmbiguousPath::Relative),
        ] {
            for form in FORMS {
                assert_eq!(normalize(path, form), Err(why), "{path:?} as {form:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_normal_stays_and_has_no_dots_left(path in r"/([a.%/\\]|%2[ef5F]|%5[cC]|%30|ä){0,12}") {
            for form in FORMS {
                let Ok(normal) = normalize(&path, form) else { continue };
                prop_assert!(normal.len() <= path.len());
                let again = normalize(&normal, form);
                prop_assert_eq!(again.as_deref(), Ok(&*normal));
                if form == PathForm::None { continue }
                prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."), "{}", normal);
                prop_assert!(!normal.contains('\\'));
                let merges = matches!(form, PathForm::MergeSlashes | PathForm::DecodeAndMergeSlashes);
                prop_assert!(!merges || !normal.contains("//"));
            }
        }
    }
}
