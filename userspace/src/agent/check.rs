//! `sidestep check`: what this kernel and these privileges allow, feature by feature; and the same questions, asked
//! before anything is attached, by every command that captures.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::cli::Form;
use crate::config::CaptureMode;
use crate::datapath;
use crate::sys::kernel::{self, Capability, Version};
use crate::sys::{bpffs, cgroup};

/// The oldest kernel that eBPF capture is tested on.
pub(super) const BASELINE: Version = Version { major: 6, minor: 1 };

/// One thing that capture needs or can use.
#[derive(Debug, Serialize)]
pub(super) struct Feature {
    name: &'static str,
    /// Kernel version that brought it, where a kernel version decides.
    needs_kernel: Option<&'static str>,
    need: Need,
    available: bool,
    found: String,
    /// What to do about it, if it is not available.
    remedy: Option<&'static str>,
}

/// What becomes of capture without a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Need {
    /// There is no eBPF capture without it.
    Required,
    /// Something is less good without it.
    Optional,
}

impl Feature {
    fn required(name: &'static str, available: bool, found: String, remedy: &'static str) -> Self {
        Self {
            name,
            needs_kernel: None,
            need: Need::Required,
            available,
            found,
            remedy: (!available).then_some(remedy),
        }
    }

    fn since(mut self, version: &'static str) -> Self {
        self.needs_kernel = Some(version);
        self
    }

    fn optional(mut self) -> Self {
        self.need = Need::Optional;
        self
    }
}

/// What can be asked without loading anything.
fn environment() -> Vec<Feature> {
    let version = kernel::version();
    let new_enough = version.as_ref().is_ok_and(|version| *version >= BASELINE);
    let mut features = vec![
        Feature::required(
            "kernel",
            new_enough,
            version.map_or_else(|error| format!("{error:#}"), |version| format!("Linux {version}")),
            "run Linux 6.1 or newer, or use `--capture iptables` (capture.mode: iptables)",
        )
        .since("6.1"),
    ];
    features.extend([Capability::Bpf, Capability::NetAdmin, Capability::SysAdmin].map(capability));
    let mount = cgroup::find_mount();
    features.push(Feature::required(
        "cgroup2",
        mount.is_ok(),
        mount.map_or_else(|_| "not mounted".to_owned(), |at| format!("mounted at {}", at.display())),
        "mount it with `mount -t cgroup2 none /sys/fs/cgroup`, or mount the host's into the container",
    ));
    features.push(Feature::required(
        "kernel BTF",
        kernel::has_btf(),
        if kernel::has_btf() { "/sys/kernel/btf/vmlinux" } else { "no /sys/kernel/btf/vmlinux" }.to_owned(),
        "run a kernel built with CONFIG_DEBUG_INFO_BTF, as those of all large distributions are",
    ));
    features
}

/// A capability of this process.
fn capability(capability: Capability) -> Feature {
    let has = |capability| kernel::has(capability).unwrap_or(false);
    let (name, held, remedy) = match capability {
        Capability::Bpf => (
            "CAP_BPF",
            // The kernel takes the older and wider one for it (bpf_capable() in include/linux/capability.h).
            has(Capability::Bpf) || has(Capability::SysAdmin),
            "run as root, or add the capability BPF (or SYS_ADMIN) to the container",
        ),
        Capability::NetAdmin => (
            "CAP_NET_ADMIN",
            has(capability),
            "run as root, or add the capability NET_ADMIN to the container",
        ),
        Capability::SysAdmin => (
            "CAP_SYS_ADMIN",
            has(capability),
            "run as root, or add the capability SYS_ADMIN to the container",
        ),
    };
    let found = if held { "in effect" } else { "not in effect" };
    Feature::required(name, held, found.to_owned(), remedy)
}

