//! A network namespace that exists as long as its value does. Says nothing about what is connected to it.

use std::fs::File;
use std::io;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use nix::sched::{CloneFlags, setns};

use crate::patience::patience;

/// Where iproute2 keeps named namespaces.
const NAMED: &str = "/run/netns";

/// A number that no other name in this process has.
pub(crate) fn serial() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The names that this harness gives: `<prefix><pid>-<serial>`.
pub(crate) fn owner_is_gone(name: &str, prefix: &str) -> bool {
    let pid = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next());
    pid.and_then(|pid| pid.parse::<u32>().ok())
        .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// A named network namespace with its loopback up.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    const PREFIX: &'static str = "sidestep-";

    /// Makes a namespace with a name of its own.
    ///
    /// # Panics
    /// When `ip` cannot make it.
    #[must_use]
    pub fn new() -> Self {
        static SWEPT: Once = Once::new();
        // iproute2 makes its directory a shared mount on first use and does not expect company.
        static MAKING: Mutex<()> = Mutex::new(());
        SWEPT.call_once(Self::sweep);
        let namespace = Self { name: format!("{}{}-{}", Self::PREFIX, std::process::id(), serial()) };
        {
            let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
            ip(&["netns", "add", &namespace.name]);
        }
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Its name for `ip -n`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(NAMED).join(&self.name)
    }

    /// Takes the name away, as `ip netns del` does: from then on the namespace lives as long as a process does in it.
    ///
    /// # Panics
    /// When `ip` fails.
    pub fn forget(&self) {
        ip(&["netns", "del", &self.name]);
    }

    /// Runs `ip -n NAME ARGUMENTS…`.
    ///
    /// # Panics
    /// When `ip` fails.
    pub fn ip(&self, arguments: &[&str]) -> String {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// Runs `work` on a thread of its own inside the namespace, in this process's cgroup.
    ///
    /// `/proc/net` follows the first thread of a process: read `/proc/thread-self/net` in there.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or when `work` panics.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = self.path();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                enter(&path).unwrap_or_else(|error| panic!("enter {}: {error}", path.display()));
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Sets a `net.` kernel parameter of the namespace, named with dots as for `sysctl`.
    ///
    /// # Panics
    /// When the parameter cannot be written.
    pub fn sysctl(&self, name: &str, value: &str) {
        let file = format!("/proc/sys/{}", name.replace('.', "/"));
        self.inside(|| {
            std::fs::write(&file, value).unwrap_or_else(|error| panic!("write {value:?} to {file}: {error}"));
        });
    }

    /// The body of `http://address/path`, asked for from inside with HTTP/1.0, and its status code.
    ///
    /// # Errors
    /// When nobody answers there, or not with HTTP.
    pub fn http(&self, address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
        self.inside(|| {
            let mut stream = TcpStream::connect_timeout(&address, patience())?;
            stream.set_read_timeout(Some(patience()))?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            let _ = stream.shutdown(Shutdown::Both);
            let strange = || io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {answer:?}"));
            let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(strange)?;
            let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(strange)?;
            Ok((status, body.to_owned()))
        })
    }

    /// The number that the kernel knows the namespace by.
    ///
    /// # Panics
    /// When the namespace is gone.
    #[must_use]
    pub fn inode(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let path = self.path();
        std::fs::metadata(&path).unwrap_or_else(|error| panic!("stat {}: {error}", path.display())).ino()
    }

    /// Removes what test processes that were killed have left.
    fn sweep() {
        for entry in std::fs::read_dir(NAMED).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if owner_is_gone(&name, Self::PREFIX) {
                // Another test process may be sweeping as well: whoever comes second finds nothing.
                let _ = Command::new("ip").args(["netns", "del", &name]).output();
            }
        }
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.path().exists()
            && let Err(error) = try_ip(&["netns", "del", &self.name])
        {
            eprintln!("{error}");
        }
    }
}

/// Moves the calling thread into the network namespace that a file stands for.
///
/// # Errors
/// When the file cannot be opened or the kernel refuses.
pub fn enter(path: &Path) -> io::Result<()> {
    Ok(setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?)
}

/// Runs `ip ARGUMENTS…` and hands back what it printed.
pub(crate) fn ip(arguments: &[&str]) -> String {
    try_ip(arguments).unwrap_or_else(|error| panic!("{error}"))
}

fn try_ip(arguments: &[&str]) -> Result<String, String> {
    let failed = |why: String| format!("ip {}: {why}", arguments.join(" "));
    let output = Command::new("ip").args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
