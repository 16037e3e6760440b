//! HTTP with the real parts: nginx, curl, nghttp and h2load, gRPC's own Python package, WebSocket, and what is no HTTP at all;
//! in plain text and through a tunnel. And with ends that misbehave, on both sides.
//!
//! What is asserted is what those parts say, the access logs of both sidecars, and their counters.

mod corpus;
mod floods;
mod grpc;
mod hostile;
mod http1;
mod http2;
mod malformed;
mod message;
mod opaque;
mod origin;
mod raw;
mod scene;
mod script;
mod slow;
mod smuggling;
mod websocket;
