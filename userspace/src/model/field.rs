//! The fields of a line of the access log, by the names that they have there and in the configuration.

/// Which lines a field is a part of, unless fields are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Lines of connections and of requests.
    Always,
    /// Lines of connections.
    OfConnections,
    /// Lines of requests.
    OfRequests,
}

macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal $told:ident,)+) => {
        /// A field of a line of the access log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Field {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Field {
            /// Every field with its word, in the order in which lines have them.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$name)),+];

            /// Its word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// Which lines it is a part of, unless fields are selected.
            #[must_use]
            pub const fn told(self) -> Told {
                match self {
                    $(Self::$name => Told::$told,)+
                }
            }
        }
    };
}

fields! {
    /// When it began, UTC with microseconds (RFC 3339).
    Time = "time" Always,
    /// Whose log it is.
    Workload = "workload" Always,
    /// The number of the connection, for `sidestep explain`.
    Connection = "connection" Always,
    /// `outbound` or `inbound`.
    Direction = "direction" Always,
    /// Who connected.
    Source = "source" Always,
    /// Where that wanted to go.
    OriginalDestination = "original_destination" Always,
    /// Where the instance dialled.
    Upstream = "upstream" Always,
    /// `proxy`, `direct` or `deny`.
    Verdict = "verdict" OfConnections,
    /// Why.
    Reason = "reason" OfConnections,
    /// The rule that policy decided by, `namespace/name[rule]`; `none` where it denies because no `ALLOW` rule matches.
    Policy = "policy" Always,
    /// What policies that are only tried (dry-run) would do otherwise.
    WouldBe = "would_be" Always,
    /// The rule of an `AUDIT` policy that matches.
    Audit = "audit" Always,
    /// `direct`, `relay`, `tunnel` or `http`.
    Tier = "tier" Always,
    /// What was spoken.
    Protocol = "protocol" Always,
    /// The server name that a TLS client asked for.
    Sni = "sni" OfConnections,
    /// How many requests a connection carried.
    Requests = "requests" OfConnections,
    /// What was asked: the method.
    Method = "method" OfRequests,
    /// The host that was asked for.
    Authority = "authority" OfRequests,
    /// Path and query.
    Path = "path" OfRequests,
    /// The answer's status.
    Status = "status" OfRequests,
    /// The answer's `grpc-status`.
    GrpcStatus = "grpc_status" OfRequests,
    /// Why it went other than it should, in Envoy's words.
    ResponseFlags = "response_flags" OfRequests,
    /// The rule that decided where it goes.
    Route = "route" OfRequests,
    /// The service that was asked.
    Service = "service" Always,
    /// Who asked by its certificate.
    SourcePrincipal = "source_principal" Always,
    /// Who answered by its certificate.
    DestinationPrincipal = "destination_principal" Always,
    /// The other workload, `namespace/name`.
    PeerWorkload = "peer_workload" Always,
    /// The trace.
    TraceId = "trace_id" Always,
    /// The span of this hop.
    SpanId = "span_id" OfRequests,
    /// The span that it is a part of.
    ParentSpanId = "parent_span_id" OfRequests,
    /// `X-Request-Id`.
    RequestId = "request_id" OfRequests,
    /// `User-Agent`.
    UserAgent = "user_agent" OfRequests,
    /// Bytes from the side that connected; of a request, those of its body.
    BytesSent = "bytes_sent" Always,
    /// Bytes back; of a request, those of the answer's body.
    BytesReceived = "bytes_received" Always,
    /// From the beginning to the end.
    DurationMs = "duration_ms" Always,
    /// What the other side took to answer.
    UpstreamMs = "upstream_ms" OfRequests,
    /// The rest: ours, and what it took to move the bodies.
    ProxyMs = "proxy_ms" OfRequests,
    /// How often it was sent.
    Attempts = "attempts" OfRequests,
    /// What went wrong.
    Error = "error" Always,
    /// Whose fault that was.
    ErrorSide = "error_side" Always,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_word_of_its_own() {
        for (word, field) in Field::WORDS {
            assert_eq!(field.word(), *word);
            assert_eq!(Field::WORDS.iter().filter(|(other, _)| other == word).count(), 1, "{word}");
        }
    }
}
