//! The decision and what is known before it, against what is said of them.

mod any;
mod denials;
mod differential;
mod naive;
mod tables;
