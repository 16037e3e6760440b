//! How a denied connection is told to the workload.

/// How a denied `connect()` fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DenyWith {
    /// `ECONNREFUSED`, as if nobody listened: what programs expect and retry sanely.
    #[default]
    Refused,
    /// `EPERM`, which tells policy from a dead server.
    NotPermitted,
}
