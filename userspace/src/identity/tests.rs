//! Certificates good and hostile, sources that fail, handshakes in memory. All material is made when the tests run.

mod forge;
mod handshakes;
