//! What becomes of a request: which rule it meets, where that sends it, how often it is tried, and when it is not.
//!
//! Pure: no tokio, no clock, no files. Times and random numbers are handed in. The semantics are those of the Gateway
//! API's `HTTPRoute` (gateway.networking.k8s.io/v1) attached to a Service, and of the part of Istio's `DestinationRule`
//! that speaks of connections and outliers. Sends nothing: [`crate::proxy`] does.
//!
//! # Layout
//! - `name`: services as resources name them
//! - `matching`: what a request has to look like
//! - `filter`, `path_edit`: what is changed on the way
//! - `grant`: which of them may lead to another namespace
//! - `route`: one resource, its rules and where they lead
//! - `table`: the rules of all resources by service, and which of them a request meets
//! - `retry`, `budget`: whether a request is tried again
//! - `destination`: what the connections to a service are held to, with `breaker` and `outlier`
//! - `rate`: how many requests a time allows
//! - `duration`: times as the Gateway API writes them
//!
//! # Which form of a path counts
//! Rules meet the path in [`crate::model::PathForm::Base`], because an app takes `/a/../b` for `/b` and a rule about one of
//! them is meant for both. The path that is forwarded is the one that came, unless a filter rewrites it.

mod breaker;
mod budget;
mod destination;
mod duration;
mod filter;
mod grant;
mod matching;
mod name;
mod outlier;
mod path_edit;
mod rate;
mod retry;
mod route;
mod table;

pub use breaker::{Caps, Entrance, Occupancy};
pub use budget::Budget;
pub use destination::{DestinationRule, Destinations, TrafficPolicy};
pub use duration::parse_duration;
pub use filter::{Filters, HeaderEdit, Mirror, Redirect, Rewrite, Scheme, Share};
pub use grant::{Granted, ReferenceGrant};
pub use matching::{HostPattern, Match, PathMatch, RequestView, path_value};
pub use name::{Backing, ServiceName, ServiceRef, service_key};
pub use outlier::{Outcome, OutlierPolicy, Outliers};
pub use path_edit::PathEdit;
pub use rate::{Buckets, Limited, Rate, RateLimit, SharedBy};
pub use retry::{Failure, Retry};
pub use route::{Backend, HttpRoute, Parent, Rule, Timeouts};
pub use table::{Chosen, Routes, Table};

#[cfg(test)]
mod tests;
