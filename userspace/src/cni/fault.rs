//! What went wrong, as the specification has plugins say it.

use serde_json::{Value, json};

use super::attachment::{Refusal, RefusalKind};

/// A well-known error code (CNI specification, "Well-known Error Codes"; from 100 on they are a plugin's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    IncompatibleVersion = 1,
    UnknownContainer = 3,
    InvalidEnvironment = 4,
    Io = 5,
    Decoding = 6,
    InvalidConfiguration = 7,
    TryAgainLater = 11,
    /// Since 1.1.
    Unavailable = 50,
    /// Ours: the agent does not serve this pod.
    Unservable = 100,
}

/// An error for a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// What is printed on standard output.
    pub(super) fn told(&self, version: &str) -> Value {
        json!({ "cniVersion": version, "code": self.code as u32, "msg": format!("sidestep: {}", self.message) })
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.kind {
            RefusalKind::TryAgain => Code::TryAgainLater,
            RefusalKind::Gone => Code::UnknownContainer,
            RefusalKind::Unservable => Code::Unservable,
            RefusalKind::Unavailable => Code::Unavailable,
        };
        Self::new(code, refusal.message)
    }
}