/// What a host has beside the required.
fn extras() -> Vec<Feature> {
    let bpffs = bpffs::is_mounted(Path::new(bpffs::MOUNT_POINT));
    let mounted = bpffs.is_ok_and(|mounted| mounted);
    let iptables = Command::new("iptables-restore").arg("--version").output();
    vec![
        Feature::required(
            "BPF file system",
            mounted,
            if mounted {
                "mounted at /sys/fs/bpf"
            } else {
                "not mounted at /sys/fs/bpf; mounted when needed"
            }
            .to_owned(),
            "mount it with `mount -t bpf bpf /sys/fs/bpf`, so that capture outlives a crash of the instance",
        )
        .optional(),
        Feature::required(
            "IPv6",
            kernel::has_ipv6(),
            if kernel::has_ipv6() { "enabled in this namespace" } else { "not in this namespace" }.to_owned(),
            "nothing to do where no pod uses IPv6",
        )
        .optional(),
        Feature::required(
            "MPTCP",
            kernel::has_mptcp(),
            if kernel::has_mptcp() { "enabled in this namespace" } else { "not enabled here" }.to_owned(),
            "nothing to do: MPTCP sockets fall back to TCP",
        )
        .since("5.19")
        .optional(),
        Feature::required(
            "iptables",
            iptables.is_ok(),
            iptables.map_or_else(
                |_| "no iptables-restore in PATH".to_owned(),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            ),
            "install iptables; only `--capture iptables` needs it",
        )
        .optional(),
    ]
}

/// The hooks, by loading their programs into the kernel and letting them go again.
fn hooks() -> Vec<Feature> {
    const HOOKS: [(&str, &str); 11] = [
        ("sidestep_handoff", "5.15"),
        ("sidestep_getpeername4", "5.8"),
        ("sidestep_getpeername6", "5.8"),
        ("sidestep_getsockopt", "5.3"),
        ("sidestep_sock_create", "5.7"),
        ("sidestep_sendmsg4", "5.19"),
        ("sidestep_sendmsg6", "5.19"),
        ("sidestep_connect4", "5.19"),
        ("sidestep_connect6", "5.19"),
        ("sidestep_inbound", "5.9"),
        ("sidestep_node_handoff", "5.15"),
    ];
    let insights = datapath::probe();
    HOOKS
        .iter()
        .map(|(name, version)| {
            let verdict = match &insights {
                Ok(insights) => insights.iter().find(|insight| insight.name == *name).map_or_else(
                    || Err("not in the object".to_owned()),
                    |insight| insight.verified_instructions.clone(),
                ),
                Err(error) => Err(format!("{error:#}")),
            };
            let available = verdict.is_ok();
            let found = match verdict {
                Ok(count) => format!("accepted, {count} instructions verified"),
                Err(refusal) => format!("refused: {}", refusal.lines().next().unwrap_or_default()),
            };
            Feature::required(
                name,
                available,
                found,
                "run a newer kernel, or use `--capture iptables`, and report this kernel with the line above",
            )
            .since(version)
        })
        .collect()
}

/// Says which requirement of a capture is missing, in one sentence with its remedy, before anything is touched.
///
/// # Errors
/// If one is.
pub(super) fn preflight(mode: CaptureMode) -> Result<()> {
    let (what, needed) = match mode {
        CaptureMode::Ebpf => ("eBPF", environment()),
        CaptureMode::Iptables => ("iptables", vec![capability(Capability::NetAdmin)]),
        CaptureMode::None => return Ok(()),
    };
    let missing = needed.into_iter().find(|feature| !feature.available);
    if let Some(Feature { name, needs_kernel, found, remedy, .. }) = missing {
        let version = needs_kernel.map(|version| format!(" {version} or newer")).unwrap_or_default();
        bail!("{what} capture needs {name}{version}, found: {found}; {}", remedy.unwrap_or_default());
    }
    Ok(())
}

/// Prints every feature; `true` if eBPF capture is possible.
///
/// # Errors
/// If the report cannot be written as JSON.
pub(super) fn report(form: Form) -> Result<bool> {
    let mut features = environment();
    if features.iter().all(|feature| feature.available) {
        features.extend(hooks());
    }
    features.extend(extras());
    let capable = features.iter().all(|feature| feature.available || feature.need == Need::Optional);
    match form {
        Form::Json => {
            let report = serde_json::json!({ "ebpf_capture": capable, "features": features });
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        Form::Table => print_text(&features, capable),
    }
    Ok(capable)
}

fn print_text(features: &[Feature], capable: bool) {
    for feature in features {
        let mark = match (feature.available, feature.need) {
            (true, _) => "yes",
            (false, Need::Required) => "NO",
            (false, Need::Optional) => "no",
        };
        let since = feature.needs_kernel.map(|version| format!(" (Linux {version}+)")).unwrap_or_default();
        println!("{mark:<4}{:<22} {}{since}", feature.name, feature.found);
        if let Some(remedy) = feature.remedy {
            println!("      → {remedy}");
        }
    }
    println!();
    println!("eBPF capture: {}", if capable { "possible" } else { "not possible" });
}
