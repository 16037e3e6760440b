//! A Unix socket that is its owner's only, as is its directory.
//!
//! It is put in place by a rename, so that its name is never without a socket that answers, and goes with whoever put it there,
//! unless a successor has put its own in its place.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use tokio::net::UnixListener;

/// Where the socket is. Dropping it takes the socket away, unless it is a successor's.
#[derive(Debug)]
pub struct OwnSocket {
    path: PathBuf,
    inode: u64,
}

impl OwnSocket {
    /// Listens at `path`, in place of whoever did before. Within a runtime.
    ///
    /// # Errors
    /// Its directory is another user's, or cannot be written to.
    pub fn listen(path: &Path) -> io::Result<(UnixListener, Self)> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            let message = "expected the path of a socket in a directory";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        };
        own(directory)?;
        let new = directory.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        let _: io::Result<()> = fs::remove_file(&new);
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        let inode = fs::symlink_metadata(&new)?.ino();
        fs::rename(&new, path)?;
        Ok((listener, Self { path: path.to_owned(), inode }))
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _: io::Result<()> = fs::remove_file(&self.path);
        }
    }
}

/// Makes sure that a directory is there, and nobody else's.
fn own(directory: &Path) -> io::Result<()> {
    if let Some(above) = directory.parent() {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(directory)?;
            if !found.is_dir() || found.uid() != geteuid().as_raw() {
                let message = "expected a directory of this user's for the socket, found somebody else's";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
            }
            fs::set_permissions(directory, Permissions::from_mode(0o700))
        }
        made => made,
    }
}
