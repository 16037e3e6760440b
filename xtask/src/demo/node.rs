//! `demo --node`: two real pods of a container runtime under the agent of a node, without a sidecar in either, and every claim
//! about them checked.
//!
//! The runtime is podman with runc; it calls the CNI plugins of containernetworking, and behind them the one that the agent has
//! put there. The API server is the tests' own, of which the agent knows no more than its address.

mod claims;
mod scene;

use anyhow::{Result, bail};

use self::claims::{captured, left_alone, plugin_installed, policy_enforced, replaced, request, uninstalled};
use self::scene::Scene;
use super::story::{Story, observed};
use super::tap::Tap;
use crate::lab::Lab;
use crate::process::find_program;

/// Without these there is nothing to show.
pub(super) const NEEDED: [&str; 7] = ["ip", "nsenter", "podman", "runc", "nginx", "busybox", "tcpdump"];
/// Of containernetworking's plugins, the one that is looked for.
const BRIDGE: &str = "/usr/lib/cni/bridge";

/// Fails unless the plugins of containernetworking are there.
pub(super) fn require_plugins() -> Result<()> {
    if !std::path::Path::new(BRIDGE).exists() {
        bail!("the demo needs {BRIDGE}, which could not be installed; `cargo xtask setup` says why");
    }
    Ok(())
}

/// Tells it all.
pub(super) fn tell(story: &mut Story, lab: &Lab) -> Result<()> {
    story.step("A node: an API server, a container runtime with CNI plugins, and the agent");
    story.tell("$ sidestep node --config node.yaml");
    let scene = Scene::set();
    let agent = scene.agent();
    story.claim("the agent is ready", Ok(String::new()));
    story.claim("its plugin stands behind the network's others", plugin_installed(&scene));

    lab.patience().check()?;
    story.step("Two pods start, web with wget and db with nginx; each is captured before its first packet");
    let (web, db) = scene.pods(&agent);
    for pod in [&web, &db] {
        story.tell(&format!("{}: {}, cgroup {}", pod.name, pod.address, pod.pod.cgroup.path().display()));
        story.claim(&format!("{} is enrolled, and its object says so", pod.name), captured(&scene, pod));
    }
    if find_program("iptables").is_some() {
        for pod in [&web, &db] {
            story.claim(&format!("no netfilter rule is in the network of {}", pod.name), scene.no_rules(pod));
        }
    }

    lab.patience().check()?;
    story.step("A request from web to db: a tunnel, two identities, one trace");
    let tap = Tap::on(lab, std::process::Command::new("tcpdump"), scene.runtime.bridge(), "node")?;
    request(story, &scene, &agent, &web, &db);
    super::tunnel::all_encrypted(story, tap.end(), &[claims::SHOWN, scene::GREETING]);

    lab.patience().check()?;
    story.step("An AuthorizationPolicy of the cluster: web may GET /open of db");
    policy_enforced(story, &scene, &agent, &web, &db);

    lab.patience().check()?;
    story.step("The agent is replaced while web asks db again and again");
    let agent = replaced(story, &scene, agent, &web, &db)?;

    lab.patience().check()?;
    story.step("The DaemonSet is deleted, and the agent ends");
    let ended = observed(|| scene.end(&agent));
    story.claim("the agent ends well", ended);
    story.claim("its plugin is gone from the network and from the plugins", uninstalled(&scene));
    story.claim("both pods run on and reach each other, captured no more", left_alone(&scene, &web, &db));
    drop(agent);
    for pod in [&web, &db] {
        scene.runtime.end(&pod.name);
    }
    Ok(())
}
