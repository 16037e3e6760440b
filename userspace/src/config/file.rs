//! The file as it is written, and how it becomes a [`Config`].
//!
//! The structures here know the names of fields and nothing else; what a value means is known by its type, and what
//! holds between rules by [`crate::policy`].

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_path_to_error::Track;
use serde_saphyr::{Location, Options, Spanned};
use sidestep_abi::settings::OnFailure;
use sidestep_abi::verdict::Verdict;

use super::value::{Count, OneOrMany, Patience, PortsWord, Timeout, Value};
use super::{
    AccessLogSettings, AdminSettings, CaptureMode, CaptureSettings, Config, ConfigError, FILE_LIMIT,
    InboundPorts, LogDestination, LogFormat, OutboundSettings, Place, RelaySettings, WorkloadName,
};
use crate::policy::{DenyWith, PolicyError, PortSpan, Rule, Rules, Target};

mod message;

/// Declares a section of the file: every field may be absent, none may be unknown.
macro_rules! section {
    ($name:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping of settings")]
        struct $name { $($field: Option<$type>),+ }
    };
}

section!(Document {
    workload: Value<WorkloadName>,
    capture: Capture,
    outbound: Outbound,
    inbound: Inbound,
    relay: Relay,
    admin: Admin,
    access_log: AccessLog,
});
section!(Capture {
    mode: Value<CaptureMode>,
    on_failure: Value<OnFailure>,
    cgroup_mount: Value<PathBuf>,
    cgroup: Value<PathBuf>,
});
section!(Outbound { default: Value<Verdict>, deny_with: Value<DenyWith>, rules: Vec<WrittenRule> });
section!(Inbound { ports: OneOrMany<PortsWord, PortSpan>, exclude: OneOrMany<PortSpan> });
section!(Relay {
    connect_timeout: Value<Timeout>,
    idle_timeout: Value<Timeout>,
    drain_timeout: Value<Patience>,
    max_connections: Value<Count>,
});
section!(AccessLog { path: Value<LogDestination>, format: Value<LogFormat> });

/// `admin:` is the one section that means nothing without its field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping of settings")]
struct Admin {
    address: Value<SocketAddr>,
}

/// One entry of `outbound.rules`: a verdict and what it is for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", expecting = "a rule such as `deny: 10.0.0.0/8:5432`")]
enum WrittenRule {
    Proxy(Spanned<OneOrMany<Target>>),
    Direct(Spanned<OneOrMany<Target>>),
    Deny(Spanned<OneOrMany<Target>>),
}

/// See [`Config::parse`].
pub(super) fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    let track = RefCell::new(Track::new());
    let document = serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        let mut track = track.borrow_mut();
        Option::<Document>::deserialize(serde_path_to_error::Deserializer::new(deserializer, &mut track))
    });
    let invalid =
        |place, field, message| ConfigError::Invalid { file: file.to_owned(), place, field, message };
    match document {
        Ok(Some(document)) => Written { file }.config(document),
        // An empty file is a file that somebody is about to write more often than the wish for all defaults.
        Ok(None) => {
            let message = "expected settings, found an empty file; write {} to have all defaults".to_owned();
            Err(invalid(None, String::new(), message))
        }
        Err(error) => {
            let error = error.without_snippet();
            let place = error.location().and_then(place);
            let field = message::field(&track.into_inner().path(), error);
            Err(invalid(place, field, message::of(error, text, place)))
        }
    }
}

/// Bounds for the parser that fit [`FILE_LIMIT`] and the kernel's tables, and no snippets in error messages.
fn options() -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        reject_unsupported_tags: true,
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(FILE_LIMIT as usize),
            max_nodes: 2_000_000,
            max_events: 8_000_000,
            max_depth: 16,
            max_documents: 2,
            max_aliases: 1_000,
            max_anchors: 1_000,
        },
    }
}

/// The place that the parser means.
fn place(location: Location) -> Option<Place> {
    (location != Location::UNKNOWN).then(|| Place { line: location.line(), column: location.column() })
}

/// A file whose pieces are good; what holds between them is left to check.
struct Written<'a> {
    file: &'a Path,
}

/// Where a rule was written.
#[derive(Clone, Copy)]
struct Origin {
    place: Option<Place>,
    entry: usize,
    /// Where in the entry's list, if it has one.
    item: Option<usize>,
}

