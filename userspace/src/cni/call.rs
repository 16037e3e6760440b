//! What a runtime tells a plugin by environment variables.

use std::path::PathBuf;

use super::attachment::AttachmentId;
use super::fault::{Code, Fault};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Delete,
    Check,
    Gc,
    Status,
    Version,
}

/// A container, as the environment has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) id: AttachmentId,
    /// None once the namespace is gone, which only a DEL may find.
    pub(super) netns: Option<PathBuf>,
    pub(super) names: Names,
}

/// What an orchestrator calls the container (`CNI_ARGS`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) namespace: Option<String>,
    pub(super) pod: Option<String>,
    pub(super) uid: Option<String>,
}

/// Reads variables by name.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Verb {
    pub(super) fn read(environment: Environment<'_>) -> Result<Self, Fault> {
        let word = environment("CNI_COMMAND").unwrap_or_default();
        Ok(match word.as_str() {
            "ADD" => Self::Add,
            "DEL" => Self::Delete,
            "CHECK" => Self::Check,
            "GC" => Self::Gc,
            "STATUS" => Self::Status,
            "VERSION" => Self::Version,
            other => {
                return Err(invalid(format!(
                    "expected ADD, DEL, CHECK, GC, STATUS or VERSION in CNI_COMMAND, found {other:?}"
                )));
            }
        })
    }
}

impl Container {
    pub(super) fn read(environment: Environment<'_>) -> Result<Self, Fault> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let container_id = variable("CNI_CONTAINERID").unwrap_or_default();
        if !is_name(&container_id) {
            return Err(invalid(format!(
                "expected letters, digits, dots, hyphens and underscores in CNI_CONTAINERID, found {container_id:?}"
            )));
        }
        let interface = variable("CNI_IFNAME").unwrap_or_default();
        if !is_interface(&interface) {
            return Err(invalid(format!(
                "expected the name of an interface in CNI_IFNAME, found {interface:?}"
            )));
        }
        let names = Names::read(&variable("CNI_ARGS").unwrap_or_default());
        let netns = variable("CNI_NETNS").map(PathBuf::from);
        Ok(Self { id: AttachmentId { container_id, interface }, netns, names })
    }

    /// The path of its namespace, which has to be there.
    pub(super) fn netns(&self) -> Result<&PathBuf, Fault> {
        self.netns
            .as_ref()
            .ok_or_else(|| invalid("expected the path of a network namespace in CNI_NETNS, found none"))
    }
}

impl Names {
    /// Pairs of `KEY=VALUE` apart by semicolons. What is not known is not ours to judge: `IgnoreUnknown` is implied.
    fn read(arguments: &str) -> Self {
        let mut names = Self::default();
        for (key, value) in arguments.split(';').filter_map(|pair| pair.split_once('=')) {
            let name = match key {
                "K8S_POD_NAMESPACE" => &mut names.namespace,
                "K8S_POD_NAME" => &mut names.pod,
                "K8S_POD_UID" => &mut names.uid,
                _ => continue,
            };
            if !value.is_empty() {
                *name = Some(value.to_owned());
            }
        }
        names
    }
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(Code::InvalidEnvironment, message)
}

/// "Must start with an alphanumeric character, optionally followed by any combination of one or more alphanumeric characters,
/// underscore, dot or hyphen" (specification 1.0, "Parameters").
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        && text.len() <= 512
}

/// What the kernel takes for a name (`dev_valid_name`, net/core/dev.c).
fn is_interface(text: &str) -> bool {
    (1..16).contains(&text.len())
        && ![".", ".."].contains(&text)
        && !text.contains(|letter: char| letter == '/' || letter == ':' || letter.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Container, Fault> {
        Container::read(&|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_container_is_read_with_its_pod() {
        let container = read(&[
            ("CNI_CONTAINERID", "3b1f"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", "/run/netns/a"),
            ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=7-8;X"),
        ]);
        let container = container.expect("valid");
        assert_eq!(container.names.namespace.as_deref(), Some("shop"));
        assert_eq!(container.names.pod.as_deref(), Some("web-0"));
        assert_eq!(container.names.uid.as_deref(), Some("7-8"));
        assert_eq!(container.netns().expect("there"), &PathBuf::from("/run/netns/a"));
    }

    #[test]
    fn variables_that_are_not_what_they_should_be_are_named() {
        for (variables, named) in [
            (&[("CNI_IFNAME", "eth0")][..], "CNI_CONTAINERID"),
            (&[("CNI_CONTAINERID", "../etc"), ("CNI_IFNAME", "eth0")][..], "CNI_CONTAINERID"),
            (&[("CNI_CONTAINERID", "a"), ("CNI_IFNAME", "no/name")][..], "CNI_IFNAME"),
            (&[("CNI_CONTAINERID", "a"), ("CNI_IFNAME", "sixteen-letters-")][..], "CNI_IFNAME"),
        ] {
            let fault = read(variables).expect_err("invalid");
            assert_eq!(fault.code, Code::InvalidEnvironment);
            assert!(fault.message.contains(named), "{}", fault.message);
        }
    }
}
