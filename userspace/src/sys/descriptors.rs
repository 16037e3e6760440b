//! The limit on open descriptors: as high as this process may have it, and back to what it was for a command that it
//! starts.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limit that this process was started with.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    soft: u64,
    hard: u64,
}

/// Raises the limit to what is allowed without a privilege. A captured connection takes two descriptors, and the usual
/// soft limit of 1,024 is low for the sake of programs that call select(2), which this one does not.
///
/// # Errors
/// Those of getrlimit(2) and setrlimit(2).
pub fn raise() -> io::Result<Inherited> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(Inherited { soft, hard })
}

/// The limit as it is now.
///
/// # Errors
/// Those of getrlimit(2).
pub fn limit() -> io::Result<usize> {
    let (soft, _hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(soft).unwrap_or(usize::MAX))
}

impl Inherited {
    /// Puts the limit back. Async-signal-safe: one system call.
    ///
    /// # Errors
    /// Those of setrlimit(2).
    pub fn restore(self) -> io::Result<()> {
        Ok(setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard)?)
    }
}
