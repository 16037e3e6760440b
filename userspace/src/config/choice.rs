//! Closed sets of words: the same in files and in flags.

use sidestep_abi::settings::OnFailure;
use sidestep_abi::verdict::Verdict;

use super::{
    CaptureMode, LogExport, LogFormat, Looking, OriginateProtocol, ServeProtocol, TraceProtocol, Unknown,
};
use crate::model::{Field, Parents, PathForm, Protocol, Reach};
use crate::policy::DenyWith;

/// A type whose values are written as one of a few words.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every word and what it stands for, in the order of error and help messages.
    const WORDS: &'static [(&'static str, Self)];

    /// The value that a word stands for.
    #[must_use]
    fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
    }

    /// Every word, with commas between them.
    #[must_use]
    fn list() -> String {
        Self::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
    }
}

impl Choice for Verdict {
    const WORDS: &'static [(&'static str, Self)] =
        &[("proxy", Self::Proxy), ("direct", Self::Direct), ("deny", Self::Deny)];
}

impl Choice for OnFailure {
    const WORDS: &'static [(&'static str, Self)] = &[("closed", Self::Closed), ("open", Self::Open)];
}

impl Choice for DenyWith {
    const WORDS: &'static [(&'static str, Self)] =
        &[("refused", Self::Refused), ("not-permitted", Self::NotPermitted)];
}

impl Choice for Unknown {
    const WORDS: &'static [(&'static str, Self)] = &[("relay", Self::Relay), ("refuse", Self::Refuse)];
}

/// Whether a workload has a tunnel.
impl Choice for Reach {
    const WORDS: &'static [(&'static str, Self)] = &[("true", Self::Tunnel), ("false", Self::Plain)];
}

impl Choice for CaptureMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("ebpf", Self::Ebpf), ("iptables", Self::Iptables), ("none", Self::None)];
}

impl Choice for OriginateProtocol {
    const WORDS: &'static [(&'static str, Self)] =
        &[("tls", Self::Tls), ("https", Self::Https), ("postgres", Self::Postgres), ("mysql", Self::Mysql)];
}

impl Choice for ServeProtocol {
    const WORDS: &'static [(&'static str, Self)] =
        &[("http", Self::Http), ("http2", Self::Http2), ("tcp", Self::Tcp)];
}

impl Choice for LogFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("json", Self::Json), ("text", Self::Text), ("auto", Self::Auto)];
}

impl Choice for Looking {
    const WORDS: &'static [(&'static str, Self)] =
        &[("detect", Self::Detect), ("declared", Self::Declared), ("off", Self::Off)];
}

/// What a port is declared to speak.
impl Choice for Protocol {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("http", Self::Http1),
        ("http2", Self::Http2),
        ("grpc", Self::Http2),
        ("tls", Self::Tls),
        ("tcp", Self::Opaque),
    ];
}

/// How much is taken for the same path; Istio writes these words in capitals.
impl Choice for PathForm {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("base", Self::Base),
        ("merge-slashes", Self::MergeSlashes),
        ("decode-and-merge-slashes", Self::DecodeAndMergeSlashes),
    ];
}

impl Choice for TraceProtocol {
    const WORDS: &'static [(&'static str, Self)] = &[("grpc", Self::Grpc), ("http", Self::Http)];
}

impl Choice for Parents {
    const WORDS: &'static [(&'static str, Self)] =
        &[("followed", Self::Followed), ("ignored", Self::Ignored)];
}

/// Whether lines go to the collector too.
impl Choice for LogExport {
    const WORDS: &'static [(&'static str, Self)] = &[("true", Self::Otlp), ("false", Self::Never)];
}

impl Choice for Field {
    const WORDS: &'static [(&'static str, Self)] = Self::WORDS;
}
