//! Network namespaces of others: what is made during a short visit belongs there for ever.
//!
//! A socket has the network namespace that its maker's thread was in when it was made. So one process makes the sockets
//! of many workloads by visiting: setns(2) there, the call, setns(2) back, on whatever thread needs the socket.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use nix::sched::{CloneFlags, setns};

/// A network namespace, kept alive by this.
#[derive(Clone, Debug)]
pub struct NetworkNamespace(Place);

#[derive(Clone, Debug)]
enum Place {
    /// That of this process.
    Own,
    Elsewhere(Arc<File>),
}

impl NetworkNamespace {
    /// That of this process: visiting it is staying.
    #[must_use]
    pub const fn own() -> Self {
        Self(Place::Own)
    }

    /// The one that a file stands for, such as `/proc/<pid>/ns/net` or what a container runtime bound it to.
    ///
    /// # Errors
    /// Those of open(2); EINVAL for a file that stands for no network namespace, or for that of this process, which is
    /// nobody else's.
    pub fn at(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?.into())
    }

    /// The one that a descriptor stands for.
    ///
    /// # Errors
    /// As for [`Self::at`].
    pub fn of(descriptor: OwnedFd) -> io::Result<Self> {
        let file = File::from(descriptor);
        let own = home()?.metadata()?;
        let there = file.metadata()?;
        // Files of one file system, whose inode numbers are the namespaces' (namespaces(7)).
        if there.dev() != own.dev() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "expected a namespace, found another file",
            ));
        }
        if there.ino() == own.ino() {
            let message = "expected the network namespace of a pod, found that of this process";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let namespace = Self(Place::Elsewhere(Arc::new(file)));
        // A namespace of another kind is refused here.
        namespace.visit(|| ())?;
        Ok(namespace)
    }

    /// Does something there, on this thread.
    ///
    /// It has to be short and must not wait: nothing else runs on the thread meanwhile, and what it makes is the visited
    /// workload's.
    ///
    /// # Errors
    /// Those of setns(2): EPERM without CAP_SYS_ADMIN.
    ///
    /// # Panics
    /// Does not; but a thread that cannot come back ends the process, because everything else on it would happen in a namespace
    /// that is not its own.
    pub fn visit<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let Place::Elsewhere(there) = &self.0 else { return Ok(work()) };
        let home = home()?;
        setns(there, CloneFlags::CLONE_NEWNET)?;
        let _back = Return(home);
        Ok(work())
    }

    /// The namespace as a descriptor to attach to.
    ///
    /// # Errors
    /// Those of open(2) and dup(2).
    pub fn file(&self) -> io::Result<File> {
        match &self.0 {
            Place::Own => File::open("/proc/self/ns/net"),
            Place::Elsewhere(file) => Ok(file.as_fd().try_clone_to_owned()?.into()),
        }
    }

    /// The number that the kernel knows it by.
    ///
    /// # Errors
    /// Those of open(2) and stat(2).
    pub fn inode(&self) -> io::Result<u64> {
        Ok(self.file()?.metadata()?.ino())
    }
}

/// The namespace that the process was started in. Threads that are visiting must not be asked.
fn home() -> io::Result<&'static File> {
    static HOME: OnceLock<File> = OnceLock::new();
    if let Some(home) = HOME.get() {
        return Ok(home);
    }
    // The first thread's, which never visits before this is known.
    let opened = File::open("/proc/self/ns/net")?;
    Ok(HOME.get_or_init(|| opened))
}

/// Brings the thread back, whatever happened on the way.
struct Return(&'static File);

impl Drop for Return {
    fn drop(&mut self) {
        if let Err(error) = setns(self.0, CloneFlags::CLONE_NEWNET) {
            tracing::error!(%error, "cannot come back from a pod's network namespace: ending at once");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_network_namespace_is_refused() {
        for path in ["/dev/null", "/proc/self/ns/mnt", "/proc/self/ns/net"] {
            assert!(NetworkNamespace::at(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn visiting_our_own_is_staying() {
        assert_eq!(NetworkNamespace::own().visit(|| 7).unwrap(), 7);
    }
}
