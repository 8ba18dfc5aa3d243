//! Which trailers go on. A recipient may merge trailers into the head, so none may pass that would have been
//! looked at there by rsp or by anyone behind it: framing, routing, the connection, identity, content format
//! (RFC 9110 section 6.5.1).

use crate::http::Name;

/// Names without a tag of their own that no trailer may have.
const REFUSED: [&str; 29] = [
    "accept-encoding",
    "age",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-type",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "retry-after",
    "set-cookie",
    "set-cookie2",
    "vary",
    "www-authenticate",
    "x-forwarded-port",
    "x-http-method-override",
    "x-real-ip",
];

/// Every tagged name means something in a head, so none of them passes.
pub(super) fn passes(tag: Name, name: &[u8]) -> bool {
    tag == Name::Other && !REFUSED.iter().any(|refused| name.eq_ignore_ascii_case(refused.as_bytes()))
}
