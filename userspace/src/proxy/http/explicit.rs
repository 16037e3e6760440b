//! Requests of programs that address the instance themselves: each says where it goes.
//!
//! Absolute targets as proxies get them (RFC 9112, section 3.2.2), and `/proxy/<service>[:port]/<path>`. What is sent on looks as if
//! the program had asked the host itself.

use std::convert::Infallible;

use http::header::HOST;
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;

use super::body::Download;
use super::front::Front;
use super::telling::Telling;
use super::{forward, own, sound};
use crate::model::{Fault, Flag, OriginalDst, Remote, Side, UpstreamAddr};
use crate::proxy::edge::explicit::{Lost, Names, find};
use std::sync::Arc;

/// What can be asked for, for whoever asks for something else.
const POSSIBLE: &str =
    "expected an absolute URL (http_proxy), CONNECT <host>:<port>, or /proxy/<service>[:port]/<path>";
/// Where the names of services stand.
const PROXY: &str = "/proxy/";
/// The port of a URL that names none.
const HTTP: u16 = 80;

/// Answers one request.
pub(super) async fn answer(
    front: Arc<Front>,
    request: Request<Incoming>,
) -> Result<Response<Download>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let lost = match direct(&front, &mut parts).await {
        Ok(original) => {
            // One request at a time: what it goes to is what a change of the rules is asked about.
            front.facts.state().live.upstream = Some(UpstreamAddr(original.0));
            let towards = Arc::new(front.towards(original));
            return forward::answer(towards, Request::from_parts(parts, body)).await;
        }
        Err(lost) => lost,
    };
    own::identify(&mut parts.headers);
    let span = super::trace::begin(&parts.headers, front.terms.sampling.as_ref());
    let mut telling = Telling::begin(&front, &parts, span);
    // Counted like any other, and let go of with what is told of it.
    front.instance.requests.enter(usize::MAX);
    let flag = if lost.reason.is_some() { Flag::Denied } else { Flag::NoRoute };
    let fault = std::io::Error::new(std::io::ErrorKind::HostUnreachable, lost.text);
    telling.failed(flag, Some(Fault::new(Side::Workload, "find route", fault)));
    let status = StatusCode::from_u16(lost.status).unwrap_or(StatusCode::BAD_REQUEST);
    Ok(own::refuse(telling, parts.version, status, lost.text))
}

/// Finds where a request goes, and makes it one for that host.
async fn direct(front: &Front, parts: &mut Parts) -> Result<OriginalDst, Lost> {
    sound::check(parts).map_err(|unsound| Lost::new(unsound.status.as_u16(), unsound.message))?;
    if parts.method == Method::CONNECT {
        return Err(Lost::new(400, "expected CONNECT as the first request of its connection"));
    }
    let local = front.original.0;
    let malformed = Lost::new(400, POSSIBLE);
    if let Some(authority) = parts.uri.authority() {
        if parts.uri.scheme() != Some(&Scheme::HTTP) {
            return Err(Lost::new(
                400,
                "expected a URL that begins with http://; ask for anything else with CONNECT",
            ));
        }
        let text = authority.as_str().to_owned();
        let remote = remote(&text).ok_or(malformed)?;
        let (original, _service) = find(&front.instance, &remote, Names::All, local).await?;
        let target = parts.uri.path_and_query().cloned();
        return rewrite(parts, target, &text).ok_or(malformed).map(|()| original);
    }
    let target = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let rest = target.strip_prefix(PROXY).ok_or(Lost::new(404, POSSIBLE))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (service, path) = rest.split_at(end);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let remote = remote(service).ok_or(Lost::new(404, POSSIBLE))?;
    let (original, hostname) = find(&front.instance, &remote, Names::Services, local).await?;
    let hostname = hostname.unwrap_or_default();
    let host = if remote.port == HTTP { hostname } else { format!("{hostname}:{}", remote.port) };
    let path = path.parse().ok();
    rewrite(parts, path, &host).ok_or(malformed)?;
    Ok(original)
}

/// A host, and the port of HTTP unless it names another.
fn remote(text: &str) -> Option<Remote> {
    text.parse().or_else(|_| format!("{text}:{HTTP}").parse()).ok()
}

/// Makes a request look as `host` is asked.
fn rewrite(parts: &mut Parts, target: Option<PathAndQuery>, host: &str) -> Option<()> {
    let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(target);
    parts.headers.insert(HOST, HeaderValue::from_str(host).ok()?);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_port_is_asked_at_that_of_http() {
        for (text, expected) in [
            ("web", Some("web:80")),
            ("web:8080", Some("web:8080")),
            ("10.0.0.1", Some("10.0.0.1:80")),
            ("[fd00::1]", Some("[fd00::1]:80")),
            ("", None),
            ("web:", None),
            ("a b", None),
            ("..", None),
        ] {
            assert_eq!(remote(text).map(|remote| remote.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_sent_on_looks_as_if_the_host_had_been_asked() {
        let request =
            Request::builder().uri("http://web.shop:81/a?b=c").header(HOST, "other").body(()).unwrap();
        let (mut parts, ()) = request.into_parts();
        let target = parts.uri.path_and_query().cloned();
        assert_eq!(rewrite(&mut parts, target, "web.shop:81"), Some(()));
        assert_eq!(
            (parts.uri.to_string().as_str(), &parts.headers[HOST]),
            ("/a?b=c", &HeaderValue::from_static("web.shop:81"))
        );
        assert_eq!(rewrite(&mut parts, None, "web"), Some(()));
        assert_eq!(parts.uri.to_string(), "/");
    }
}
