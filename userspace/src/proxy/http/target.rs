//! A request's target as rules see it, and as they change it.

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Uri};

use super::body::Upload;
use crate::model::{AmbiguousPath, PathForm, normalize};
use crate::routing::{Filters, RequestView};

/// What a request is asked to, kept beside it.
pub(super) struct Target {
    method: Method,
    authority: Option<String>,
    /// In the form in which paths are compared.
    pub(super) path: String,
    query: Option<String>,
}

impl Target {
    /// The target of a request.
    ///
    /// # Errors
    /// Its path means different things to different readers.
    pub(super) fn of<B>(request: &Request<B>) -> Result<Self, AmbiguousPath> {
        let uri = request.uri();
        let host = || request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        // CONNECT has no path, and is about none.
        let path = if request.method() == Method::CONNECT { "*" } else { uri.path() };
        Ok(Self {
            method: request.method().clone(),
            authority: uri.authority().map(|authority| authority.as_str().to_owned()).or_else(host),
            path: normalize(path, PathForm::Base)?.into_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    /// A request to this target, as rules look at it.
    pub(super) fn view<'a, B>(&'a self, request: &'a Request<B>) -> RequestView<'a> {
        RequestView {
            method: &self.method,
            authority: self.authority.as_deref(),
            path: &self.path,
            query: self.query.as_deref(),
            headers: request.headers(),
        }
    }

    /// Changes a request as filters say, of which the rule has matched `prefix`.
    ///
    /// # Errors
    /// What they make of the target is none.
    pub(super) fn change(
        &self,
        request: &mut Request<Upload>,
        filters: &Filters,
        prefix: &str,
    ) -> Result<(), http::Error> {
        if let Some(edit) = &filters.request_headers {
            edit.apply(request.headers_mut());
        }
        let Some(rewrite) = &filters.rewrite else { return Ok(()) };
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        if let Some(edit) = &rewrite.path {
            let mut target = edit.apply(&self.path, prefix);
            if let Some(query) = &self.query {
                target.push('?');
                target.push_str(query);
            }
            parts.path_and_query = Some(PathAndQuery::try_from(target)?);
        }
        if let Some(hostname) = &rewrite.hostname {
            if parts.authority.is_some() {
                parts.authority = Some(hostname.parse()?);
            }
            if request.headers().contains_key(HOST) {
                request.headers_mut().insert(HOST, HeaderValue::try_from(hostname)?);
            }
        }
        *request.uri_mut() = Uri::from_parts(parts)?;
        Ok(())
    }
}
