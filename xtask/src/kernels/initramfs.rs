//! The root file system of the virtual machine: busybox, modules, a few real tools with their libraries, our files.
//!
//! It is staged as a directory and packed by cpio; nothing of it is kept between runs. No package is installed into it:
//! a tool is copied from this machine with the libraries that ldd names.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::guest::{GUEST_HOME, Guest};
use super::modules::{Modules, WANTED};
use super::package::Kernel;
use crate::process::find_program;

/// Real tools that the kernel ring calls. Busybox stands in for every other program.
const TOOLS: [&str; 14] = [
    "bpftool",
    "ip",
    "ip6tables",
    "ip6tables-restore",
    "ip6tables-save",
    "iptables",
    "iptables-legacy-restore",
    "iptables-legacy-save",
    "iptables-restore",
    "iptables-save",
    "nft",
    "ss",
    "sysctl",
    "tc",
];

/// Where iptables keeps its matches and targets, which it opens at run time, so ldd does not see them.
const XTABLES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu/xtables", "/usr/lib64/xtables"];

/// Stages and packs the root file system into `archive`, using `stage` for the directory.
pub(super) fn pack(kernel: &Kernel, guest: &Guest, stage: &Path, archive: &Path) -> Result<()> {
    if stage.exists() {
        fs::remove_dir_all(stage).with_context(|| format!("empty {}", stage.display()))?;
    }
    for directory in ["bin", "dev", "proc", "sys", "run", "tmp", "etc", "root", "opt/sidestep"] {
        create(&stage.join(directory))?;
    }
    let stage = Stage { root: stage };
    stage.busybox()?;
    let modules = stage.modules(kernel)?;
    stage.tools()?;
    for file in &guest.files {
        let name = file.file_name().with_context(|| format!("{} has no name", file.display()))?;
        stage.copy(file, &Path::new(GUEST_HOME).join(name))?;
    }
    stage.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")?;
    stage.write("etc/group", "root:x:0:\nnogroup:x:65534:\n")?;
    stage.write("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")?;
    stage.write("init", &guest.init_script(&modules))?;
    fs::set_permissions(stage.root.join("init"), fs::Permissions::from_mode(0o755))?;
    stage.pack_into(archive)
}

struct Stage<'a> {
    root: &'a Path,
}

impl Stage<'_> {
    fn busybox(&self) -> Result<()> {
        let busybox = find_program("busybox")
            .context("busybox is missing; install it: `apt-get install busybox-static`")?;
        if !libraries(&busybox)?.is_empty() {
            bail!(
                "{} needs libraries; install the static one: `apt-get install busybox-static`",
                busybox.display()
            );
        }
        self.copy(&busybox, Path::new("/bin/busybox"))
    }

    /// Copies the modules and returns their paths in the guest, in the order in which they load.
    fn modules(&self, kernel: &Kernel) -> Result<Vec<String>> {
        let selection = Modules::read(&kernel.modules)?.select(&WANTED);
        if !selection.unknown.is_empty() {
            eprintln!("vm: Linux {} has no module {}", kernel.release, selection.unknown.join(", "));
        }
        let mut loaded = Vec::new();
        for file in selection.files {
            let inside = format!("/lib/modules/{}/{file}", kernel.release);
            self.copy(&kernel.modules.join(&file), Path::new(&inside))?;
            loaded.push(inside);
        }
        Ok(loaded)
    }

    fn tools(&self) -> Result<()> {
        let shell = find_program("sh").context("this machine has no sh to put into the guest")?;
        self.copy(&shell, Path::new("/bin/sh"))?;
        self.libraries_of(&shell)?;
        let mut missing = Vec::new();
        for tool in TOOLS {
            let Some(program) = find_program(tool) else {
                missing.push(tool);
                continue;
            };
            self.copy(&program, &Path::new("/usr/sbin").join(tool))?;
            self.libraries_of(&program)?;
        }
        if !missing.is_empty() {
            eprintln!("vm: this machine has no {} to put into the guest", missing.join(", "));
        }
        let xtables = XTABLES.iter().map(Path::new).filter(|directory| directory.is_dir());
        for directory in xtables {
            for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
                let extension = entry?.path();
                self.copy(&extension, &extension)?;
                self.libraries_of(&extension)?;
            }
        }
        Ok(())
    }

    fn libraries_of(&self, program: &Path) -> Result<()> {
        libraries(program)?.iter().try_for_each(|library| self.copy(library, library))
    }

    /// Copies a file of this machine, following links, to a path of the guest.
    fn copy(&self, file: &Path, inside: &Path) -> Result<()> {
        let destination = self.root.join(inside.strip_prefix("/").unwrap_or(inside));
        if destination.exists() {
            return Ok(());
        }
        if let Some(directory) = destination.parent() {
            create(directory)?;
        }
        fs::copy(file, &destination)
            .map(drop)
            .with_context(|| format!("copy {} to {}", file.display(), destination.display()))
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.root.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))
    }

    fn pack_into(&self, archive: &Path) -> Result<()> {
        if find_program("cpio").is_none() {
            bail!("cpio is missing; install it: `apt-get install cpio`");
        }
        let output = File::create(archive).with_context(|| format!("create {}", archive.display()))?;
        let mut find = Command::new("find")
            .args([".", "-print0"])
            .current_dir(self.root)
            .stdout(Stdio::piped())
            .spawn()
            .context("start find")?;
        let names = find.stdout.take().context("take find's stdout")?;
        let packed = Command::new("cpio")
            .args(["--quiet", "--null", "--create", "--format=newc", "--owner=0:0"])
            .current_dir(self.root)
            .stdin(names)
            .stdout(output)
            .status()
            .context("start cpio")?;
        let listed = find.wait().context("wait for find")?;
        if !packed.success() || !listed.success() {
            bail!("packing {} ended with find: {listed}, cpio: {packed}", self.root.display());
        }
        Ok(())
    }
}

fn create(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))
}

/// The libraries that a program asks for, empty for a static one.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("start ldd")?;
    // It exits with 1 for a static program and says so; that is an answer, not a failure.
    parse_libraries(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("find the libraries of {}", program.display()))
}

fn parse_libraries(ldd: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in ldd.lines() {
        if let Some((name, "not found")) = line.trim().split_once(" => ") {
            bail!("this machine lacks {name}");
        }
        let path = line.split_whitespace().find(|word| word.starts_with('/') && !word.ends_with(':'));
        libraries.extend(path.map(PathBuf::from));
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffe)\n\
                   \tlibmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected =
            ["/lib/x86_64-linux-gnu/libmnl.so.0", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse_libraries(ldd).unwrap(), expected);
        assert!(parse_libraries("\tstatically linked\n").unwrap().is_empty());
    }

    #[test]
    fn a_library_that_this_machine_lacks_is_named() {
        let error = parse_libraries("\tlibgone.so.1 => not found\n").unwrap_err();
        assert_eq!(error.to_string(), "this machine lacks libgone.so.1");
    }
}
