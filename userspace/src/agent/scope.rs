//! Whom to serve, and where it lives: the cgroups of one command, the pod around this process, or a pod of this node.
//!
//! A `run` command gets cgroups of its own:
//!
//! ```text
//! <our cgroup>/sidestep-run-<pid>/           handoffs travel here
//! <our cgroup>/sidestep-run-<pid>/workload/  the command: captured
//! <our cgroup>/sidestep-run-<pid>/instance/  this process: not captured
//! ```

use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::config::{Config, WorkloadName};
use crate::datapath::NodeStage;
use crate::model::PodKey;
use crate::proxy::Finder;
use crate::sys::cgroup::Cgroup;
use crate::sys::namespace::NetworkNamespace;

/// What the cgroups of `run` are called, before the pid of their agent.
pub(super) const CGROUP_PREFIX: &str = "sidestep-run-";

/// Whom to serve.
pub(super) enum Scope<'a> {
    /// One command.
    Run(&'a RunCgroups),
    /// The pod that this process lives in.
    Pod(Pod),
    /// A pod of the node that this process serves.
    Enrolled(Enrolled),
    /// Wherever this process is: nothing is captured, and so no cgroup is looked for, which a container may not even see.
    Here,
}

impl Scope<'_> {
    /// What tells the workload from others of the same name.
    pub(super) fn name(&self, workload: &str) -> Result<String> {
        match self {
            Self::Run(cgroups) => Ok(cgroups.pins_name()),
            Self::Pod(pod) => pod.pins_name(workload),
            Self::Enrolled(pod) => pod.pins_name(),
            Self::Here => Ok(workload.to_owned()),
        }
    }

    /// What the workload is called.
    pub(super) fn workload(&self, config: &Config) -> Result<String> {
        match self {
            Self::Enrolled(pod) => Ok(pod.key.to_string()),
            Self::Run(_) | Self::Pod(_) | Self::Here => workload_name(config),
        }
    }

    /// Who knows more of the mesh than its configuration says.
    pub(super) fn finder(&self) -> Option<Arc<dyn Finder>> {
        match self {
            Self::Enrolled(pod) => Some(Arc::clone(&pod.finder)),
            Self::Run(_) | Self::Pod(_) | Self::Here => None,
        }
    }

    /// The network namespace that the workload has.
    pub(super) fn network(&self) -> NetworkNamespace {
        match self {
            Self::Enrolled(pod) => pod.network.clone(),
            Self::Run(_) | Self::Pod(_) | Self::Here => NetworkNamespace::own(),
        }
    }

    /// Whether the workload is all that this process serves.
    pub(super) const fn is_alone(&self) -> bool {
        !matches!(self, Self::Enrolled(_))
    }

    /// The workload's addresses, where somebody says them.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        match self {
            Self::Enrolled(pod) => pod.addresses.clone(),
            Self::Run(_) | Self::Pod(_) | Self::Here => Vec::new(),
        }
    }

    /// The cgroup that is captured, if any is.
    pub(super) fn cgroup(&self) -> Option<PathBuf> {
        match self {
            Self::Run(cgroups) => Some(cgroups.workload.path().to_owned()),
            Self::Pod(pod) => Some(pod.workload.path().to_owned()),
            Self::Enrolled(pod) => Some(pod.workload.path().to_owned()),
            Self::Here => None,
        }
    }
}

/// Why nothing can be captured of [`Scope::Here`].
pub(super) const NOTHING_TO_CAPTURE: &str = "expected a workload to capture, found none";

/// A pod, seen from a process in it.
pub(super) struct Pod {
    /// The pod-level cgroup.
    pub(super) workload: Cgroup,
    /// The cgroup of this process.
    pub(super) own: Cgroup,
}

impl Pod {
    /// Finds the pod-level cgroup: the configured one, or the one above our own.
    pub(super) fn find(config: &Config) -> Result<Self> {
        let own = Cgroup::own(config.capture.cgroup_mount.as_deref())?;
        let workload = match &config.capture.cgroup {
            Some(path) => Self::configured(path)?,
            None => own.parent()?,
        };
        Ok(Self { workload, own })
    }

    /// The pod-level cgroup that the configuration names.
    fn configured(path: &Path) -> Result<Cgroup> {
        let workload = Cgroup::at(path).context("capture.cgroup")?;
        if workload.is_root() {
            bail!(
                "capture.cgroup: expected the pod-level cgroup, found the root of the hierarchy at {}: programs are \
                 never attached to the root cgroup; name the directory of the pod",
                path.display()
            );
        }
        Ok(workload)
    }

