//! Which trailers are forwarded. A recipient may merge trailers into the head, so trailers must not have fields that
//! rsp or a server evaluates there: framing, routing, the connection, identity, content format (RFC 9110 section
//! 6.5.1). Nor may a trailer look like a request line to a sloppy parser.

use super::grammar::is_version;
use crate::http::{Name, is_protected, is_same};

/// Untagged names that are refused in trailers, besides the protected ones.
const REFUSED: [&str; 23] = [
    "accept-encoding",
    "age",
    "cache-control",
    "content-disposition",
    "content-language",
    "content-location",
    "content-range",
    "expires",
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
    "range",
    "retry-after",
    "sec-websocket-key",
    "set-cookie2",
    "vary",
];

/// Every tagged name has a meaning in a head, so none passes.
pub(super) fn passes(tag: Name, name: &[u8], value: &[u8]) -> bool {
    tag == Name::Other
        && !is_protected(name)
        && !REFUSED.iter().any(|refused| is_same(name, refused.as_bytes()))
        && !value.last_chunk::<8>().is_some_and(|end| is_version(end))
}
