//! Which trailers are forwarded. A recipient may merge trailers into the head, so trailers must not have fields that
//! rsp or a server evaluates there: framing, routing, the connection, identity, content format (RFC 9110 section
//! 6.5.1). Nor may a trailer look like a request line to a sloppy parser.

use super::grammar::is_version;
use crate::http::{Name, is_same};

/// Untagged names that are refused in trailers.
const REFUSED: [&str; 46] = [
    "accept-encoding",
    "age",
    "authorization",
    "cache-control",
    "cf-connecting-ip",
    "client-cert",
    "client-cert-chain",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-type",
    "expires",
    "fastly-client-ip",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "remote-user",
    "retry-after",
    "sec-websocket-key",
    "set-cookie",
    "set-cookie2",
    "traceparent",
    "tracestate",
    "true-client-ip",
    "vary",
    "www-authenticate",
    "x-client-cn",
    "x-client-ip",
    "x-client-subject",
    "x-cluster-client-ip",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-remote-user",
    "x-rewrite-url",
];

/// Every tagged name has a meaning in a head, so none passes.
pub(super) fn passes(tag: Name, name: &[u8], value: &[u8]) -> bool {
    tag == Name::Other
        && !REFUSED.iter().any(|refused| is_same(name, refused.as_bytes()))
        && !value.last_chunk::<8>().is_some_and(|end| is_version(end))
}