    /// Makes sure that a proxy lives where handoffs reach it, and can be told from the apps: in a cgroup of its own below
    /// the pod-level one.
    ///
    /// # Errors
    /// If it does not.
    pub(super) fn expect_below(&self, proxy: u32) -> Result<()> {
        if !self.workload.has_below(proxy) {
            bail!(
                "expected process {proxy}, which connections are steered to, in a cgroup of its own below the pod-level \
                 cgroup {}, found it elsewhere: name the directory that holds the cgroups of the pod's containers with \
                 capture.cgroup",
                self.workload.path().display()
            );
        }
        Ok(())
    }

    /// The network namespace of this process.
    pub(super) fn network_namespace(&self) -> Result<File> {
        File::open("/proc/self/ns/net").context("open this process's network namespace")
    }

    /// What the workload's pins are called: two pods may have one name, but not one cgroup.
    pub(super) fn pins_name(&self, workload: &str) -> Result<String> {
        Ok(format!("{workload}-{}", self.workload.id().context("look at the pod-level cgroup")?))
    }
}

/// A pod, seen from a process that serves it from outside.
pub(super) struct Enrolled {
    pub(super) key: PodKey,
    /// The pod-level cgroup.
    pub(super) workload: Cgroup,
    pub(super) network: NetworkNamespace,
    /// Where handoffs between its sockets and ours are staged.
    pub(super) stage: Arc<NodeStage>,
    /// Who knows more of the mesh.
    pub(super) finder: Arc<dyn Finder>,
    /// As Kubernetes says; none where it has not yet.
    pub(super) addresses: Vec<IpAddr>,
}

/// Characters of a pod's name that are in the name of its pins: a file name has 255 at most.
const NAME_IN_PINS: usize = 120;

impl Enrolled {
    /// What the pod's pins are called: no two pods have one cgroup.
    fn pins_name(&self) -> Result<String> {
        let cgroup = self.workload.id().context("look at the pod-level cgroup")?;
        Ok(format!("{}-{cgroup}", pins_of(&self.key)))
    }
}

/// What the names of the pins of all pods of one name begin with, before the number of a cgroup. The BPF file system has no dots in
/// names (bpf_lookup in kernel/bpf/inode.c), and Kubernetes no underscores.
pub(super) fn pins_of(pod: &PodKey) -> String {
    let PodKey { namespace, name } = pod;
    let name: String = name.chars().take(NAME_IN_PINS).collect::<String>().replace('.', "_");
    format!("{namespace}_{name}")
}

/// The workload's name: the configured one, or the host's.
pub(super) fn workload_name(config: &Config) -> Result<String> {
    let name = match &config.workload {
        Some(name) => name.clone(),
        None => WorkloadName::of_host().context("ask for the host's name")?,
    };
    Ok(name.as_str().to_owned())
}

/// The cgroups of one `run`.
pub(super) struct RunCgroups {
    /// Where this process came from and goes back to.
    origin: Cgroup,
    root: Cgroup,
    pub(super) workload: Cgroup,
}

impl RunCgroups {
    /// Makes the cgroups and moves this process into its own.
    pub(super) fn make(config: &Config) -> Result<Self> {
        let origin = Cgroup::own(config.capture.cgroup_mount.as_deref())?;
        let root = origin.child(&format!("{CGROUP_PREFIX}{}", process::id()))?;
        let made = root.child("workload").and_then(|workload| {
            let instance = root.child("instance")?;
            instance.adopt(process::id()).context("move this process into its cgroup")?;
            Ok(workload)
        });
        match made {
            Ok(workload) => Ok(Self { origin, root, workload }),
            Err(error) => {
                let _best_effort = root.destroy();
                Err(error)
            }
        }
    }

    /// The cgroup that holds workload and instance.
    pub(super) const fn root(&self) -> &Cgroup {
        &self.root
    }

    /// What the pins of this run are called.
    pub(super) fn pins_name(&self) -> String {
        format!("run-{}", process::id())
    }

    /// Kills what is left of the workload.
    pub(super) fn empty(&self) -> Result<()> {
        self.workload.destroy()
    }

    /// Goes back where we came from and removes everything.
    pub(super) fn remove(self) -> Result<()> {
        self.origin.adopt(process::id()).context("move this process back to its cgroup")?;
        self.root.destroy()
    }
}
