//! Pods as those know them who talk to them, and the directory that they make together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tracing::warn;

use super::Settings;
use super::loose::Loose;
use super::pods::read_pod;
use crate::model::{
    Directory, DirectoryBuilder, Identity, Network, Phase, Pod, PodKey, Reach, Service, Workload,
};

/// A pod of any node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// What is known of it as a pod.
    pub(super) pod: Arc<Pod>,
    /// Where it runs.
    node: Option<String>,
    /// When it was made, in seconds of Unix time.
    created: i64,
}

impl Neighbour {
    /// What is kept of a pod.
    pub(super) fn read(object: &Loose) -> Result<Self, String> {
        let node = object.rest.pointer("/spec/nodeName").and_then(|name| name.as_str());
        let created = object.metadata.creation_timestamp.as_ref();
        Ok(Self {
            pod: Arc::new(read_pod(object)?),
            node: node.filter(|name| !name.is_empty()).map(str::to_owned),
            created: created.map_or(0, |time| time.0.as_second()),
        })
    }

    /// Whether its addresses are its own, and somebody may still be there.
    pub(super) fn has_addresses(&self) -> bool {
        self.pod.network == Network::Own && self.pod.phase != Phase::Ended && !self.pod.addresses.is_empty()
    }

    /// Of two with one address the one that runs is believed, and of two of these the newer.
    fn standing(&self) -> (bool, i64, &PodKey) {
        (self.pod.phase == Phase::Running, self.created, &self.pod.key)
    }

    /// Whether it can be reached through the tunnel: its agent or its sidecar has said so.
    fn reach(&self) -> Reach {
        let says = |name: &str, words: &[&str]| {
            self.pod.annotations.get(name).is_some_and(|found| words.contains(&found.as_str()))
        };
        let ours = says("sidestep.io/status", &["enrolled", "injected"]);
        if ours || says("ambient.istio.io/redirection", &["enabled"]) { Reach::Tunnel } else { Reach::Plain }
    }
}

/// Makes directories, and tells once what contradicts itself.
#[derive(Debug, Default)]
pub(super) struct Clerk {
    /// Contested addresses, and who was not believed.
    contested: Contested,
    /// What else could not be entered, by whose it is.
    strange: BTreeSet<String>,
}

impl Clerk {
    /// The directory of these pods and services.
    pub(super) fn directory<'a>(
        &mut self,
        settings: &Settings,
        neighbours: impl Iterator<Item = &'a Arc<Neighbour>>,
        services: impl Iterator<Item = &'a Service>,
    ) -> Directory {
        let (holders, contested) = holders(neighbours);
        self.tell_contested(&holders, contested);
        let mut strange = BTreeSet::new();
        let mut builder = DirectoryBuilder::default();
        let mut addresses: BTreeMap<&PodKey, (&Arc<Neighbour>, Vec<IpAddr>)> = BTreeMap::new();
        for (&address, neighbour) in &holders {
            addresses.entry(&neighbour.pod.key).or_insert((neighbour, Vec::new())).1.push(address);
        }
        for (key, (neighbour, mut addresses)) in addresses {
            // In the order that the pod itself has them: the first is its main one.
            let own = &neighbour.pod.addresses;
            addresses.sort_by_key(|address| own.iter().position(|known| known == address));
            let added = workload(settings, neighbour, addresses)
                .and_then(|workload| builder.workload(workload).map_err(|error| error.to_string()));
            if let Err(why) = added {
                strange.insert(format!("pod {key}: {why}"));
            }
        }
        for service in services {
            if let Err(why) = builder.service(service.clone()) {
                strange.insert(format!("service {}: {why}", service.hostname));
            }
        }
        for why in strange.difference(&self.strange) {
            warn!(%why, "a destination cannot be entered into the directory; it is as if it were not there");
        }
        self.strange = strange;
        builder.build()
    }

    fn tell_contested(&mut self, holders: &Holders<'_>, contested: Contested) {
        for (address, losers) in &contested {
            if self.contested.get(address) != Some(losers)
                && let Some(holder) = holders.get(address)
            {
                let losers: Vec<String> = losers.iter().map(PodKey::to_string).collect();
                let (believed, others) = (holder.pod.key.to_string(), losers.join(", "));
                warn!(%address, believed, others, "several pods have one address; the newest one that runs is believed");
            }
        }
        self.contested = contested;
    }
}

/// Who has which address.
type Holders<'a> = HashMap<IpAddr, &'a Arc<Neighbour>>;
/// Who said so too, and was not believed.
type Contested = BTreeMap<IpAddr, BTreeSet<PodKey>>;

/// Who has which address, and who else says so.
fn holders<'a>(neighbours: impl Iterator<Item = &'a Arc<Neighbour>>) -> (Holders<'a>, Contested) {
    let mut holders = Holders::new();
    let mut contested = Contested::new();
    for neighbour in neighbours.filter(|neighbour| neighbour.has_addresses()) {
        for &address in &neighbour.pod.addresses {
            let Some(holder) = holders.get_mut(&address) else {
                holders.insert(address, neighbour);
                continue;
            };
            // Known from several sides, one of which may be behind.
            let other = holder.pod.key != neighbour.pod.key;
            let (winner, loser) = if holder.standing() < neighbour.standing() {
                (neighbour, *holder)
            } else {
                (*holder, neighbour)
            };
            *holder = winner;
            if other {
                contested.entry(address).or_default().insert(loser.pod.key.clone());
            }
        }
    }
    (holders, contested)
}

fn workload(settings: &Settings, neighbour: &Neighbour, addresses: Vec<IpAddr>) -> Result<Workload, String> {
    let pod = &neighbour.pod;
    let identity = Identity::new(&settings.trust_domain, &pod.key.namespace, &pod.service_account);
    Ok(Workload {
        name: pod.key.name.clone(),
        identity: identity.map_err(|error| error.to_string())?,
        addresses,
        reach: neighbour.reach(),
        node: neighbour.node.clone(),
    })
}
