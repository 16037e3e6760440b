//! What a runtime tells a plugin on standard input: the network's configuration with our settings, and what the plugins before
//! ours have done.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::SOCKET;
use super::attachment::AttachmentId;
use super::fault::{Code, Fault};

/// Versions of the specification whose results can be handed on. Before 0.3.0 there were no chains.
pub(super) const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// The newest of them.
pub(super) const NEWEST: &str = VERSIONS[VERSIONS.len() - 1];

/// What becomes of a pod when the agent cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It does not start, and the runtime tries again.
    #[default]
    Closed,
    /// It starts, and is captured once the agent is there: until then its connections go uncaptured.
    Open,
}

/// A network as a plugin of its chain is told it.
#[derive(Debug, Deserialize)]
pub(super) struct Network {
    #[serde(rename = "cniVersion", default = "first_version")]
    pub(super) version: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(rename = "prevResult")]
    pub(super) previous: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    pub(super) valid: Option<BTreeSet<AttachmentId>>,
    #[serde(flatten)]
    pub(super) settings: Settings,
}

/// What the entry of ours in the chain says. Made by [`super::install`], or by hand.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Settings {
    #[serde(default = "default_socket")]
    pub(super) agent_socket: PathBuf,
    #[serde(default)]
    pub(super) on_failure: OnFailure,
    /// How long the agent may take.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub(super) timeout: Duration,
    /// The namespace of pods, for a runtime that has pods and no namespaces (podman).
    pub(super) pod_namespace: Option<String>,
}

impl Network {
    /// # Errors
    /// What was given is not a configuration, or is of a version that is not known.
    pub(super) fn read(text: &[u8]) -> Result<Self, Fault> {
        let network: Self = serde_json::from_slice(text).map_err(|error| {
            Fault::new(Code::Decoding, format!("expected a network configuration on standard input: {error}"))
        })?;
        if !VERSIONS.contains(&network.version.as_str()) {
            let message =
                format!("expected one of {} as cniVersion, found {:?}", VERSIONS.join(", "), network.version);
            return Err(Fault::new(Code::IncompatibleVersion, message));
        }
        Ok(network)
    }

    /// Refuses what a version of the specification does not know yet.
    pub(super) fn at_least(&self, version: &str, verb: &str) -> Result<(), Fault> {
        let place = |version: &str| VERSIONS.iter().position(|known| *known == version);
        if place(&self.version) < place(version) {
            let message =
                format!("{verb} needs cniVersion {version} or later, this network has {}", self.version);
            return Err(Fault::new(Code::IncompatibleVersion, message));
        }
        Ok(())
    }

    /// What the plugins before ours have done.
    pub(super) fn previous(&self) -> Result<&Value, Fault> {
        self.previous.as_ref().ok_or_else(|| {
            Fault::new(
                Code::InvalidConfiguration,
                "expected prevResult, found none: this plugin makes no network of its own, put it behind one that does",
            )
        })
    }

    /// The addresses that a pod was given.
    pub(super) fn addresses(&self) -> Result<Vec<IpAddr>, Fault> {
        let given = self.previous()?["ips"].as_array().map_or(&[][..], Vec::as_slice);
        let address = |entry: &Value| {
            let text = entry["address"].as_str()?;
            text.split('/').next()?.parse().ok()
        };
        given
            .iter()
            .map(|entry| {
                let wrong = || format!("expected an address in prevResult.ips, found {entry}");
                address(entry).ok_or_else(|| Fault::new(Code::InvalidConfiguration, wrong()))
            })
            .collect()
    }
}

/// The version of a configuration that names none (specification 0.2.0, "Network Configuration").
fn first_version() -> String {
    "0.1.0".to_owned()
}

fn default_socket() -> PathBuf {
    PathBuf::from(SOCKET)
}

/// Long for an agent that answers in milliseconds, short beside the four minutes of a kubelet.
fn default_timeout() -> Duration {
    super::install::TIMEOUT
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        serde::de::Error::custom(format!(
            "expected a duration such as 10s as timeout, found {text:?}: {error}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<Network, Fault> {
        Network::read(value.to_string().as_bytes())
    }

    #[test]
    fn a_network_is_read_with_what_went_before() {
        let network = read(&json!({
            "cniVersion": "1.0.0", "name": "pods", "type": "sidestep-cni", "timeout": "2s", "on-failure": "open",
            "agent-socket": "/run/a.sock", "unknown": [1],
            "prevResult": { "ips": [{ "address": "10.1.2.3/24", "interface": 2 }, { "address": "fd00::3/64" }] },
        }));
        let network = network.expect("valid");
        let addresses: [IpAddr; 2] = [[10, 1, 2, 3].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 3].into()];
        assert_eq!(network.addresses().expect("two"), addresses);
        assert_eq!(network.settings.on_failure, OnFailure::Open);
        assert_eq!(network.settings.timeout, Duration::from_secs(2));
        network.at_least("0.4.0", "CHECK").expect("new enough");
        assert_eq!(network.at_least("1.1.0", "GC").expect_err("too old").code, Code::IncompatibleVersion);
    }

    #[test]
    fn what_is_not_a_network_is_refused_with_its_code() {
        for (value, code) in [
            (json!({ "name": "pods" }), Code::IncompatibleVersion),
            (json!({ "cniVersion": "0.2.0" }), Code::IncompatibleVersion),
            (json!({ "cniVersion": "2.0.0" }), Code::IncompatibleVersion),
            (json!([]), Code::Decoding),
            (json!({ "cniVersion": "1.0.0", "timeout": "soon" }), Code::Decoding),
            (json!({ "cniVersion": "1.0.0", "on-failure": "maybe" }), Code::Decoding),
        ] {
            assert_eq!(read(&value).expect_err("refused").code, code, "{value}");
        }
        let alone = read(&json!({ "cniVersion": "1.0.0" })).expect("valid");
        assert_eq!(alone.previous().expect_err("not chained").code, Code::InvalidConfiguration);
        let strange = read(&json!({ "cniVersion": "1.0.0", "prevResult": { "ips": [{ "address": "?" }] } }));
        assert_eq!(
            strange.expect("valid").addresses().expect_err("no address").code,
            Code::InvalidConfiguration
        );
    }
}
