//! Names by which servers tell who a client is, where a request goes and what its body is. `Connection` must not
//! remove them and trailers must not bring them. Those that rsp itself handles are `Name`s; these are the others.

use super::name::is_same;

const PROTECTED: [&str; 23] = [
    "authorization",
    "cf-connecting-ip",
    "client-cert",
    "client-cert-chain",
    "content-encoding",
    "content-type",
    "fastly-client-ip",
    "proxy-authorization",
    "remote-user",
    "set-cookie",
    "traceparent",
    "tracestate",
    "true-client-ip",
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

/// Returns true for such a name, in any case of letters.
pub fn is_protected(name: &[u8]) -> bool {
    PROTECTED.iter().any(|protected| is_same(name, protected.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_names_are_known_in_any_case_of_letters() {
        assert!(is_protected(b"Authorization") && is_protected(b"x-original-URL"));
        assert!(!is_protected(b"x-original") && !is_protected(b""));
    }
}
