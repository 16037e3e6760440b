//! The three files of a certificate as cert-manager and Kubernetes name them, read within bounds and written at once.
//!
//! Written as Kubernetes writes volumes: a directory per version, a link `..data` to it that is swapped by a rename, and
//! links by the files' names through it. Who reads sees the old files or the new ones, never some of each.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Component, Path};

use zeroize::Zeroizing;

/// The certificate and those that vouch for it.
pub(super) const CERTIFICATE: &str = "tls.crt";
/// Its key.
pub(super) const KEY: &str = "tls.key";
/// Whom to believe.
pub(super) const ROOTS: &str = "ca.crt";
/// The link that is swapped.
const CURRENT: &str = "..data";
/// Most bytes of a file.
const LARGEST: u64 = 1 << 20;

/// Reads a file of at most 1 MiB. What it held is wiped when dropped.
///
/// # Errors
/// It is missing, unreadable or too large; the message names it.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let wrong = |error: io::Error| format!("read {}: {error}", path.display());
    let file = File::open(path).map_err(wrong)?;
    let length = file.metadata().map_err(wrong)?.len();
    // Room for all of it, so that no part of a key is left behind when a buffer grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.min(LARGEST) as usize + 2));
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("read {}: expected at most 1 MiB, found more", path.display()));
    }
    Ok(bytes)
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// Everybody.
    Open,
    /// Its owner.
    Secret,
}

/// Writes a file that must not be there yet.
///
/// # Errors
/// It is there, or cannot be written.
pub(super) fn create_new(path: &Path, content: &[u8], secrecy: Secrecy) -> io::Result<()> {
    let mode = match secrecy {
        Secrecy::Open => 0o644,
        Secrecy::Secret => 0o600,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Puts files into a directory in one step, in place of those put there before.
///
/// # Errors
/// Something cannot be written; then the files from before are untouched.
pub(super) fn publish(directory: &Path, files: &[(&str, &[u8], Secrecy)]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let current = directory.join(CURRENT);
    let before = fs::read_link(&current).ok();
    let version = unused(directory)?;
    let home = directory.join(&version);
    DirBuilder::new().mode(0o755).create(&home)?;
    let written =
        files.iter().try_for_each(|(name, content, secrecy)| create_new(&home.join(name), content, *secrecy));
    if let Err(error) = written.and_then(|()| swap(Path::new(&version), &current)) {
        drop(fs::remove_dir_all(&home));
        return Err(error);
    }
    for (name, ..) in files {
        let target = Path::new(CURRENT).join(name);
        let link = directory.join(name);
        if fs::read_link(&link).ok().as_deref() != Some(&target) {
            swap(&target, &link)?;
        }
    }
    // The version from before goes only if it is of the kind made here: a plain name beside the link.
    if let Some(before) = before.filter(|before| is_version(before)) {
        drop(fs::remove_dir_all(directory.join(before)));
    }
    Ok(())
}

/// Makes a link, or replaces what is there by one, in one step.
fn swap(target: &Path, link: &Path) -> io::Result<()> {
    let mut draft = link.as_os_str().to_owned();
    draft.push(format!(".draft-{}", std::process::id()));
    drop(fs::remove_file(&draft));
    symlink(target, &draft)?;
    fs::rename(&draft, link).inspect_err(|_| drop(fs::remove_file(&draft)))
}

fn is_version(path: &Path) -> bool {
    let mut components = path.components();
    let (first, second) = (components.next(), components.next());
    matches!((first, second), (Some(Component::Normal(name)), None) if name.as_encoded_bytes().starts_with(b".."))
}

/// A name for a version that is not taken.
fn unused(directory: &Path) -> io::Result<String> {
    let taken = |name: &String| directory.join(name).symlink_metadata().is_ok();
    (0..u32::MAX)
        .map(|number| format!("..{}-{number}", std::process::id()))
        .find(|name| !taken(name))
        .ok_or_else(|| io::Error::other("no name is left for a version"))
}
