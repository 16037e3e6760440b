//! Which rule a request meets, and what is made of it.

mod choosing;
mod conformance;
mod outliers;
