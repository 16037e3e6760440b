//! How text is matched: exactly, by its beginning, by its end, or by being there.

/// `exact`, `prefix*`, `*suffix`, or `*` for anything that is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pattern {
    /// The same text.
    Exact(Box<str>),
    /// Text that begins with it.
    Prefix(Box<str>),
    /// Text that ends with it.
    Suffix(Box<str>),
    /// Text that is not empty.
    Present,
}

impl Pattern {
    /// Reads a pattern; every text is one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        match (text, text.strip_suffix('*'), text.strip_prefix('*')) {
            ("*", _, _) => Self::Present,
            (_, Some(prefix), _) => Self::Prefix(prefix.into()),
            (_, None, Some(suffix)) => Self::Suffix(suffix.into()),
            (exact, None, None) => Self::Exact(exact.into()),
        }
    }

    /// Whether `text` is meant.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == &**exact,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::Present => !text.is_empty(),
        }
    }
}

/// A pattern of paths: a [`Pattern`], or a template with `{*}` for one segment and `{**}` for any number of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// Text.
    Text(Pattern),
    /// Segments.
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
