//! Waiting for something to come true, until a deadline or an interruption.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::libc::{SIGHUP, SIGINT, SIGTERM};

/// Between two looks.
const PULSE: Duration = Duration::from_millis(10);
/// How long anything that should happen at once may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(15);

/// Whether somebody wants the run to end.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP only leave a note, so that whatever was made is also removed.
    pub(super) fn watch() -> Result<Self> {
        let noted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&noted)).context("watch for an interruption")?;
        }
        Ok(Self(noted))
    }

    fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A way to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience<'a> {
    interrupt: &'a Interrupt,
    limit: Duration,
}

impl<'a> Patience<'a> {
    pub(super) fn of(interrupt: &'a Interrupt) -> Self {
        Self { interrupt, limit: LIMIT }
    }

    /// The same with another limit.
    pub(crate) fn up_to(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Fails if the run is to end.
    pub(crate) fn check(&self) -> Result<()> {
        if self.interrupt.is_noted() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Looks again and again until there is an answer. `what` completes the sentence "waited in vain for".
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + self.limit;
        loop {
            if let Some(answer) = look()? {
                return Ok(answer);
            }
            self.check()?;
            if Instant::now() > deadline {
                bail!("waited {} s in vain for {what}", self.limit.as_secs());
            }
            thread::sleep(PULSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uninterrupted() -> Interrupt {
        Interrupt(Arc::default())
    }

    #[test]
    fn what_never_comes_is_named() {
        let interrupt = uninterrupted();
        let patience = Patience::of(&interrupt).up_to(Duration::from_millis(20));
        let error = patience.until("spring", || Ok(None::<()>)).unwrap_err();
        assert!(error.to_string().ends_with("in vain for spring"), "{error}");
    }

    #[test]
    fn an_interruption_ends_the_wait() {
        let interrupt = uninterrupted();
        interrupt.0.store(true, Ordering::Relaxed);
        let error = Patience::of(&interrupt).until("spring", || Ok(None::<()>)).unwrap_err();
        assert_eq!(error.to_string(), "interrupted");
    }
}
