//! Paths that a redirect or a rewrite makes of others.

/// What becomes of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathEdit {
    /// It becomes this one.
    Full(String),
    /// The part that the rule's prefix matched becomes this one.
    Prefix(String),
}

impl PathEdit {
    /// The path that `path` becomes, of which a rule has matched `prefix` (without a slash at its end).
    #[must_use]
    pub fn apply(&self, path: &str, prefix: &str) -> String {
        match self {
            Self::Full(full) => full.clone(),
            Self::Prefix(replacement) => {
                let rest = path.strip_prefix(prefix).unwrap_or(path);
                let front = replacement.strip_suffix('/').unwrap_or(replacement);
                match (front, rest) {
                    ("", "") => "/".to_owned(),
                    // The path is what the prefix was, to the last character: so is what it becomes.
                    (_, "") => replacement.clone(),
                    _ => format!("{front}{rest}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_as_the_gateway_api_tabulates_it() {
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "", "/xyz", "/xyz/foo/bar"),
            ("/", "", "/xyz", "/xyz/"),
        ] {
            let edit = PathEdit::Prefix(replacement.to_owned());
            assert_eq!(edit.apply(path, prefix), expected, "{path} below {prefix} to {replacement}");
        }
        assert_eq!(PathEdit::Full("/x".to_owned()).apply("/foo/bar", "/foo"), "/x");
    }
}
