//! The four forms of a request target (RFC 9112 section 3.2), and the grammar of a host.
//!
//! Targets are forwarded in origin form: the authority of an absolute form replaces Host, so that servers cannot see
//! two different names.

use std::net::Ipv6Addr;
use std::ops::Range;

use super::grammar::REG_NAME;
use super::simd;
use crate::http::{Fault, Method};

/// The form of a target; the ranges are within the target.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Origin form, `*` or the authority of CONNECT: forwarded unchanged.
    AsItIs,
    /// Absolute form: its authority becomes Host, the rest the target.
    Absolute { authority: Range<usize>, path: Range<usize> },
}

/// `target` is visible ASCII without `#`.
pub(super) fn form(method: Method, target: &[u8]) -> Result<Form, Fault> {
    match (method, target) {
        (Method::Connect, _) => require(is_host_and_port(target), Form::AsItIs),
        (_, [b'/', ..]) => Ok(Form::AsItIs),
        (Method::Options, b"*") => Ok(Form::AsItIs),
        _ => absolute(target),
    }
}

/// Whether text may stand in a target before `?`, in origin form.
pub fn is_path(text: &[u8]) -> bool {
    text.first() == Some(&b'/') && is_query(text) && !text.contains(&b'?')
}

/// Whether text may stand in a target after `?`.
pub fn is_query(text: &[u8]) -> bool {
    simd::target_end(text) == text.len()
}

fn require(condition: bool, form: Form) -> Result<Form, Fault> {
    if condition { Ok(form) } else { Err(Fault::Target) }
}

fn absolute(target: &[u8]) -> Result<Form, Fault> {
    let start = scheme_len(target).ok_or(Fault::Target)?;
    let end = memchr::memchr2(b'/', b'?', &target[start..]).map_or(target.len(), |at| start + at);
    let authority = &target[start..end];
    let form = Form::Absolute { authority: start..end, path: end..target.len() };
    require(!authority.is_empty() && is_authority(authority), form)
}

fn scheme_len(target: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .map(|scheme| scheme.len())
}

/// A valid Host value: `uri-host [":" port]`, or empty.
pub fn is_authority(text: &[u8]) -> bool {
    // The usual case: a plain name, perhaps with a port.
    match simd::host_end(text) {
        end if end == text.len() => return true,
        end if end > 0 && text[end] == b':' => return is_port(&text[end + 1..]),
        _ => {}
    }
    is_host_perhaps_with_port(text)
}

fn is_host_perhaps_with_port(text: &[u8]) -> bool {
    let (host, port) = split_port(text);
    is_host(host) && port.is_none_or(is_port)
}

fn is_host_and_port(text: &[u8]) -> bool {
    let (host, port) = split_port(text);
    is_host(host) && port.is_some_and(|port| !port.is_empty() && is_port(port))
}

/// Splits at the first colon that is not inside the brackets of an IP literal.
fn split_port(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let literal = if text.first() == Some(&b'[') { memchr::memchr(b']', text).unwrap_or(0) } else { 0 };
    match memchr::memchr(b':', &text[literal..]) {
        Some(at) => (&text[..literal + at], Some(&text[literal + at + 1..])),
        None => (text, None),
    }
}

fn is_port(digits: &[u8]) -> bool {
    // Of the same length, they are in the order of the numbers.
    let fits = digits.len() < 5 || digits.len() == 5 && digits <= b"65535".as_slice();
    fits && digits.iter().all(u8::is_ascii_digit)
}

fn is_host(host: &[u8]) -> bool {
    match host {
        [] => false,
        [b'[', b'v' | b'V', future @ .., b']'] => is_ip_future(future),
        [b'[', literal @ .., b']'] => is_ipv6(literal),
        _ => is_reg_name(host),
    }
}

