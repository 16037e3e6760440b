//! A Unix socket at which an instance says what it carries, to whoever runs it and to nobody else.
//!
//! Nothing is read from it: whoever connects is told everything that there is to tell, as one text, and that is all. It is
//! not reachable over TCP. Its directory and itself are its owner's only, and who connects has to be the same user: for an
//! app that shares the file system too, as one under `run` does, or one in a container that was given the directory.

use std::fs::{self, DirBuilder, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Where the sockets of all instances of this file system are.
pub const DIRECTORY: &str = "/run/sidestep";
/// What their names end with.
pub const EXTENSION: &str = "sock";
/// How many are told at once; more wait.
const CONNECTIONS: usize = 4;
/// How long somebody may take to read what is told.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after accepting failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The socket of one instance. It goes with this, unless a successor has put its own in its place.
#[derive(Debug)]
pub struct Local {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Local {
    /// Listens in `directory`, in place of whoever had that name before.
    ///
    /// # Errors
    /// The directory is somebody else's, or cannot be written to.
    pub fn listen(directory: &Path, name: &str) -> io::Result<Self> {
        own(directory)?;
        let path = directory.join(format!("{name}.{EXTENSION}"));
        let new = directory.join(format!(".{name}.{}", std::process::id()));
        let _: io::Result<()> = fs::remove_file(&new);
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        let inode = fs::symlink_metadata(&new)?.ino();
        // In one step, so that the name is never without a socket that answers.
        fs::rename(&new, &path)?;
        Ok(Self { listener, path, inode })
    }

    /// Tells whoever connects, until the future is dropped.
    pub fn serve(self, told: impl Fn() -> String + Send + Sync + 'static) -> impl Future<Output = ()> + Send {
        let (told, room) = (Arc::new(told), Arc::new(Semaphore::new(CONNECTIONS)));
        async move {
            let mut serving = tokio::task::JoinSet::new();
            // The semaphore is never closed.
            while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        let told = Arc::clone(&told);
                        serving.spawn(async move {
                            let _late: Result<_, _> = timeout(PATIENCE, tell(stream, &*told)).await;
                            drop(permit);
                        });
                    }
                    Err(_) => sleep(PAUSE).await,
                }
                while serving.try_join_next().is_some() {}
            }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _: io::Result<()> = fs::remove_file(&self.path);
        }
    }
}

/// Makes sure that a directory is there, and nobody else's.
fn own(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(directory)?;
            if !found.is_dir() || found.uid() != geteuid().as_raw() {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "the directory is somebody else's",
                ));
            }
            fs::set_permissions(directory, Permissions::from_mode(0o700))
        }
        made => made,
    }
}

async fn tell(mut stream: UnixStream, told: &(impl Fn() -> String + Send + Sync)) -> io::Result<()> {
    if stream.peer_cred()?.uid() != geteuid().as_raw() {
        return Ok(());
    }
    let text = told();
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn read(path: &Path) -> io::Result<String> {
        let mut text = String::new();
        UnixStream::connect(path)?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_runs_it_is_told_and_a_successor_takes_its_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let directory = directory.path().join("run");
        let path = directory.join("web-1.sock");
        let first = tokio::spawn(
            Local::listen(&directory, "web-1").expect("it listens").serve(|| "first".to_owned()),
        );
        assert_eq!(read(&path).expect("told"), "first");
        let modes = [&directory, &path].map(|path| fs::metadata(path).expect("it is there").mode() & 0o777);
        assert_eq!(modes, [0o700, 0o600]);

        let second = tokio::spawn(
            Local::listen(&directory, "web-1").expect("it listens").serve(|| "second".to_owned()),
        );
        first.abort();
        let _aborted = first.await;
        assert_eq!(read(&path).expect("told"), "second");
        second.abort();
        let _aborted = second.await;
        assert_eq!(fs::read_dir(&directory).expect("it is there").count(), 0);
    }

    #[tokio::test]
    async fn the_directory_of_somebody_else_is_not_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("written");
        let error = Local::listen(&file, "web-1").expect_err("it is no directory");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