impl Written<'_> {
    fn config(&self, document: Document) -> Result<Config, ConfigError> {
        Ok(Config {
            workload: document.workload.map(|Value(name)| name),
            capture: document.capture.unwrap_or_default().settings(),
            outbound: self.outbound(document.outbound.unwrap_or_default())?,
            inbound: document.inbound.unwrap_or_default().ports(),
            relay: document.relay.unwrap_or_default().settings(),
            admin: document.admin.map(|admin| AdminSettings { address: admin.address.0 }),
            access_log: document.access_log.map(AccessLog::settings),
        })
    }

    fn outbound(&self, section: Outbound) -> Result<OutboundSettings, ConfigError> {
        let defaults = OutboundSettings::default();
        let mut rules = Rules { default: or(section.default, defaults.rules.default), list: Vec::new() };
        let mut origins = Vec::new();
        for (entry, written) in section.rules.unwrap_or_default().into_iter().enumerate() {
            let (verdict, targets) = match written {
                WrittenRule::Proxy(targets) => (Verdict::Proxy, targets),
                WrittenRule::Direct(targets) => (Verdict::Direct, targets),
                WrittenRule::Deny(targets) => (Verdict::Deny, targets),
            };
            let mut add = |target, location, item| {
                rules.list.push(Rule { verdict, target });
                origins.push(Origin { place: place(location), entry, item });
            };
            match targets.value {
                OneOrMany::One(target) => add(target, targets.referenced, None),
                OneOrMany::Many(list) => {
                    for (item, Spanned { value: Value(target), referenced, .. }) in
                        list.into_iter().enumerate()
                    {
                        add(target, referenced, Some(item));
                    }
                }
            }
        }
        rules.compile().map_err(|error| self.bad_rules(&error, &rules, &origins))?;
        Ok(OutboundSettings { rules, deny_with: or(section.deny_with, defaults.deny_with) })
    }

    /// Points at the rule that an error is about; of two rules at the one that came later.
    fn bad_rules(&self, error: &PolicyError, rules: &Rules, origins: &[Origin]) -> ConfigError {
        let (at, other) = match error {
            PolicyError::Conflict { at: [earlier, later], .. } => (Some(*later), Some(*earlier)),
            PolicyError::TooManyPortRanges { at, .. } => (Some(*at), None),
            PolicyError::TooManyPrefixes { .. } | PolicyError::TooManyPortTables { .. } => (None, None),
        };
        let mut message = error.to_string();
        if let Some(line) = other.and_then(|other| origins[other].place).map(|place| place.line) {
            message.push_str(&format!(" (the other is in line {line})"));
        }
        let mut field = "outbound.rules".to_owned();
        if let Some(at) = at {
            field.push_str(&format!("[{}].{}", origins[at].entry, rules.list[at].verdict.word()));
            if let Some(item) = origins[at].item {
                field.push_str(&format!("[{item}]"));
            }
        }
        let place = at.and_then(|at| origins[at].place);
        ConfigError::Invalid { file: self.file.to_owned(), place, field, message }
    }
}

impl Capture {
    fn settings(self) -> CaptureSettings {
        let defaults = CaptureSettings::default();
        CaptureSettings {
            mode: or(self.mode, defaults.mode),
            on_failure: or(self.on_failure, defaults.on_failure),
            cgroup_mount: self.cgroup_mount.map(|Value(path)| path),
            cgroup: self.cgroup.map(|Value(path)| path),
        }
    }
}

impl Inbound {
    fn ports(self) -> InboundPorts {
        let spans = |list: Vec<Spanned<Value<PortSpan>>>| list.into_iter().map(|item| item.value.0);
        let captured = match self.ports {
            None | Some(OneOrMany::One(PortsWord::All)) => InboundPorts::all(),
            Some(OneOrMany::One(PortsWord::None)) => InboundPorts::none(),
            Some(OneOrMany::One(PortsWord::Span(span))) => std::iter::once(span).collect(),
            Some(OneOrMany::Many(list)) => spans(list).collect(),
        };
        match self.exclude {
            None => captured,
            Some(OneOrMany::One(span)) => captured.without_span(span),
            Some(OneOrMany::Many(list)) => spans(list).fold(captured, InboundPorts::without_span),
        }
    }
}

impl Relay {
    fn settings(self) -> RelaySettings {
        let defaults = RelaySettings::default();
        let timeout =
            |written: Option<Value<Timeout>>, default| written.map_or(default, |Value(Timeout(it))| it);
        RelaySettings {
            connect_timeout: timeout(self.connect_timeout, defaults.connect_timeout),
            idle_timeout: timeout(self.idle_timeout, defaults.idle_timeout),
            drain_timeout: self.drain_timeout.map_or(defaults.drain_timeout, |Value(Patience(it))| it),
            max_connections: self.max_connections.map_or(defaults.max_connections, |Value(Count(it))| it),
        }
    }
}

impl AccessLog {
    fn settings(self) -> AccessLogSettings {
        AccessLogSettings {
            destination: or(self.path, LogDestination::Stdout),
            format: or(self.format, LogFormat::default()),
        }
    }
}

/// What was written, or else the default.
fn or<T>(written: Option<Value<T>>, default: T) -> T {
    written.map_or(default, |Value(value)| value)
}
