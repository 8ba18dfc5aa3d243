//! What ends at rsp: the fields of one hop, those that `Connection` names, and names that a server could mistake for
//! what rsp has decided.

use crate::http::{Fields, MOST_OPTIONS, Name, Names, Span, is_same, is_word};

/// RFC 9110 section 7.6.1. `Connection` itself stays for the script to read; no codec writes it.
#[inline(always)]
pub(super) fn remove_hop_by_hop(fields: &mut Fields, hop: Names, nominates: bool, keep_upgrade: bool) {
    if nominates {
        remove_nominated(fields);
    }
    if fields.has_any(hop) {
        fields.remove_where(|tag, _| hop.has(tag) && !(tag == Name::Upgrade && keep_upgrade));
    }
}

/// Fields of one hop, besides `Connection` and what it names.
pub(super) const HOP: Names = Names::of(&[Name::KeepAlive, Name::ProxyConnection, Name::Te, Name::Upgrade]);

/// What no request takes to a server, whoever sent it: also what servers could mistake for something else.
pub(super) const OF_NO_REQUEST: Names = Names::of(&[
    Name::KeepAlive,
    Name::Lookalike,
    Name::Proxy,
    Name::ProxyConnection,
    Name::Te,
    Name::Upgrade,
]);

/// Tagged names that `Connection` does not remove: they frame a message, say where it goes and where it came from, or
/// who sent it.
const KEPT: Names = Names::of(&[
    Name::Connection,
    Name::ContentLength,
    Name::Cookie,
    Name::Date,
    Name::Expect,
    Name::Forwarded,
    Name::Host,
    Name::MaxForwards,
    Name::TransferEncoding,
    Name::Upgrade,
    Name::Via,
    Name::XForwardedFor,
    Name::XForwardedHost,
    Name::XForwardedOther,
    Name::XForwardedProto,
    Name::XRealIp,
    Name::XRequestId,
]);

/// The same of names without a tag.
const KEPT_NAMES: [&str; 23] = [
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

fn is_kept(tag: Name, name: &[u8]) -> bool {
    KEPT.has(tag) || tag == Name::Other && KEPT_NAMES.iter().any(|kept| is_same(name, kept.as_bytes()))
}

/// Removes the fields that `Connection` names, as far as they are the sender's to remove.
fn remove_nominated(fields: &mut Fields) {
    // The codec lets no more through.
    let (mut spans, mut count) = ([Span::default(); MOST_OPTIONS], 0);
    let unusual = fields.elements(Name::Connection).filter(|option| !is_usual(fields.text(*option)));
    for (option, place) in unusual.zip(&mut spans) {
        *place = option;
        count += 1;
    }
    fields.remove_named(&spans[..count], is_kept);
}

/// What `Connection` nearly always says: options that name no field, or one that goes anyway.
fn is_usual(token: &[u8]) -> bool {
    match token.len() {
        0 => true,
        2 => is_word(token, b"te"),
        5 => is_word(token, b"close"),
        7 => is_word(token, b"upgrade"),
        10 => is_word(token, b"keep-alive"),
        _ => false,
    }
}
