//! Values of the section `tracing`.

use http::Uri;

use super::Scalar;

/// A part of something.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Ratio(pub(in crate::config) f64);

impl Scalar for Ratio {
    fn expected() -> String {
        "a number from 0 to 1, such as 0.01".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.map(Self).ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}

/// Where a collector is. What is a query or a secret in front of the host would be sent nowhere.
impl Scalar for Uri {
    fn expected() -> String {
        "a URL such as http://collector:4317 or https://collector:4318/base".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let known = |uri: &Self| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && uri.query().is_none()
        };
        let uri = text.parse().ok().filter(known);
        uri.ok_or_else(|| format!("expected {}, found {text:?}", Self::expected()))
    }
}
