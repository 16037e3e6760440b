//! The directory of a workload below `/sys/fs/bpf/sidestep`: what makes capture outlive a crash of the instance.
//!
//! ```text
//! /sys/fs/bpf/sidestep/<workload>/v<abi>/<MAP>         the maps
//! /sys/fs/bpf/sidestep/<workload>/links/<program>      the attachments
//! /sys/fs/bpf/sidestep/node/v<abi>/<MAP>               the maps that the workloads of a node share
//! ```
//!
//! Three locks (flock(2)) hang on it. A live process holds a shared lock on the workload's directory, so that cleaning up can tell what was left behind from
//! what is in use, whatever pid namespace the process lives in. And who starts, publishes or stops holds the *turn*, an
//! exclusive lock on `links`, so that a take-over and a stop never meet half way. The third, on the directory of the maps, is that of the
//! one process that reads the refusals.

mod cleaning;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use sidestep_abi::ABI_VERSION;
use sidestep_abi::maps::OWNERS;

use crate::sys::bpffs::{self, Mounting};
use cleaning::{remove_orphans, remove_tree};

pub use cleaning::{Cleaned, Cleanup, clean, sweep};

const ROOT: &str = "sidestep";
/// The directory of what the workloads of a node share. No workload's has this name: theirs end in the id of a cgroup or process.
pub const NODE: &str = "node";
/// How long another process may keep the turn: writing 131,072 rules takes half a second.
const LONGEST_TURN: Duration = Duration::from_secs(20);
/// How often to look whether the turn is free.
const TURN_LOOK: Duration = Duration::from_millis(5);

/// Whether this process has removed what others left behind.
static SWEPT: Once = Once::new();

/// The pins of one workload. Those that were made for a capture that never came to be go when this is dropped.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
    /// Held as long as this process serves the workload.
    lock: Flock<File>,
    /// Held while this process changes what the workload's processes share.
    turn: Option<Flock<File>>,
    stay: Stay,
    company: Company,
}

/// Whether other live processes hold the pins too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    None,
    Others,
}

/// What becomes of pins that nobody removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    /// They are what keeps the workload captured: they outlive this process.
    Outlive,
    /// This process made them and has not captured anything.
    Provisional,
}

impl Pins {
    /// Opens or makes the directory of a workload, and takes the turn: no other process starts, changes or removes the
    /// capture of the workload until its turn ends.
    ///
    /// # Errors
    /// If there is no BPF file system and none can or may be mounted, or another process keeps the turn.
    pub fn open(workload: &str, mounting: Mounting) -> Result<Self> {
        let root = bpffs::mounted(mounting)?.join(ROOT);
        // What is orphaned later was this process's own, and it knows of it: looking through hundreds of workloads for each one
        // that starts would take longer than the start.
        let name = directory_of(workload);
        SWEPT.call_once(|| remove_orphans(&root, &name));
        let directory = root.join(name);
        loop {
            let stay = if directory.exists() { Stay::Outlive } else { Stay::Provisional };
            let mut lock = match make(&directory).and_then(|()| lock(&directory, FlockArg::LockShared)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock.with_context(|| format!("make and lock {}", directory.display()))?,
            };
            let turn = take_turn(&directory)?;
            let company = company(&mut lock).with_context(|| format!("lock {}", directory.display()))?;
            // Whoever had the turn before may have removed what was just made.
            let stands = fs::metadata(&directory)
                .is_ok_and(|now| lock.metadata().is_ok_and(|held| held.ino() == now.ino()));
            if stands && turn.is_some() {
                return Ok(Self { directory, lock, turn, stay, company });
            }
        }
    }

    /// Whether no other live process served by these pins when they were opened.
    pub(super) fn were_deserted(&self) -> bool {
        self.company == Company::None
    }

    /// Lets other processes have their turn.
    pub(super) fn end_turn(&mut self) {
        self.turn = None;
    }

    /// Waits for this process's turn, if it has not got it. Where the pins are gone there is nobody to take turns with: a
    /// successor has removed them.
    pub(super) fn begin_turn(&mut self) -> Result<()> {
        if self.turn.is_none() {
            self.turn = take_turn(&self.directory)?;
        }
        Ok(())
    }

    /// Lets the pins outlive this process from now on: the workload is captured.
    pub(super) fn keep(&mut self) {
        self.stay = Stay::Outlive;
    }

    /// Where a map of this ABI version is pinned.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        if name == OWNERS {
            // Processes of different versions have to agree on who serves: its layout never changes.
            return self.directory.join(name);
        }
        self.maps().join(name)
    }

    /// The directory of the maps of this ABI version. Whoever reads the refusals holds a lock on it.
    pub(super) fn maps(&self) -> PathBuf {
        self.directory.join(format!("v{ABI_VERSION}"))
    }

    /// Where the attachment of a program is pinned.
    #[must_use]
    pub fn link(&self, program: &str) -> PathBuf {
        self.directory.join("links").join(program)
    }

    /// Removes every pin of the workload. Attachments that nobody holds open end with it.
    ///
    /// # Errors
    /// If a file stays.
    pub fn remove(mut self) -> Result<()> {
        self.keep();
        remove_tree(&self.directory)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // Another process may have come to share them meanwhile.
        let alone = || self.lock.relock(FlockArg::LockExclusiveNonblock).is_ok();
        if self.stay == Stay::Provisional
            && alone()
            && let Err(error) = remove_tree(&self.directory)
        {
            tracing::warn!(error = format!("{error:#}"), "pins of a capture that was not begun stay");
        }
    }
}

/// Asks whether others hold a lock as we do. For a moment nobody holds ours: what was locked has to be looked at again.
fn company(lock: &mut Flock<File>) -> io::Result<Company> {
    let alone = lock.relock(FlockArg::LockExclusiveNonblock).is_ok();
    lock.relock(FlockArg::LockShared)?;
    Ok(if alone { Company::None } else { Company::Others })
}

/// What the directory of a workload is called. The BPF file system takes no name with a dot (kernel/bpf/inode.c), and no workload
/// has one with a colon.
fn directory_of(workload: &str) -> String {
    workload.replace('.', ":")
}

/// Whose directory is called that.
fn workload_of(directory: &str) -> String {
    directory.replace(':', ".")
}

/// Makes the directories of a workload; NotFound if somebody removes them at the same time.
fn make(directory: &Path) -> io::Result<()> {
    for path in [directory.join("links"), directory.join(format!("v{ABI_VERSION}"))] {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    Ok(())
}

/// Waits for the turn, for as long as the longest of another process takes several times over. `None` if the directory was
/// removed meanwhile.
fn take_turn(directory: &Path) -> Result<Option<Flock<File>>> {
    let deadline = Instant::now() + LONGEST_TURN;
    loop {
        match try_lock(&directory.join("links")) {
            Ok(Some(turn)) => return Ok(Some(turn)),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(TURN_LOOK),
            Ok(None) => bail!(
                "expected the other processes of this workload to end their start or stop, found one at it for {} s: lock {}",
                LONGEST_TURN.as_secs(),
                directory.display()
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("lock {}", directory.display())),
        }
    }
}

/// Takes the exclusive lock on a directory, if nobody has it; NotFound if there is no such directory.
pub(super) fn try_lock(directory: &Path) -> io::Result<Option<Flock<File>>> {
    match lock(directory, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.raw_os_error() == Some(libc::EWOULDBLOCK) => Ok(None),
        Err(error) => Err(error),
    }
}

fn lock(directory: &Path, how: FlockArg) -> io::Result<Flock<File>> {
    Flock::lock(File::open(directory)?, how).map_err(|(_, error)| error.into())
}
