//! HTTP: connections that are looked at, and whose requests are forwarded one by one.
//!
//! Built on hyper's connections, one for each leg. It deliberately decides little: which endpoint a request goes to is said in
//! `choose`, whether it may in `forward`; what is told of it are [`crate::model::Exchange`]s. Unless a connection's first bytes
//! are HTTP, nothing of it is ever read here.
//!
//! # Layout
//! - `terms`: what is looked at, and what a request may take
//! - `intake`: a connection from its acceptance to whoever serves it
//! - `deciding`, `detect`, `peek`: what first bytes say, and how they are looked at
//! - `memory`: what destinations turned out to speak
//! - `serve`, `front`, `watch`: a client's connection, and what its parts share
//! - `heads`, `sound`: what is no HTTP that may be forwarded, seen in the bytes and in the request
//! - `judge`, `under_way`: whether policy lets a request through, now and when it changes
//! - `screen`: what is let in where only probes are
//! - `forward`: one request; `choose`: where it goes; `hops`, `own`, `trace`: what it loses and gains on the way
//! - `delivery`, `target`: the rule that a request meets; `errand`: its attempts; `mirror`: its copies
//! - `resilience`, `standing`, `rates`: what is remembered of services and limits between requests
//! - `body`, `replay`: bodies on their way; `again`: what can be had of a request twice
//! - `telling`: what is told of a request; `failure`: what hyper's errors mean
//! - `explicit`: requests that say themselves where they go; `translate`: HTTP/2 for an app that speaks HTTP/1.1
//! - `pool`, `dialling`: connections to upstreams; `awaited`: what may come before an answer
//! - `upgrade`: what stops being HTTP
//! - `io`, `spawning`: what hyper runs on

mod again;
mod awaited;
mod body;
pub(super) mod choose;
mod deciding;
mod delivery;
pub mod detect;
pub(super) mod dialling;
mod errand;
mod explicit;
mod failure;
mod forward;
pub(super) mod front;
pub mod heads;
mod hops;
pub(super) mod intake;
pub(super) mod io;
mod judge;
pub(super) mod limit;
pub(super) mod memory;
mod mirror;
mod own;
pub(super) mod peek;
pub(super) mod pool;
mod rates;
mod replay;
pub(super) mod resilience;
mod screen;
mod serve;
mod sound;
mod spawning;
mod standing;
mod target;
mod telling;
pub(super) mod terms;
mod trace;
mod translate;
pub(super) mod under_way;
mod upgrade;
mod watch;

pub use resilience::Routing;
pub use terms::{HttpTerms, Looking};
