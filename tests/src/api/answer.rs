//! Requests and what they are answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::unfold;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Method, Response};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::kind::{Kind, Place, at};
use super::selector::Selector;
use super::store::{Fault, Store};

/// How often a watch is told how far it is.
const BOOKMARKS: Duration = Duration::from_millis(500);

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, `PATCH`…
    pub method: String,
    /// The path.
    pub path: String,
    /// The query's parameters, decoded.
    pub query: BTreeMap<String, String>,
    /// The body, if it was JSON.
    pub body: Value,
}

impl Request {
    /// Path and query, decoded.
    #[must_use]
    pub fn target(&self) -> String {
        let query: Vec<String> = self.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}?{}", self.path, query.join("&"))
    }

    /// Whether it asks for changes, not for what is there.
    #[must_use]
    pub fn is_watch(&self) -> bool {
        self.query.get("watch").is_some_and(|value| value == "true")
    }

    fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

/// Takes requests.
#[derive(Debug)]
pub(super) struct Desk {
    token: String,
    store: Mutex<Store>,
    changed: watch::Sender<u64>,
    requests: Mutex<Vec<Request>>,
    fault: Mutex<Option<Fault>>,
    pause: Mutex<Duration>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    pub(super) fn new(token: &str) -> Self {
        Self {
            token: format!("Bearer {token}"),
            store: Mutex::default(),
            changed: watch::Sender::new(0),
            requests: Mutex::default(),
            fault: Mutex::default(),
            pause: Mutex::default(),
        }
    }

    /// Does something with what is held, and lets those know who watch.
    pub(super) fn store<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = lock(&self.store);
        let done = work(&mut store);
        let version = store.version();
        self.changed.send_if_modified(|last| std::mem::replace(last, version) != version);
        done
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }

    pub(super) fn fail(&self, fault: Option<Fault>) {
        *lock(&self.fault) = fault;
    }

    pub(super) fn slow(&self, pause: Duration) {
        *lock(&self.pause) = pause;
    }

    fn fault(&self) -> Option<Fault> {
        *lock(&self.fault)
    }

    pub(super) async fn answer(self: Arc<Self>, request: hyper::Request<Incoming>) -> Response<Body> {
        let authorized = request.headers().get("authorization").is_some_and(|found| *found == *self.token);
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return status(400, "the body broke off") };
        let request = Request {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: parameters(head.uri.query().unwrap_or_default()),
            body: serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
        };
        lock(&self.requests).push(request.clone());
        let pause = *lock(&self.pause);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if !authorized {
            return status(401, "Unauthorized");
        }
        if let Some(Fault::Status(code)) = self.fault() {
            return status(code, "as the test wants it");
        }
        let Some(place) = at(&request.path).filter(|place| self.store(|store| store.installed(place.kind)))
        else {
            return status(404, "the server could not find the requested resource");
        };
        match (head.method, place.name.clone()) {
            (Method::GET, None) if request.is_watch() => self.watch(place, &request),
            (Method::GET, None) => self.list(&place, &request),
            (Method::GET, Some(name)) => {
                let found = self.store(|store| store.get(place.kind, namespace(&place), &name).cloned());
                found.map_or_else(|| not_found(place.kind, &name), |object| whole(200, &object))
            }
            (Method::POST, None) => self.create(&place, request.body),
            (Method::PATCH, Some(name)) => self.patch(&place, &name, &request.body),
            (Method::DELETE, Some(name)) => {
                let gone = self.store(|store| store.delete(place.kind, namespace(&place), &name));
                gone.map_or_else(|| not_found(place.kind, &name), |object| whole(200, &object))
            }
            _ => status(405, "not allowed"),
        }
    }

    fn list(&self, place: &Place, request: &Request) -> Response<Body> {
        let selector = match selector(place.kind, request) {
            Ok(selector) => selector,
            Err(why) => return status(400, &why),
        };
        let within = |object: &&Value| {
            place.namespace.as_ref().is_none_or(|namespace| object["metadata"]["namespace"] == **namespace)
                && selector.selects(object)
        };
        let (version, objects): (u64, Vec<Value>) =
            self.store(|store| (store.version(), store.all(place.kind).filter(within).cloned().collect()));
        let from: usize = request.parameter("continue").parse().unwrap_or(0);
        let most: usize = request.parameter("limit").parse().unwrap_or(usize::MAX);
        let left = objects.len().saturating_sub(from.saturating_add(most));
        let page: Vec<Value> = objects.into_iter().skip(from).take(most).collect();
        let mut metadata = json!({ "resourceVersion": version.to_string() });
        if left > 0 {
            metadata["continue"] = json!((from + page.len()).to_string());
        }
        let kind = format!("{}List", place.kind.kind);
        whole(200, &json!({ "kind": kind, "apiVersion": "v1", "metadata": metadata, "items": page }))
    }

    fn create(&self, place: &Place, mut object: Value) -> Response<Body> {
        object["kind"] = json!(place.kind.kind);
        if let Some(namespace) = &place.namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        if object["metadata"]["name"].is_null()
            && let Some(prefix) = object["metadata"]["generateName"].as_str()
        {
            object["metadata"]["name"] = json!(format!("{prefix}{}", crate::namespace::serial()));
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.store(|store| {
            if store.get(place.kind, namespace(place), &name).is_some() {
                return status(409, "already exists");
            }
            store.put(object).map_or_else(|why| status(422, &why), |object| whole(201, &object))
        })
    }

    fn patch(&self, place: &Place, name: &str, patch: &Value) -> Response<Body> {
        self.store(|store| {
            let Some(before) = store.get(place.kind, namespace(place), name).cloned() else {
                return not_found(place.kind, name);
            };
            let wanted = &patch["metadata"]["uid"];
            if wanted.is_string() && *wanted != before["metadata"]["uid"] {
                return status(409, "the UID in the precondition does not match");
            }
            let version = &patch["metadata"]["resourceVersion"];
            if version.is_string() && *version != before["metadata"]["resourceVersion"] {
                return status(409, "the object has been modified");
            }
            let mut after = before.clone();
            merge(&mut after, patch);
            // Each of the two ways in changes its own half.
            if place.subresource.as_deref() == Some("status") {
                let status = after["status"].take();
                after = before;
                after["status"] = status;
            } else {
                after["status"] = before["status"].clone();
            }
            store.put(after).map_or_else(|why| status(422, &why), |object| whole(200, &object))
        })
    }

    fn watch(self: Arc<Self>, place: Place, request: &Request) -> Response<Body> {
        let selector = match selector(place.kind, request) {
            Ok(selector) => selector,
            Err(why) => return status(400, &why),
        };
        let now = Instant::now();
        let seconds = request.parameter("timeoutSeconds").parse().unwrap_or(300);
        let version = request.parameter("resourceVersion").parse().unwrap_or(0);
        let mut watching = Watching {
            changed: self.changed.subscribe(),
            desk: self,
            place,
            selector,
            version,
            bookmarks: request.parameter("allowWatchBookmarks") == "true",
            end: now + Duration::from_secs(seconds),
            lines: Vec::new(),
            begun: false,
            ended: false,
        };
        watching.changed.mark_changed();
        let lines = unfold(watching, |mut watching| async move {
            let line = watching.next().await?;
            Some((Ok(Frame::data(Bytes::from(format!("{line}\n")))), watching))
        });
        let body = BodyExt::boxed_unsync(StreamBody::new(lines));
        answer(200, body)
    }
}

