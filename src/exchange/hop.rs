//! Fields that are not forwarded: hop-by-hop fields, those that `Connection` nominates, and names that a server could
//! mistake for fields that rsp sets.

use crate::http::{Fields, MOST_OPTIONS, Name, Names, Span, is_protected, is_word};

/// RFC 9110 section 7.6.1. `Connection` itself stays readable for the script; no codec writes it.
#[inline(always)]
pub(super) fn remove_hop_by_hop(fields: &mut Fields, hop: Names, nominates: bool, keep_upgrade: bool) {
    if nominates {
        remove_nominated(fields);
    }
    if fields.has_any(hop) {
        fields.remove_where(|tag, _| hop.has(tag) && !(tag == Name::Upgrade && keep_upgrade));
    }
}

/// Hop-by-hop fields besides `Connection` and those it nominates.
pub(super) const HOP_BY_HOP: Names =
    Names::of(&[Name::KeepAlive, Name::ProxyConnection, Name::Te, Name::Upgrade]);

/// Removed from every request, including names that servers could mistake for others.
pub(super) const NEVER_FORWARDED: Names = HOP_BY_HOP.with(Names::of(&[Name::Lookalike, Name::Proxy]));

/// Forwarding fields that only a trusted peer may set.
pub(super) const FORWARDING_FIELDS: Names = Names::of(&[
    Name::Forwarded,
    Name::XForwardedFor,
    Name::XForwardedHost,
    Name::XForwardedOther,
    Name::XForwardedProto,
    Name::XRealIp,
    Name::XRequestId,
]);

/// Tagged names that `Connection` must not remove: framing, routing, forwarding and identity fields.
const PROTECTED: Names = Names::of(&[
    Name::Connection,
    Name::ContentLength,
    Name::Cookie,
    Name::Date,
    Name::Expect,
    Name::Host,
    Name::MaxForwards,
    Name::TransferEncoding,
    Name::Upgrade,
    Name::Via,
])
.with(FORWARDING_FIELDS);

fn is_kept(tag: Name, name: &[u8]) -> bool {
    PROTECTED.has(tag) || tag == Name::Other && is_protected(name)
}

/// Removes the fields that `Connection` nominates, unless they must be kept.
fn remove_nominated(fields: &mut Fields) {
    // The codec's limit.
    let (mut spans, mut count) = ([Span::default(); MOST_OPTIONS], 0);
    let unusual = fields.elements(Name::Connection).filter(|option| !is_usual(fields.text(*option)));
    for (option, place) in unusual.zip(&mut spans) {
        *place = option;
        count += 1;
    }
    fields.remove_named(&spans[..count], is_kept);
}

/// Usual options: they nominate no field, or one that is removed anyway.
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
