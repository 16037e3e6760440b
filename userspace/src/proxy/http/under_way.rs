//! Requests of one connection whose answers are not through, for whoever has to ask about them again.
//!
//! Their heads are kept only while what requests say makes a difference.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use http::request::Parts;
use http::{HeaderMap, Method, Uri};

use super::spawning::{self, Task};
use crate::model::Decided;
use crate::proxy::admission::Asked;

/// The requests of a connection.
#[derive(Default)]
pub(in crate::proxy) struct UnderWay(Mutex<Vec<Arc<Held>>>);

/// One request.
pub(in crate::proxy) struct Held {
    /// What it asks, if that was kept.
    head: Option<Box<Head>>,
    /// What answers it, if it is one of several.
    task: Option<Task>,
    /// What policy says of it now, if it is ended for that.
    cut: OnceLock<Box<Decided>>,
}

/// What policy looks at of a request.
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl UnderWay {
    /// A request begins; its head is kept if somebody may want to look at it again.
    pub(super) fn enter(&self, head: Option<&Parts>) -> Arc<Held> {
        let head = head.map(|Parts { method, uri, headers, .. }| {
            Box::new(Head { method: method.clone(), uri: uri.clone(), headers: headers.clone() })
        });
        let held = Arc::new(Held { head, task: spawning::current(), cut: OnceLock::new() });
        self.all().push(Arc::clone(&held));
        held
    }

    /// A request is over.
    pub(super) fn leave(&self, held: &Arc<Held>) {
        let mut all = self.all();
        if let Some(at) = all.iter().position(|other| Arc::ptr_eq(other, held)) {
            all.swap_remove(at);
        }
    }

    /// How many there are.
    pub(in crate::proxy) fn count(&self) -> usize {
        self.all().len()
    }

    /// Those that there are now.
    pub(in crate::proxy) fn now(&self) -> Vec<Arc<Held>> {
        self.all().clone()
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// What it asks, if that was kept.
    pub(in crate::proxy) fn asked(&self) -> Option<Asked<'_>> {
        let Head { method, uri, headers } = &**self.head.as_ref()?;
        Some(Asked { method, uri, headers })
    }

    /// Ends it alone, if it can be ended alone: its stream is reset. Else its connection has to be ended.
    pub(in crate::proxy) fn cut(&self, decided: Decided) -> bool {
        let _first = self.cut.set(Box::new(decided));
        self.task.as_ref().is_some_and(Task::abort)
    }

    /// What policy says of it now, if it is ended for that.
    pub(super) fn was_cut(&self) -> Option<&Decided> {
        self.cut.get().map(|decided| &**decided)
    }
}
