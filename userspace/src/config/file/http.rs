//! `http:`: where connections are looked at, as it is written.

use std::collections::BTreeMap;

use super::or;
use crate::config::value::{Count, HeaderSize, OneOrMany, Port, Timeout, Value};
use crate::config::yaml::section;
use crate::config::{HttpSettings, Looking};
use crate::model::{PathForm, Protocol};

section!(pub(super) Http {
    outbound: Value<Looking>,
    inbound: Value<Looking>,
    ports: BTreeMap<Value<Port>, Value<Protocol>>,
    opaque_ports: OneOrMany<Port>,
    max_header_size: Value<HeaderSize>,
    header_timeout: Value<Timeout>,
    idle_timeout: Value<Timeout>,
    max_requests: Value<Count>,
    path_normalization: Value<PathForm>,
});

impl Http {
    /// How much is taken for the same path.
    pub(super) fn path_form(&self) -> PathForm {
        self.path_normalization.as_ref().map_or_else(PathForm::default, |Value(form)| *form)
    }

    /// The settings.
    pub(super) fn settings(self) -> HttpSettings {
        let defaults = HttpSettings::default();
        let ports = self.ports.unwrap_or_default().into_iter();
        let opaque = self.opaque_ports.map(OneOrMany::into_values).into_iter().flatten();
        let timeout =
            |written: Option<Value<Timeout>>, default| written.map_or(default, |Value(Timeout(it))| it);
        HttpSettings {
            outbound: or(self.outbound, defaults.outbound),
            inbound: or(self.inbound, defaults.inbound),
            ports: ports.map(|(Value(Port(port)), Value(protocol))| (port, protocol)).collect(),
            opaque_ports: opaque.map(|Port(port)| port).collect(),
            max_header_size: self
                .max_header_size
                .map_or(defaults.max_header_size, |Value(HeaderSize(bytes))| bytes),
            header_timeout: timeout(self.header_timeout, defaults.header_timeout),
            idle_timeout: timeout(self.idle_timeout, defaults.idle_timeout),
            max_requests: self.max_requests.map_or(defaults.max_requests, |Value(Count(count))| count),
        }
    }
}
