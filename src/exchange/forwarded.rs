//! What a trusted proxy states about a request: the client (`X-Forwarded-For`) and the scheme (`X-Forwarded-Proto`).
//! Used only for connections from trusted addresses, before the head is rewritten.
//!
//! Every proxy appends the address it saw, so the last entry is the nearest, and each entry is only as trustworthy as
//! the proxy that wrote it: the list is walked from its end to the first address that is not trusted. The client may
//! have made up everything before that one.

use std::net::IpAddr;

use crate::base::ip_port::IpPort;
use crate::config::Trusted;
use crate::http::{Fields, Name, Scheme};

/// The peer of a client's connection, as far as known.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The socket's peer, or the one of a PROXY header. `None` on a Unix socket.
    ip: Option<IpAddr>,
    port: u16,
    /// Its forwarding headers are trusted.
    pub trusted: bool,
}

impl Peer {
    pub fn new(address: Option<IpPort>, trusted: bool) -> Peer {
        Peer { ip: address.map(|a| a.ip), port: address.map_or(0, |a| a.port), trusted }
    }

    pub fn ip(&self) -> Option<&IpAddr> {
        self.ip.as_ref()
    }

    pub fn address(&self) -> Option<IpPort> {
        self.ip.map(|ip| IpPort::new(ip, self.port))
    }
}

/// The last address of `X-Forwarded-For` that is not trusted; the first one if all are; `peer` if there is none. A
/// malformed entry ends the walk: the entry after it is the client. The port is 0 if the entry has none.
pub fn client(fields: &Fields, peer: Option<IpPort>, trusted: &Trusted) -> Option<IpPort> {
    let lines = fields.list().iter().rev().filter(|field| field.tag == Name::XForwardedFor);
    let entries = lines.flat_map(|field| fields.text(field.value).rsplit(|byte| *byte == b','));
    let mut client = peer;
    // RFC 9110 section 5.6.1.2: empty list elements are ignored.
    for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
        let Some(address) = address(entry) else { break };
        client = Some(address);
        if !trusted.has_ip(address.ip) {
            break;
        }
    }
    client
}

/// `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7`, `[2001:db8::7]` or `[2001:db8::7]:4711`.
fn address(entry: &[u8]) -> Option<IpPort> {
    let text = std::str::from_utf8(entry).ok().filter(|text| !text.contains('%'))?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match (text.parse::<IpAddr>(), bare) {
        (Ok(ip), _) => IpPort::new(ip, 0),
        (_, Some(ip)) => IpPort::new(IpAddr::V6(ip.parse().ok()?), 0),
        (_, None) => text.parse().ok()?,
    };
    Some(IpPort::new(address.ip.to_canonical(), address.port))
}

/// The value of a single `X-Forwarded-Proto`, if it is `http` or `https`: a list is ambiguous and ignored.
pub fn scheme(fields: &Fields) -> Option<Scheme> {
    let mut values = fields.iter().filter(|(tag, ..)| *tag == Name::XForwardedProto).map(|(.., value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) if value.eq_ignore_ascii_case(b"https") => Some(Scheme::Https),
        (Some(value), None) if value.eq_ignore_ascii_case(b"http") => Some(Scheme::Http),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &str, values: &[&str]) -> Fields {
        let mut fields = Fields::default();
        fields.append(b"Host", b"6.6.6.6");
        values.iter().for_each(|value| fields.append(name.as_bytes(), value.as_bytes()));
        fields
    }

    fn walked(values: &[&str]) -> String {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec();
        let peer = Some("10.0.0.1:1234".parse().unwrap());
        let trusted = Trusted { networks, unix: false };
        client(&fields("x-forwarded-FOR", values), peer, &trusted).unwrap().to_string()
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_trusted() {
        for (values, client) in [
            (&[][..], "10.0.0.1:1234"),
            (&["1.1.1.1"], "1.1.1.1:0"),
            (&["6.6.6.6, 1.1.1.1"], "1.1.1.1:0"),
            (&["6.6.6.6, 1.1.1.1, 10.9.9.9"], "1.1.1.1:0"),
            (&["6.6.6.6,1.1.1.1,10.9.9.9,fd00::1"], "1.1.1.1:0"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
            (&["6.6.6.6", "1.1.1.1", "10.0.0.2"], "1.1.1.1:0"),
            (&["1.1.1.1, 10.0.0.3", "10.0.0.2"], "1.1.1.1:0"),
        ] {
            assert_eq!(walked(values), client, "{values:?}");
        }
    }

    #[test]
    fn entries_may_have_ports_brackets_mapped_addresses_and_blanks() {
        for (value, client) in [
            ("1.2.3.4:567", "1.2.3.4:567"),
            ("2001:db8::7", "[2001:db8::7]:0"),
            ("[2001:db8::7]", "[2001:db8::7]:0"),
            ("[2001:db8::7]:80", "[2001:db8::7]:80"),
            ("::ffff:1.2.3.4", "1.2.3.4:0"),
            ("[::ffff:1.2.3.4]:80", "1.2.3.4:80"),
            ("1.1.1.1, ::ffff:10.0.0.2, [fd00::1]:80, 10.0.0.2:99", "1.1.1.1:0"),
            (" \t1.1.1.1\t ", "1.1.1.1:0"),
            (",, 1.1.1.1 ,, ,10.0.0.2, ,", "1.1.1.1:0"),
        ] {
            assert_eq!(walked(&[value]), client, "{value}");
        }
    }

    #[test]
    fn a_malformed_entry_ends_the_walk() {
        for odd in [
            "unknown",
            "_hidden",
            "localhost",
            "1.2.3",
            "1.2.3.256",
            "01.2.3.4",
            "1.2.3.4:",
            "1.2.3.4:x",
            "1.2.3.4:65536",
            "1.2.3.4 5.6.7.8",
            "[1.2.3.4]",
            "[::1",
            "::1]",
            "[::1]80",
            "fe80::1%lo",
            "[fe80::1%3]:80",
            "\"1.2.3.4\"",
            "for=1.2.3.4",
            "\u{ff11}.2.3.4",
        ] {
            assert_eq!(walked(&[&format!("1.1.1.1, {odd}")]), "10.0.0.1:1234", "{odd}");
            assert_eq!(walked(&[&format!("1.1.1.1, {odd}, 10.0.0.2")]), "10.0.0.2:0", "{odd}");
        }
        assert_eq!(walked(&["", " , "]), "10.0.0.1:1234");
    }

    #[test]
    fn the_scheme_is_http_or_https_and_stated_once() {
        for (values, said) in [
            (&["https"][..], Some(Scheme::Https)),
            (&["HTTP"], Some(Scheme::Http)),
            (&[], None),
            (&[""], None),
            (&["wss"], None),
            (&["https, http"], None),
            (&["https", "https"], None),
        ] {
            assert_eq!(scheme(&fields("X-Forwarded-Proto", values)), said, "{values:?}");
        }
    }
}
