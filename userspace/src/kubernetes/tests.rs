//! The feed against an API server of the harness.