/// `IPvFuture` after the `v` (RFC 3986 section 3.2.2): treated like a name.
fn is_ip_future(text: &[u8]) -> bool {
    let Some(dot) = memchr::memchr(b'.', text) else { return false };
    let (version, address) = (&text[..dot], &text[dot + 1..]);
    let is_version = !version.is_empty() && version.iter().all(u8::is_ascii_hexdigit);
    is_version && !address.is_empty() && address.iter().all(|byte| REG_NAME.has(*byte) || *byte == b':')
}

/// An address as in RFC 3986 section 3.2.2: without zone.
fn is_ipv6(literal: &[u8]) -> bool {
    str::from_utf8(literal).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_reg_name(name: &[u8]) -> bool {
    if REG_NAME.has_all(name) {
        return true;
    }
    let mut rest = name;
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            (byte, after) if REG_NAME.has(*byte) => after,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_a_literal_with_an_optional_port() {
        for good in [
            "",
            "a",
            "a.b-c_d",
            "a:80",
            "a:",
            "a:65535",
            "1.2.3.4:1",
            "[::1]",
            "[::1]:80",
            "[::ffff:1.2.3.4]",
            "[v1.x:y]",
            "[vF.a]:80",
            "[V1a.~!$&'()*+,;=:-._]",
            "%41b",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            ":80",
            "a:b",
            "a:65536",
            "a:123456",
            "a:80:80",
            "a b",
            "a/b",
            "a@b",
            "a?b",
            "a#b",
            "a\\b",
            "[::1",
            "::1",
            "[]",
            "[:]",
            "[1:2]",
            "[1:2:3:4:5:6:7:8:9]",
            "[::1.2.3]",
            "[::1]x",
            "[::1]80",
            "[v.x]",
            "[v1.]",
            "[v1]",
            "[vg.x]",
            "[v1.%41]",
            "[v1.x]y",
            "[v1.x",
            "[v1.[]",
            "[fe80::1%25eth0]",
            "%4",
            "%zz",
            "a\u{e4}",
            "a\tb",
            "<a>",
            "a\"",
            "]",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_path_begins_with_a_slash_and_neither_it_nor_a_query_ends_the_target() {
        for good in ["/", "//x/..%2f", "/<\"{|}>", &format!("/{}", "p".repeat(100))] {
            assert!(is_path(good.as_bytes()) && is_query(good.as_bytes()), "{good}");
        }
        assert!(is_query(b"") && is_query(b"a?b=/"));
        for bad in ["/a b", "/a#b", "/a\r\nb", "/a\0", "/\u{e4}", "/\x7f", "/\t"] {
            assert!(!is_path(bad.as_bytes()) && !is_query(bad.as_bytes()), "{bad}");
        }
        for bad in ["", "a", "*", "?", "/a?b", "http://a/"] {
            assert!(!is_path(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn each_form_is_accepted_only_with_its_methods() {
        use Method::*;
        for (method, target, good) in [
            (Get, "/", true),
            (Get, "//x/..%2f?a=b&c", true),
            (Get, "*", false),
            (Options, "*", true),
            (Options, "**", false),
            (Get, "a", false),
            (Get, "a:80", false),
            (Get, "ftp://a/", false),
            (Get, "http:/a", false),
            (Get, "http://", false),
            (Get, "http:///a", false),
            (Get, "http://u@a/", false),
            (Get, "http://a:b/", false),
            (Get, "HTTPS://a", true),
            (Connect, "a:80", true),
            (Connect, "[::1]:80", true),
            (Connect, "a:", false),
            (Connect, "a", false),
            (Connect, "/", false),
            (Connect, "http://a/", false),
        ] {
            assert_eq!(form(method, target.as_bytes()).is_ok(), good, "{method:?} {target}");
        }
        let parts = |target: &'static str| match form(Get, target.as_bytes()) {
            Ok(Form::Absolute { authority, path }) => (&target[authority], &target[path]),
            other => panic!("{other:?}"),
        };
        assert_eq!(parts("http://a:1/b?c"), ("a:1", "/b?c"));
        assert_eq!(parts("https://a?c/d"), ("a", "?c/d"));
        assert_eq!(parts("http://a"), ("a", ""));
    }
}