/// One watch.
struct Watching {
    desk: Arc<Desk>,
    place: Place,
    selector: Selector,
    version: u64,
    changed: watch::Receiver<u64>,
    bookmarks: bool,
    end: Instant,
    /// Lines that are still to be said, the next one last.
    lines: Vec<String>,
    begun: bool,
    ended: bool,
}

impl Watching {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.lines.pop() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            match self.desk.fault() {
                Some(Fault::Stall) => std::future::pending().await,
                Some(Fault::Gone) => {
                    self.gone();
                    continue;
                }
                Some(Fault::Garbage) if !self.begun => {
                    self.begun = true;
                    return Some("{\"type\": \"ADDED\", \"object\": 1".to_owned());
                }
                _ => {}
            }
            self.begun = true;
            tokio::select! {
                changed = self.changed.changed() => match changed {
                    Ok(()) => self.gather(),
                    Err(_gone) => return None,
                },
                () = tokio::time::sleep(BOOKMARKS), if self.bookmarks => {
                    let (kind, version) = (self.place.kind.kind, self.version.to_string());
                    let object = json!({ "kind": kind, "apiVersion": "v1", "metadata": { "resourceVersion": version } });
                    return Some(json!({ "type": "BOOKMARK", "object": object }).to_string());
                }
                () = tokio::time::sleep_until(self.end) => return None,
            }
        }
    }

    /// What happened since the last time.
    fn gather(&mut self) {
        if self.desk.fault() == Some(Fault::Stall) {
            return;
        }
        let (namespace, selector, kind) = (self.place.namespace.as_deref(), &self.selector, self.place.kind);
        let version = self.version;
        let found = self.desk.changes(version, |change| change.event(kind, namespace, selector));
        match found {
            Some((version, events)) => {
                self.version = version;
                self.lines = events.iter().rev().map(Value::to_string).collect();
            }
            None => self.gone(),
        }
    }

    fn gone(&mut self) {
        self.ended = true;
        let object = failure(410, "Expired", "too old resource version");
        self.lines.push(json!({ "type": "ERROR", "object": object }).to_string());
    }
}

impl Desk {
    /// The changes after a version, without telling those who watch.
    fn changes(
        &self,
        version: u64,
        event: impl Fn(&super::store::Change) -> Option<Value>,
    ) -> Option<(u64, Vec<Value>)> {
        let store = lock(&self.store);
        let changes = store.since(version)?;
        Some((store.version(), changes.iter().filter_map(event).collect()))
    }
}

fn selector(kind: &Kind, request: &Request) -> Result<Selector, String> {
    Selector::read(kind, request.parameter("labelSelector"), request.parameter("fieldSelector"))
}

fn namespace(place: &Place) -> &str {
    place.namespace.as_deref().unwrap_or_default()
}

/// JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            if let Some(fields) = target.as_object_mut() {
                fields.remove(name);
            }
        } else {
            merge(&mut target[name], value);
        }
    }
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let digits = String::from_utf8_lossy(&digits).into_owned();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}

fn status(code: u16, message: &str) -> Response<Body> {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        _ => "InternalError",
    };
    whole(code, &failure(code, reason, message))
}

fn not_found(kind: &Kind, name: &str) -> Response<Body> {
    status(404, &format!("{} {name:?} not found", kind.plural))
}

fn whole(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {});
    answer(code, body.boxed_unsync())
}

fn answer(code: u16, body: Body) -> Response<Body> {
    let made = Response::builder().status(code).header("content-type", "application/json").body(body);
    made.unwrap_or_else(|error| panic!("make an answer: {error}"))
}
