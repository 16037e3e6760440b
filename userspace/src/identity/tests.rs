//! Certificates good and hostile, sources that fail, handshakes in memory. All material is made when the tests run.

mod authorities;
mod files;
mod forge;
mod handshakes;
mod hostile;
mod lists;
mod secrets;
mod signing;
mod workload_api;
