//! Files that are there whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Changed, InstallError, Manner};

/// What the name of an unfinished file begins with. No runtime reads a file that is hidden.
const UNFINISHED: &str = ".sidestep-new-";
/// Everybody may run a plugin, only root may change it.
const PROGRAM: u32 = 0o755;
/// A network's, where there was none before.
const NETWORK: u32 = 0o600;

/// Says what could not be done to what.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> InstallError {
    let path = path.to_owned();
    move |cause| InstallError::File { doing, path: path.clone(), cause }
}

/// Puts a file's content in the place of another, with the same mode.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), InstallError> {
    copy_mode(path, path, content)
}

/// Writes a file with the mode of another.
pub(super) fn copy_mode(like: &Path, path: &Path, content: &[u8]) -> Result<(), InstallError> {
    let mode = fs::metadata(like).map_or(NETWORK, |found| found.permissions().mode() & 0o777);
    write(path, &mut &content[..], mode).map_err(failed("write", path))
}

/// Copies a program, unless it is there.
pub(super) fn put_program(program: &Path, path: &Path, manner: Manner) -> Result<Changed, InstallError> {
    let stands = match manner {
        Manner::Claim => is_program(path) && same(program, path).unwrap_or(false),
        Manner::Repair => is_program(path),
    };
    if stands {
        return Ok(Changed::No);
    }
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
    let mut from = File::open(program).map_err(failed("read", program))?;
    write(path, &mut from, PROGRAM).map_err(failed("write", path))?;
    Ok(Changed::Yes)
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), InstallError> {
    let done = fs::rename(from, to).and_then(|()| keep(to));
    done.map_err(failed("rename", from))
}

/// Removes a file. One that is not there is removed.
pub(super) fn remove(path: &Path) -> Result<(), InstallError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(failed("remove", path)),
    }
}

/// Removes what agents that are gone have not finished.
pub(super) fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED)?.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _: io::Result<()> = fs::remove_file(entry.path());
        }
    }
}

/// Writes beside the place, has it on the disk, and renames. What fails leaves nothing.
fn write(path: &Path, content: &mut dyn Read, mode: u32) -> io::Result<()> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let new = path.with_file_name(format!("{UNFINISHED}{}-{serial}", std::process::id()));
    let done = fill(&new, content, mode).and_then(|()| fs::rename(&new, path)).and_then(|()| keep(path));
    if done.is_err() {
        let _: io::Result<()> = fs::remove_file(&new);
    }
    done
}

fn fill(new: &Path, content: &mut dyn Read, mode: u32) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(new)?;
    // Whatever the umask says.
    file.set_permissions(Permissions::from_mode(mode))?;
    io::copy(content, &mut file)?;
    file.flush()?;
    file.sync_all()
}

/// Has a rename on the disk (fsync(2): "an explicit fsync() on a file descriptor for the directory is also needed").
fn keep(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.len() > 0 && found.permissions().mode() & 0o111 == 0o111)
}

/// Whether two files say the same.
fn same(left: &Path, right: &Path) -> io::Result<bool> {
    if fs::metadata(left)?.len() != fs::metadata(right)?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (File::open(left)?, File::open(right)?);
    let (mut here, mut there) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let read = left.read(&mut here)?;
        if read == 0 {
            return Ok(true);
        }
        right.read_exact(&mut there[..read])?;
        if here[..read] != there[..read] {
            return Ok(false);
        }
    }
}
