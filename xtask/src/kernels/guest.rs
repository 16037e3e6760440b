//! What a guest is to do: the files it gets, the command it runs, and the first process that sees to both.
//!
//! It is text only; `initramfs` packs it and `machine` boots it.

use std::path::PathBuf;

use super::machine::{END_MARKER, REPORT_MARKER};

/// What the guest's first process does before anything of ours. The shell is the machine's own: busybox's would run its
/// applets in place of the real tools.
const BOOT_LINES: &str = "\
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
ln -sf /proc/self/fd /dev/fd
ulimit -n 20000
ip link set lo up
hostname guest";

/// Where the guest finds the files it was given.
pub(crate) const GUEST_HOME: &str = "/opt/sidestep";

/// What to put into the guest and what to run there.
#[derive(Debug, Default)]
pub(crate) struct Guest {
    /// Copied into [`GUEST_HOME`] under their own names.
    pub(crate) files: Vec<PathBuf>,
    /// Added to the command's environment.
    pub(crate) environment: Vec<(String, String)>,
    /// The command and its arguments, started in [`GUEST_HOME`].
    pub(crate) command: Vec<String>,
    /// A file of the guest whose lines are wanted after the command's end.
    pub(crate) report: Option<String>,
}

impl Guest {
    /// The guest's first process: it loads the modules (paths in the guest), runs the command, reports, powers off.
    pub(super) fn init_script(&self, modules: &[String]) -> String {
        let mut lines = vec![BOOT_LINES.to_owned()];
        lines.extend(
            modules.iter().map(|module| format!("insmod {module} || echo 'vm: cannot load {module}'")),
        );
        lines.extend(self.environment.iter().map(|(name, value)| format!("export {name}={}", quoted(value))));
        let command: Vec<String> = self.command.iter().map(|word| quoted(word)).collect();
        lines.push(format!("cd {GUEST_HOME}\n{}\nstatus=$?\necho", command.join(" ")));
        if let Some(report) = &self.report {
            lines.push(format!("[ -f {report} ] && sed 's/^/{REPORT_MARKER}/' {report}"));
        }
        lines.push(format!("echo \"{END_MARKER}$status\"\npoweroff -f\n"));
        lines.join("\n")
    }
}

/// A word as the guest's shell reads it back unchanged.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_runs_the_command_word_by_word() {
        let guest = Guest {
            command: vec!["./all".to_owned(), "it's one word".to_owned()],
            environment: vec![("SIDESTEP_BIN".to_owned(), "/opt/sidestep/sidestep".to_owned())],
            report: Some("/tmp/skips".to_owned()),
            ..Guest::default()
        };
        let script = guest.init_script(&["/lib/modules/veth.ko".to_owned()]);
        assert!(script.contains("\n'./all' 'it'\\''s one word'\nstatus=$?\n"), "{script}");
        assert!(script.contains("export SIDESTEP_BIN='/opt/sidestep/sidestep'"));
        assert!(script.contains("insmod /lib/modules/veth.ko"));
        assert!(script.ends_with("poweroff -f\n"));
    }
}
