//! Debian's kernel package, unpacked below target/vm and never installed.
//!
//! It takes the kernel that this machine's apt offers (6.1 on Debian 12, the oldest one supported); other
//! versions come from other package lists, not from here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, capture, find_program};
use crate::workspace::Workspace;

/// The package that depends on the current kernel.
const META_PACKAGE: &str = "linux-image-amd64";

/// A kernel that the virtual machine can boot.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` says it: `6.1.0-56-amd64`.
    pub(crate) release: String,
    /// The compressed kernel image.
    pub(crate) image: PathBuf,
    /// The directory of its modules, with modules.dep.
    pub(crate) modules: PathBuf,
}

impl Kernel {
    /// The kernel below target/vm; downloaded, unpacked and indexed if it is not there yet.
    pub(crate) fn fetch(workspace: &Workspace) -> Result<Self> {
        let store = workspace.artifact("vm/kernels");
        if let Some(kernel) = Self::unpacked(&store) {
            return Ok(kernel);
        }
        for (tool, package) in [("apt-get", "apt"), ("dpkg-deb", "dpkg"), ("busybox", "busybox-static")] {
            if find_program(tool).is_none() {
                bail!(
                    "fetching a kernel needs {tool}; install it: `apt-get install {package}` on a Debian machine"
                );
            }
        }
        fs::create_dir_all(&store).with_context(|| format!("create {}", store.display()))?;
        let depends =
            capture(Command::new("apt-cache").args(["depends", META_PACKAGE])).with_context(|| {
                format!("ask apt for {META_PACKAGE}; `apt-get update` brings its package lists")
            })?;
        let package = image_package(&depends).with_context(|| {
            format!("{META_PACKAGE} should depend on a kernel image; apt-cache says {depends:?}")
        })?;
        eprintln!("kernels: downloading {package}");
        let mut download = Command::new("apt-get");
        download.args(["download", "-q", "-o", "APT::Sandbox::User=root", package]).current_dir(&store);
        process::run(&mut download).with_context(|| format!("download {package}"))?;
        let archive = fs::read_dir(&store)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get left no package in {}", store.display()))?;
        let unpacked = store.join(package);
        let draft = store.join(format!("{package}.draft"));
        drop(fs::remove_dir_all(&draft));
        process::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&draft))?;
        // The package makes this index when it is installed, which it never is here.
        let release = package.trim_start_matches("linux-image-");
        process::run(Command::new("busybox").args(["depmod", "-b"]).arg(&draft).arg(release))?;
        fs::rename(&draft, &unpacked).with_context(|| format!("rename {}", draft.display()))?;
        fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
        Self::unpacked(&store).with_context(|| format!("{} holds no kernel", unpacked.display()))
    }

    fn unpacked(store: &Path) -> Option<Self> {
        let mut directories: Vec<PathBuf> =
            fs::read_dir(store).ok()?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        directories.sort();
        directories.iter().find_map(|directory| {
            let release = directory.file_name()?.to_str()?.strip_prefix("linux-image-")?.to_owned();
            let image = directory.join(format!("boot/vmlinuz-{release}"));
            let modules = directory.join(format!("lib/modules/{release}"));
            (image.is_file() && modules.join("modules.dep").is_file()).then_some(Self {
                release,
                image,
                modules,
            })
        })
    }
}

/// The kernel image among the dependencies of the meta package, from the output of `apt-cache depends`.
fn image_package(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_found_among_the_dependencies() {
        let depends = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n    linux-image-rt\n";
        assert_eq!(image_package(depends), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(image_package("linux-image-amd64\n  Suggests: firmware\n"), None);
    }

    #[test]
    fn a_half_unpacked_kernel_is_not_taken() {
        let store = tempfile::tempdir().unwrap();
        let kernel = store.path().join("linux-image-6.1.0-1-amd64");
        fs::create_dir_all(kernel.join("lib/modules/6.1.0-1-amd64")).unwrap();
        assert!(Kernel::unpacked(store.path()).is_none());
        fs::create_dir_all(kernel.join("boot")).unwrap();
        fs::write(kernel.join("boot/vmlinuz-6.1.0-1-amd64"), "").unwrap();
        fs::write(kernel.join("lib/modules/6.1.0-1-amd64/modules.dep"), "").unwrap();
        assert_eq!(Kernel::unpacked(store.path()).unwrap().release, "6.1.0-1-amd64");
    }
}
