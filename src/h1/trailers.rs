//! Which trailers go on. A recipient may merge trailers into the head, so none may pass that would have been
//! looked at there by rsp or by anyone behind it: framing, routing, the connection, identity, content format
//! (RFC 9110 section 6.5.1).

use crate::http::Name;

/// Names without a tag of their own that no trailer may have.
const REFUSED: [&str; 17] = [
    "accept-encoding",
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-range",
    "content-type",
    "expires",
    "if-match",
    "if-none-match",
    "location",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "set-cookie",
    "vary",
    "www-authenticate",
];

/// Every tagged name means something in a head, so none of them passes.
pub(super) fn passes(tag: Name, name: &[u8]) -> bool {
    tag == Name::Other && !REFUSED.iter().any(|refused| name.eq_ignore_ascii_case(refused.as_bytes()))
}
