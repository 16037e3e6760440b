//! Patterns of paths: text, or a template of segments.
//!
//! As Istio has it: `{*}` is one segment that is not empty, `{**}` any number of them, and what it stands for may be empty;
//! no operator follows a `{**}`, while text may; braces are nothing else. The slashes around an operator have to be there:
//! `/a/{**}` means `/a/` and not `/a`. Other than there, a segment may be of any characters: a rule that denies is not got
//! around with one that no URI has.

use thiserror::Error;

use super::Pattern;

/// A pattern of paths: a [`Pattern`], or a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// Text.
    Text(Pattern),
    /// What stands between the slashes, the first of which is in front: at most one [`TemplatePart::Many`], and no
    /// [`TemplatePart::One`] behind it.
    Template(Vec<TemplatePart>),
}

/// What stands between two slashes of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TemplatePart {
    /// This segment.
    Segment(Box<str>),
    /// `{*}`
    One,
    /// `{**}`
    Many,
}

/// Why a text is no pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// An operator follows `{**}`.
    #[error("expected {{**}} to be the last operator of a path, found another behind it in {0:?}")]
    NotLast(String),
    /// A brace that belongs to no operator, or an operator that is not alone between slashes.
    #[error("expected braces in paths only as {{*}} or {{**}} alone between slashes, found {0:?}")]
    Braces(String),
    /// A star beside an operator.
    #[error("expected no * beside {{*}} and {{**}}, found {0:?}")]
    Star(String),
    /// It does not begin with a slash.
    #[error("expected a path template that begins with /, found {0:?}")]
    Relative(String),
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It has braces and is no template.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        if !text.contains(['{', '}']) {
            return Ok(Self::Text(Pattern::new(text)));
        }
        let wrong = |error: fn(String) -> TemplateError| Err(error(text.to_owned()));
        let Some(rest) = text.strip_prefix('/') else { return wrong(TemplateError::Relative) };
        let mut parts = Vec::new();
        for segment in rest.split('/') {
            let part = match segment {
                "{*}" => TemplatePart::One,
                "{**}" => TemplatePart::Many,
                text if text.contains(['{', '}']) => return wrong(TemplateError::Braces),
                text if text.contains('*') => return wrong(TemplateError::Star),
                text => TemplatePart::Segment(text.into()),
            };
            if !matches!(part, TemplatePart::Segment(_)) && parts.contains(&TemplatePart::Many) {
                return wrong(TemplateError::NotLast);
            }
            parts.push(part);
        }
        Ok(Self::Template(parts))
    }

    /// Whether `path` is meant.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Text(pattern) => pattern.matches(path),
            Self::Template(parts) => path.strip_prefix('/').is_some_and(|path| is_of(parts, path)),
        }
    }
}

/// Whether `path`, without its first slash, is of these parts.
fn is_of(parts: &[TemplatePart], path: &str) -> bool {
    let Some(many) = parts.iter().position(|part| *part == TemplatePart::Many) else {
        let mut segments = path.split('/');
        return parts.iter().all(|part| segments.next().is_some_and(|segment| part.is(segment)))
            && segments.next().is_none();
    };
    // From both ends towards the `{**}`, for which at least an empty segment has to be left.
    let mut rest = Some(path);
    for part in &parts[..many] {
        let Some((segment, behind)) = rest.and_then(|rest| rest.split_once('/')) else { return false };
        if !part.is(segment) {
            return false;
        }
        rest = Some(behind);
    }
    for part in parts[many + 1..].iter().rev() {
        let Some((before, segment)) = rest.and_then(|rest| rest.rsplit_once('/')) else { return false };
        if !part.is(segment) {
            return false;
        }
        rest = Some(before);
    }
    true
}

/// The text in front of the first operator and the one behind the last; of a template without any, all and nothing.
pub(super) fn ends(parts: &[TemplatePart]) -> (String, String) {
    let text = |part: &TemplatePart| match part {
        TemplatePart::Segment(text) => Some(format!("/{text}")),
        TemplatePart::One | TemplatePart::Many => None,
    };
    let front: String = parts.iter().map_while(text).collect();
    let mut back: Vec<String> = parts.iter().rev().map_while(text).collect();
    back.reverse();
    if back.len() == parts.len() { (front, String::new()) } else { (front + "/", back.concat()) }
}

impl TemplatePart {
    fn is(&self, segment: &str) -> bool {
        match self {
            Self::Segment(text) => **text == *segment,
            Self::One => !segment.is_empty(),
            Self::Many => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_means_segments() {
        for (template, meant, not) in [
            ("/a/{*}", &["/a/b", "/a/b*", "/a/ä"][..], &["/a", "/a/", "/a/b/", "/a/b/c", "/b/b", "a/b"][..]),
            ("/a/{**}", &["/a/", "/a/b", "/a/b/", "/a/b/c", "/a//"], &["/a", "/ab", "/", "/b/a/"]),
            ("/a/{**}/", &["/a//", "/a/b/", "/a/b/c/"], &["/a/", "/a/b", "/a"]),
            ("/a/{*}/b/{**}", &["/a/x/b/", "/a/x/b/y", "/a/x/b/y/z"], &["/a/x/b", "/a//b/", "/a/x/y/b/"]),
            ("/a/{**}/z.txt", &["/a//z.txt", "/a/b/z.txt", "/a/b/c/z.txt"], &["/a/z.txt", "/a/b/z.txt/"]),
            ("/{**}", &["/", "/a", "/a/b"], &["", "*"]),
            ("/{*}", &["/a"], &["/", "", "*", "/a/"]),
            ("/{*}/{*}", &["/a/b"], &["/a", "/a/", "/a/b/c"]),
        ] {
            let pattern = PathPattern::new(template).expect(template);
            assert!(matches!(pattern, PathPattern::Template(_)));
            for path in meant {
                assert!(pattern.matches(path), "{template} means {path}");
            }
            for path in not {
                assert!(!pattern.matches(path), "{template} does not mean {path}");
            }
        }
    }

    #[test]
    fn a_text_without_braces_is_a_pattern_of_text() {
        for text in ["/a", "/a*", "*/b", "*", "/a/*/b", ""] {
            assert_eq!(PathPattern::new(text), Ok(PathPattern::Text(Pattern::new(text))));
        }
    }

    #[test]
    fn what_istio_takes_for_no_template_is_refused() {
        let check = |text: &str, error: fn(String) -> TemplateError| {
            assert_eq!(PathPattern::new(text), Err(error(text.to_owned())));
        };
        check("/{**}/a/{*}", TemplateError::NotLast);
        check("/{**}/{**}", TemplateError::NotLast);
        check("/a/{*}.txt", TemplateError::Braces);
        check("/a/{b}", TemplateError::Braces);
        check("/a/{***}", TemplateError::Braces);
        check("/a/{", TemplateError::Braces);
        check("/*/a/{*}", TemplateError::Star);
        check("/{*}/a*", TemplateError::Star);
        check("{*}", TemplateError::Relative);
        check("a/{**}", TemplateError::Relative);
    }
}
