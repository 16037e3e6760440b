//! One after the other for each name, in the order of asking; at the same time for different ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turnstile, OwnedMutexGuard};

/// Who is at it, and who waits. Holds only names that somebody holds or waits for.
#[derive(Debug, Default)]
pub(super) struct Turns {
    names: Arc<Mutex<HashMap<String, Arc<Turnstile<()>>>>>,
}

/// A turn. The next begins when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    // Before the place, because fields are dropped in order: who is last leaves nothing.
    _guard: OwnedMutexGuard<()>,
    _place: Place,
}

/// A place in the queue for a name.
#[derive(Debug)]
struct Place {
    names: Arc<Mutex<HashMap<String, Arc<Turnstile<()>>>>>,
    name: String,
}

impl Turns {
    pub(super) async fn wait(&self, name: &str) -> Turn {
        // Made first, so that it is given up even if the waiting is.
        let place = Place { names: Arc::clone(&self.names), name: name.to_owned() };
        let turnstile = {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(names.entry(name.to_owned()).or_default())
        };
        Turn { _guard: turnstile.lock_owned().await, _place: place }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        // One is the map's own: nobody else holds it or waits.
        if names.get(&self.name).is_some_and(|turnstile| Arc::strong_count(turnstile) == 1) {
            names.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_name_comes_after_who_has_it() {
        let turns = Turns::default();
        let soon = Duration::from_millis(5);
        let first = turns.wait("a").await;
        let other = turns.wait("b").await;
        assert!(timeout(soon, turns.wait("a")).await.is_err());
        drop(first);
        let second = timeout(soon, turns.wait("a")).await.expect("its turn");
        drop((second, other));
        assert!(turns.names.lock().expect("whole").is_empty());
    }
}
