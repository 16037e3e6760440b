//! A mount namespace of the program's own, in which something is not mounted, or shows something else.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// What is different from the mounts of the machine, in the order in which it is done.
#[derive(Clone, Debug, Args)]
pub(super) struct Mounts {
    /// Unmount a file system; may be repeated
    #[arg(long, value_name = "MOUNT_POINT")]
    unmount: Vec<PathBuf>,
    /// Show an empty directory at the place of another; may be repeated
    #[arg(long, value_name = "DIRECTORY")]
    hide: Vec<PathBuf>,
    /// Show nothing at the place of a directory's parent but the directory itself; may be repeated
    #[arg(long, value_name = "DIRECTORY")]
    hide_beside: Vec<PathBuf>,
    /// Show another file at the place of a file: FILE=OTHER; may be repeated
    #[arg(long, value_name = "FILE=OTHER", value_parser = replacement)]
    replace: Vec<(PathBuf, PathBuf)>,
}

impl Mounts {
    pub(super) fn change(&self) -> anyhow::Result<()> {
        let changes = self.hide.len() + self.hide_beside.len() + self.unmount.len() + self.replace.len();
        if changes == 0 {
            return Ok(());
        }
        unshare(CloneFlags::CLONE_NEWNS).context("leave the mount namespace of the machine")?;
        // Or what is done here would be done to the machine as well (mount_namespaces(7)).
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("keep changes to ourselves")?;
        for point in &self.unmount {
            umount2(point, MntFlags::MNT_DETACH).with_context(|| format!("unmount {}", point.display()))?;
        }
        for directory in &self.hide {
            hide(directory)?;
        }
        for directory in &self.hide_beside {
            let parent =
                directory.parent().with_context(|| format!("{} has no parent", directory.display()))?;
            // What is hidden can still be reached by a descriptor from before.
            let kept = File::open(directory).with_context(|| format!("open {}", directory.display()))?;
            hide(parent)?;
            std::fs::create_dir(directory).with_context(|| format!("make {}", directory.display()))?;
            let kept = PathBuf::from(format!("/proc/self/fd/{}", kept.as_raw_fd()));
            bind(&kept, directory).with_context(|| format!("show {} again", directory.display()))?;
        }
        for (file, other) in &self.replace {
            bind(other, file).with_context(|| format!("replace {}", file.display()))?;
        }
        Ok(())
    }
}

fn bind(from: &Path, to: &Path) -> nix::Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
}

fn hide(directory: &Path) -> anyhow::Result<()> {
    mount(Some("none"), directory, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("hide {}", directory.display()))
}

fn replacement(text: &str) -> Result<(PathBuf, PathBuf), String> {
    let parts = text.split_once('=').map(|(file, other)| (PathBuf::from(file), PathBuf::from(other)));
    parts.ok_or_else(|| format!("expected FILE=OTHER, found {text:?}"))
}
