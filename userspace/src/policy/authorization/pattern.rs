//! How text is matched: exactly, by its beginning, by its end, or by being there. Text of users never becomes a regular
//! expression.

/// `exact`, `prefix*`, `*suffix`, or `*` for anything that is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pattern {
    /// The same text.
    Exact(Box<str>),
    /// Text that begins with it.
    Prefix(Box<str>),
    /// Text that ends with it.
    Suffix(Box<str>),
    /// Text that is not empty; of a header also an empty value: it is there.
    Present,
}

impl Pattern {
    /// Reads a pattern; every text is one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        // Of a star at both ends the first is meant, and the last is text: so Istio reads it.
        match (text, text.strip_prefix('*'), text.strip_suffix('*')) {
            ("*", _, _) => Self::Present,
            (_, Some(suffix), _) => Self::Suffix(suffix.into()),
            (_, None, Some(prefix)) => Self::Prefix(prefix.into()),
            (exact, None, None) => Self::Exact(exact.into()),
        }
    }

    /// Has it begin with `new` where what it demands begins with `old`.
    pub(super) fn replace_beginning(&mut self, old: &str, new: &str) {
        if let Self::Exact(text) | Self::Prefix(text) = self
            && let Some(rest) = text.strip_prefix(old)
        {
            *text = format!("{new}{rest}").into();
        }
    }

    /// Whether `text` is meant.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.matches_bytes(text.as_bytes())
    }

    /// The same for text in lower case.
    pub(super) fn to_lower_case(&self) -> Self {
        match self {
            Self::Exact(exact) => Self::Exact(exact.to_ascii_lowercase().into()),
            Self::Prefix(prefix) => Self::Prefix(prefix.to_ascii_lowercase().into()),
            Self::Suffix(suffix) => Self::Suffix(suffix.to_ascii_lowercase().into()),
            Self::Present => Self::Present,
        }
    }

    /// Whether text is meant that need not be UTF-8.
    pub(super) fn matches_bytes(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => text == exact.as_bytes(),
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_bytes()),
            Self::Present => !text.is_empty(),
        }
    }
}
