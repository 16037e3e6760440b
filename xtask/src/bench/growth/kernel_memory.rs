//! What a sidecar keeps in the kernel: its maps and programs, as its own descriptors tell.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use nix::unistd::Pid;

/// The bytes that the kernel accounts to a process's BPF maps and programs, each counted once (`memlock` in
/// proc_pid_fdinfo(5); the whole of a map since Linux 6.4, an estimate before).
pub(crate) fn of_bpf(process: Pid) -> Result<u64> {
    let directory = format!("/proc/{process}/fdinfo");
    let descriptors = fs::read_dir(&directory).with_context(|| format!("read {directory}"))?;
    let mut objects = BTreeMap::new();
    for descriptor in descriptors.flatten() {
        // A descriptor may be closed while we look.
        let text = fs::read_to_string(descriptor.path()).unwrap_or_default();
        objects.extend(object(&text));
    }
    Ok(objects.values().sum())
}

/// What a map's or program's descriptor says: which one it is, and its bytes.
fn object(text: &str) -> Option<(String, u64)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let bytes = field("memlock:")?.parse().ok()?;
    let map = field("map_id:").map(|id| format!("map {id}"));
    Some((map.or_else(|| field("prog_id:").map(|id| format!("program {id}")))?, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_and_programs_are_told_from_links_and_sockets() {
        let map = "pos:\t0\nmap_type:\t1\nmemlock:\t131968\nmap_id:\t10096\nfrozen:\t0\n";
        assert_eq!(object(map), Some(("map 10096".to_owned(), 131_968)));
        let program = "prog_type:\t13\nprog_jited:\t1\nmemlock:\t4096\nprog_id:\t12737\n";
        assert_eq!(object(program), Some(("program 12737".to_owned(), 4_096)));
        assert_eq!(object("link_type:\tcgroup\nlink_id:\t4857\nprog_id:\t12737\n"), None);
    }
}
