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

/// How many there are now, where the kernel says so: Linux 6.2 and later, as the size of their directory (fs/proc/fd.c).
#[must_use]
pub fn open() -> Option<usize> {
    let size = std::fs::metadata("/proc/self/fd").ok()?.len();
    usize::try_from(size).ok().filter(|&count| count > 0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_counted_where_it_is_counted_at_all() {
        let Some(before) = open() else { return };
        let files: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").expect("open")).collect();
        // Other tests open and close some meanwhile.
        let after = open().expect("it was counted before");
        assert!(after + 50 > before + files.len(), "{before}, {after}");
    }
}
