//! A server of a distribution inside a pod, with a directory of its own.

use std::ffi::OsStr;
use std::os::unix::fs::chown;
use std::path::Path;

use nix::unistd::User;
use sidestep_tests::{Place, Process, eventually};
use tempfile::TempDir;

/// A running server. Its directory goes after it.
pub(super) struct Server {
    process: Process,
    directory: TempDir,
}

impl Server {
    /// Starts `program` once `prepare` has filled its directory and said with which arguments.
    pub(super) fn start(place: Place<'_>, program: &str, prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let directory = tempfile::Builder::new().prefix("sidestep-test-").tempdir();
        let directory = directory.unwrap_or_else(|error| panic!("make a directory for {program}: {error}"));
        let arguments = prepare(directory.path());
        Self { process: place.start(program, arguments), directory }
    }

    /// What it printed on standard error so far.
    pub(super) fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Its directory.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The text of a file in its directory, empty until it is there.
    pub(super) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }
}

/// Runs a client to its end again and again until it succeeds: the sign that its server is up.
pub(super) fn eventually_succeeds<A: AsRef<OsStr> + Clone>(place: Place<'_>, program: &str, arguments: &[A]) {
    eventually(&format!("{program} succeeds"), || {
        let client = place.start(program, arguments.iter().cloned());
        if client.end().success() { Ok(()) } else { Err(client.stderr()) }
    });
}

/// Runs a client to its end, which must be a success, and hands on what it printed.
pub(super) fn answer<A: AsRef<OsStr>>(
    place: Place<'_>,
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> String {
    let client = place.start(program, arguments);
    client.succeed();
    client.stdout().join("\n")
}

/// Writes a file that a server reads.
pub(super) fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
}

/// Gives a path to the user that a server insists on.
pub(super) fn hand_over(path: &Path, user: &str) {
    let found = User::from_name(user).ok().flatten();
    let found = found.unwrap_or_else(|| panic!("there is no user {user}; install its server's package"));
    chown(path, Some(found.uid.as_raw()), Some(found.gid.as_raw()))
        .unwrap_or_else(|error| panic!("give {} to {user}: {error}", path.display()));
}
