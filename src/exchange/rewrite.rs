//! Rewrites heads for forwarding: removes hop-by-hop fields and adds what the next hop must know.
//!
//! A request is rewritten before the script sees it, so that the script reads and changes exactly what is forwarded,
//! and nothing that an untrusted peer claims is believed.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::hop::{FORWARDING_FIELDS, HOP_BY_HOP, NEVER_FORWARDED, remove_hop_by_hop};
use super::id::{Id, Ids};
use super::trace;
use crate::http::{Fields, Name, RequestHead, ResponseHead, Scheme, Span, Version};

/// What is known about a request besides its head.
pub struct Inbound<'a> {
    /// Address of the peer, from the socket or a PROXY header. `None` on a Unix socket.
    pub peer: Option<&'a IpAddr>,
    /// The peer's forwarding fields are trusted.
    pub trusted: bool,
    /// Scheme of the request URI.
    pub scheme: Scheme,
    /// Pseudonym for `Via`, if one is to be added.
    pub via: Option<&'a [u8]>,
    /// A request without a valid `traceparent` gets one, and the trace's id as its own.
    pub trace: bool,
    /// Protocols that may be requested with `Upgrade`, in lower case.
    pub upgrades: &'a [String],
}

/// Rewrites a request's fields and sets its id.
pub fn request(head: &mut RequestHead, inbound: &Inbound<'_>, ids: &mut Ids, id: &mut Id) {
    if head.upgrade {
        head.upgrade = may_upgrade(&head.fields, inbound.upgrades);
    }
    // A balancer in front may forward what its client nominates (CVE-2022-31813), and so lose its own fields.
    remove_hop_by_hop(&mut head.fields, NEVER_FORWARDED, head.nominates && !inbound.trusted, head.upgrade);
    if !inbound.trusted {
        remove_claims(&mut head.fields);
    }
    // RFC 9110 section 10.1.1: an expectation in HTTP/1.0 is ignored, so it must not be forwarded as 1.1.
    if head.version == Version::Http10 && head.fields.has(Name::Expect) {
        head.fields.remove_where(|tag, _| tag == Name::Expect);
    }
    add(&mut head.fields, inbound, ids, id);
}

/// A tunnel for any other protocol would bypass every rule of the config; the request is forwarded without it.
fn may_upgrade(fields: &Fields, upgrades: &[String]) -> bool {
    let asked = fields.get(Name::Upgrade).unwrap_or_default();
    upgrades.iter().any(|protocol| asked.eq_ignore_ascii_case(protocol.as_bytes()))
}

/// Adds the forwarding fields.
#[inline(always)]
fn add(fields: &mut Fields, inbound: &Inbound<'_>, ids: &mut Ids, id: &mut Id) {
    if let (Some(peer), None, false) =
        (inbound.peer, inbound.via, inbound.trace | fields.has_any(FORWARDING_FIELDS))
        && let Some(host) = host_of(fields)
    {
        let made = ids.make();
        id.set(&made);
        return add_together(fields, peer, inbound.scheme, host, &made);
    }
    add_each(fields, inbound, ids, id);
}

fn add_each(fields: &mut Fields, inbound: &Inbound<'_>, ids: &mut Ids, id: &mut Id) {
    add_peer(fields, inbound.peer);
    add_scheme(fields, inbound.scheme);
    add_host(fields);
    if let Some(name) = inbound.via {
        let value = fields.store_all(&[b"1.1 ", name]);
        fields.append_copy(Name::Via, b"Via: ", value);
    }
    match inbound.trace {
        true => add_traced_id(fields, ids, id),
        false => add_id(fields, || ids.make(), id),
    }
}

/// Not inlined, as hardly anybody needs it.
#[inline(never)]
fn add_traced_id(fields: &mut Fields, ids: &mut Ids, id: &mut Id) {
    let trace = trace::take(fields, ids);
    add_id(fields, || trace, id);
}

/// The usual case, none of the fields exists yet: they are written in three pieces.
#[inline(always)]
fn add_together(fields: &mut Fields, peer: &IpAddr, scheme: Scheme, host: Span, id: &[u8; 32]) {
    const HOST: &[u8; 18] = b"X-Forwarded-Host: ";
    let mut block = PeerLine::NEW;
    block.put(peer);
    let peer_len = block.line().len();
    let scheme_len = match scheme {
        Scheme::Http => block.put_behind(b"X-Forwarded-Proto: http\r\nX-Forwarded-Host: "),
        Scheme::Https => block.put_behind(b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: "),
    } - HOST.len();
    fields.put(&block.bytes[..peer_len + scheme_len + HOST.len()]);
    fields.put_copy(host);
    let mut line = *b"\r\nX-Request-ID: 00000000000000000000000000000000\r\n";
    line[16..48].copy_from_slice(id);
    fields.put(&line);
    let host_len = HOST.len() + (host.end - host.start) as usize + 2;
    fields.add_lines([
        (Name::XForwardedFor, PeerLine::NAME, peer_len),
        (Name::XForwardedProto, 17, scheme_len),
        (Name::XForwardedHost, HOST.len() - 2, host_len),
        (Name::XRequestId, 12, line.len() - 2),
    ]);
}

/// Rewrites a final response's fields.
pub fn response(head: &mut ResponseHead, date: &[u8]) {
    remove_hop_by_hop(&mut head.fields, HOP_BY_HOP, head.nominates, head.status == 101);
    if !head.fields.has(Name::Date) {
        head.fields.append_tagged(Name::Date, b"Date", date);
    }
}

/// Rewrites an interim response's fields.
pub fn interim(head: &mut ResponseHead) {
    remove_hop_by_hop(&mut head.fields, HOP_BY_HOP, head.nominates, false);
}

fn remove_claims(fields: &mut Fields) {
    if fields.has_any(FORWARDING_FIELDS) {
        fields.remove_where(|tag, _| FORWARDING_FIELDS.has(tag));
    }
}

fn add_peer(fields: &mut Fields, peer: Option<&IpAddr>) {
    let Some(address) = peer else { return };
    let mut peer = PeerLine::NEW;
    peer.put(address);
    match fields.has(Name::XForwardedFor) {
        false => fields.append_pieces(Name::XForwardedFor, PeerLine::NAME, [peer.line()]),
        true => fields.join(Name::XForwardedFor, peer.ip()),
    }
}

fn add_scheme(fields: &mut Fields, scheme: Scheme) {
    if fields.has(Name::XForwardedProto) {
        return;
    }
    match scheme {
        Scheme::Http => fields.append_pieces(Name::XForwardedProto, 17, [b"X-Forwarded-Proto: http\r\n"]),
        Scheme::Https => fields.append_pieces(Name::XForwardedProto, 17, [b"X-Forwarded-Proto: https\r\n"]),
    }
}

fn add_host(fields: &mut Fields) {
    if fields.has(Name::XForwardedHost) {
        return;
    }
    if let Some(value) = host_of(fields) {
        fields.append_copy(Name::XForwardedHost, b"X-Forwarded-Host: ", value);
    }
}

fn host_of(fields: &Fields) -> Option<Span> {
    fields.list().iter().find(|f| f.tag == Name::Host).map(|f| f.value)
}

/// A trusted peer's id stays.
fn add_id(fields: &mut Fields, make: impl FnOnce() -> [u8; 32], id: &mut Id) {
    if let Some(given) = fields.get(Name::XRequestId).filter(|given| !given.is_empty()) {
        return id.set(given);
    }
    let made = make();
    match fields.has(Name::XRequestId) {
        false => fields.append_pieces(Name::XRequestId, 12, [b"X-Request-ID: ", &made, b"\r\n"]),
        true => fields.set(b"X-Request-ID", &made),
    }
    id.set(&made);
}

/// The `X-Forwarded-For` line of an address, made without allocating.
struct PeerLine {
    bytes: [u8; PeerLine::MAX + PeerLine::ROOM],
    end: usize,
}

impl PeerLine {
    /// Length of the name.
    const NAME: usize = PeerLine::START.len() - 2;
    const START: &[u8; 17] = b"X-Forwarded-For: ";

    /// Longest address: eight groups of four digits with separators.
    const MAX: usize = PeerLine::START.len() + 8 * 4 + 7 + 2;

    /// Space that `put_behind` may write to.
    const ROOM: usize = 44;

    /// Before an address is added.
    const NEW: PeerLine = {
        let (mut bytes, mut end) = ([0; PeerLine::MAX + PeerLine::ROOM], 0);
        while end < PeerLine::START.len() {
            bytes[end] = PeerLine::START[end];
            end += 1;
        }
        PeerLine { bytes, end }
    };

    #[inline(always)]
    fn put(&mut self, peer: &IpAddr) {
        match peer {
            IpAddr::V4(ip) => self.put_v4(*ip),
            IpAddr::V6(ip) => self.put_v6(*ip),
        }
        self.bytes[self.end..self.end + 2].copy_from_slice(b"\r\n");
    }

    #[inline(always)]
    fn put_v4(&mut self, ip: Ipv4Addr) {
        for octet in &ip.octets() {
            let text = OCTETS[*octet as usize];
            self.bytes[self.end..self.end + 8].copy_from_slice(&text);
            self.end += text[7] as usize;
        }
        self.end -= 1;
    }

    fn put_v6(&mut self, ip: Ipv6Addr) {
        if let Some(ip) = ip.to_ipv4_mapped() {
            return self.put_v4(ip);
        }
        let mut rest = &mut self.bytes[self.end..PeerLine::MAX];
        // Fits: an address that is not a mapped one has no IPv4 part as text.
        let _ = write!(rest, "{ip}");
        self.end = PeerLine::MAX - rest.len();
    }

    fn ip(&self) -> &[u8] {
        &self.bytes[PeerLine::START.len()..self.end]
    }

    fn line(&self) -> &[u8] {
        &self.bytes[..self.end + 2]
    }

    /// Writes after the line and returns the number of bytes.
    #[inline(always)]
    fn put_behind<const N: usize>(&mut self, more: &[u8; N]) -> usize {
        const { assert!(N <= PeerLine::ROOM) };
        self.bytes[self.end + 2..][..N].copy_from_slice(more);
        N
    }
}

const fn digit(n: usize) -> u8 {
    b'0' + (n % 10) as u8
}

/// Every octet as text followed by a dot, with its length in the last byte.
static OCTETS: [[u8; 8]; 256] = {
    let (mut texts, mut octet) = ([[0; 8]; 256], 0);
    while octet < 256 {
        texts[octet] = match octet {
            0..10 => [digit(octet), b'.', 0, 0, 0, 0, 0, 2],
            10..100 => [digit(octet / 10), digit(octet), b'.', 0, 0, 0, 0, 3],
            _ => [digit(octet / 100), digit(octet / 10), digit(octet), b'.', 0, 0, 0, 4],
        };
        octet += 1;
    }
    texts
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::MOST_OPTIONS;

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead { nominates: true, ..RequestHead::default() };
        for (name, value) in fields {
            head.fields.append(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn rewritten(fields: &[(&str, &str)], trusted: bool) -> Vec<String> {
        let mut head = head(fields);
        let peer = "192.0.2.7".parse().unwrap();
        let inbound = Inbound {
            peer: Some(&peer),
            trusted,
            scheme: Scheme::Http,
            via: None,
            upgrades: &[],
            trace: false,
        };
        let mut id = Id::default();
        request(&mut head, &inbound, &mut Ids::new(), &mut id);
        assert_eq!(head.fields.get(Name::XRequestId), Some(id.as_bytes()));
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        let shown = head.fields.iter().map(|(_, n, v)| format!("{}: {}", text(n), text(v)));
        shown.map(|l| if l.ends_with(&text(id.as_bytes())) { "X-Request-ID: ID".into() } else { l }).collect()
    }

    #[test]
    fn claims_of_untrusted_peers_are_replaced() {
        let fields = [
            ("Host", "a.example"),
            ("X-Forwarded-For", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("X-Forwarded-Host", "evil"),
            ("Forwarded", "for=6.6.6.6"),
            ("X-Request-ID", "mine"),
            ("traceparent", "00-1"),
        ];
        assert_eq!(
            rewritten(&fields, false),
            [
                "Host: a.example",
                "traceparent: 00-1",
                "X-Forwarded-For: 192.0.2.7",
                "X-Forwarded-Proto: http",
                "X-Forwarded-Host: a.example",
                "X-Request-ID: ID"
            ]
        );
    }

    #[test]
    fn claims_of_untrusted_peers_are_removed_in_every_spelling() {
        let fields = [
            ("Host", "a"),
            ("X_Forwarded_For", "6.6.6.6"),
            ("x-forwarded_proto", "https"),
            ("X_FORWARDED_HOST", "evil"),
            ("X_Request-Id", "mine"),
            ("X-Forwarded-Port", "443"),
            ("X_Forwarded_Server", "1"),
            ("X-Forwarded-Client-Cert-Of-Whomever", "1"),
            ("X-Real-IP", "6.6.6.6"),
            ("X_Real_IP", "6.6.6.6"),
            ("X_Forwarder", "stays"),
        ];
        let left = rewritten(&fields, false);
        assert_eq!(left[..3], ["Host: a", "X_Forwarder: stays", "X-Forwarded-For: 192.0.2.7"]);
        assert_eq!(left.len(), 6);
    }

    #[test]
    fn a_trusted_peer_may_claim_more_but_not_set_our_fields() {
        let fields = [
            ("Host", "a"),
            ("X_Forwarded_For", "6.6.6.6"),
            ("X_Request_ID", "mine"),
            ("X-Forwarded-Port", "443"),
            ("X_Forwarded_Server", "1"),
            ("X-Real-IP", "1.1.1.1"),
            ("X_Real_IP", "2.2.2.2"),
        ];
        assert_eq!(
            rewritten(&fields, true)[..6],
            [
                "Host: a",
                "X-Forwarded-Port: 443",
                "X_Forwarded_Server: 1",
                "X-Real-IP: 1.1.1.1",
                "X_Real_IP: 2.2.2.2",
                "X-Forwarded-For: 192.0.2.7",
            ]
        );
    }

    #[test]
    fn lookalikes_of_framing_and_proxy_are_always_removed() {
        let fields = [
            ("Host", "a"),
            ("Content_Length", "5"),
            ("Transfer_encoding", "chunked"),
            ("Keep_Alive", "5"),
            ("Proxy_Connection", "x"),
            ("Max_Forwards", "1"),
            ("Proxy", "http://evil"),
            ("Content_Type", "stays"),
        ];
        for trusted in [true, false] {
            let left = rewritten(&fields, trusted);
            assert_eq!(
                left[..3],
                ["Host: a", "Content_Type: stays", "X-Forwarded-For: 192.0.2.7"],
                "{trusted}"
            );
        }
    }

    #[test]
    fn a_trusted_peers_claims_are_kept_and_its_address_appended() {
        let fields = [
            ("Host", "a"),
            ("X-Forwarded-For", "1.1.1.1"),
            ("X-Forwarded-For", "2.2.2.2"),
            ("X-Forwarded-Proto", "https"),
            ("Forwarded", "for=1.1.1.1"),
            ("X-Forwarded-Host", "b"),
        ];
        assert_eq!(
            rewritten(&fields, true),
            [
                "Host: a",
                "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.7",
                "X-Forwarded-Proto: https",
                "Forwarded: for=1.1.1.1",
                "X-Forwarded-Host: b",
                "X-Request-ID: ID"
            ]
        );
        let mut head = head(&[("X-Request-ID", "theirs")]);
        let inbound = Inbound {
            peer: None,
            trusted: true,
            scheme: Scheme::Https,
            via: Some(b"edge"),
            upgrades: &[],
            trace: false,
        };
        let mut id = Id::default();
        request(&mut head, &inbound, &mut Ids::new(), &mut id);
        assert_eq!(id.as_bytes(), b"theirs");
        assert_eq!(head.fields.get(Name::Via), Some(&b"1.1 edge"[..]));
        assert!(!head.fields.has(Name::XForwardedFor), "a Unix socket has no address");
        assert_eq!(head.fields.get(Name::XForwardedProto), Some(&b"https"[..]));
    }

    #[test]
    fn hop_by_hop_fields_are_removed_and_nominated_ones_only_for_untrusted_peers() {
        let options =
            "close, X-Hop, Host, content-length, X-Forwarded-For, x-client-CN, Cookie, te, Traceparent";
        let fields = [
            ("Host", "a"),
            ("Connection", options),
            ("X-Hop", "1"),
            ("Content-Length", "0"),
            ("Keep-Alive", "5"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("Proxy-Connection", "x"),
            ("X-Client-CN", "alice"),
            ("cookie", "a=b"),
            ("traceparent", "00-1"),
        ];
        let connection = format!("Connection: {options}");
        let kept = ["Content-Length: 0", "X-Client-CN: alice", "cookie: a=b", "traceparent: 00-1"];
        let stranger = rewritten(&fields, false);
        assert_eq!(stranger[..2], ["Host: a", &connection]);
        assert_eq!(stranger[2..6], kept);
        assert_eq!(stranger[6], "X-Forwarded-For: 192.0.2.7");
        let trusted = rewritten(&fields, true);
        assert_eq!(trusted[..3], ["Host: a", &connection, "X-Hop: 1"]);
        assert_eq!(trusted[3..7], kept);
    }

    #[test]
    fn a_trusted_peers_connection_removes_none_of_its_fields() {
        let fields = [
            ("Host", "a"),
            ("X-Forwarded-For", "1.1.1.1"),
            ("X-Forwarded-Proto", "https"),
            ("X-Anything", "said by the balancer"),
            ("Connection", "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Anything, close"),
        ];
        let left = rewritten(&fields, true);
        for field in ["X-Forwarded-For: 1.1.1.1, 192.0.2.7", "X-Forwarded-Proto: https"] {
            assert!(left.contains(&field.to_string()), "{left:?}");
        }
        assert!(left.contains(&"X-Anything: said by the balancer".to_string()), "{left:?}");
    }

    #[test]
    fn every_allowed_option_can_nominate_a_field() {
        let names: Vec<String> = (0..MOST_OPTIONS).map(|n| format!("x-hop-{n}")).collect();
        let mut fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        let options = names.join(", ").to_uppercase();
        fields.insert(0, ("Connection", &options));
        fields.push(("Accept", "y"));
        let left = rewritten(&fields, false);
        assert_eq!(left[1..3], ["Accept: y", "X-Forwarded-For: 192.0.2.7"]);
    }

    /// The longest address as text.
    const LONGEST: &str = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

    #[test]
    fn addresses_are_written_as_the_standard_library_writes_them() {
        for ip in [
            "0.0.0.0",
            "127.0.0.1",
            "255.255.255.255",
            "10.100.9.99",
            "::1",
            "2001:db8::7",
            "::1.2.3.4",
            LONGEST,
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            let mut line = PeerLine::NEW;
            line.put(&ip);
            assert_eq!(line.ip(), ip.to_string().as_bytes());
        }
        let mut mapped = PeerLine::NEW;
        mapped.put(&"::ffff:1.2.3.4".parse().unwrap());
        assert_eq!(mapped.line(), b"X-Forwarded-For: 1.2.3.4\r\n");
    }

    #[test]
    fn fields_added_together_equal_fields_added_one_by_one() {
        for peer in ["192.0.2.7", "2001:db8::1234:5678"] {
            let peer = peer.parse().unwrap();
            for scheme in [Scheme::Http, Scheme::Https] {
                let (mut together, mut each) = (head(&[("Host", "a:8")]), head(&[("Host", "a:8")]));
                let inbound = Inbound {
                    peer: Some(&peer),
                    trusted: false,
                    scheme,
                    via: None,
                    upgrades: &[],
                    trace: false,
                };
                let mut ids = Ids::new();
                let (mut id, mut other) = (Id::default(), Id::default());
                add(&mut together.fields, &inbound, &mut ids.clone(), &mut id);
                add_each(&mut each.fields, &inbound, &mut ids, &mut other);
                assert_eq!(id.as_bytes(), other.as_bytes());
                assert_eq!(together.fields.bytes(), each.fields.bytes());
                assert_eq!(together.fields.list(), each.fields.list());
                assert_eq!(together.fields.get(Name::XRequestId), Some(id.as_bytes()));
                assert!(together.fields.is_serialized() && each.fields.is_serialized());
            }
        }
    }

    #[test]
    fn an_upgrade_is_forwarded_only_for_allowed_protocols() {
        for (asked, goes) in
            [("tcp", true), ("TCP", true), ("websocket", false), ("tcp/1", false), ("tc", false)]
        {
            let mut head = head(&[("Host", "a"), ("Upgrade", asked)]);
            head.upgrade = true;
            let upgrades = ["x".to_string(), "tcp".to_string()];
            let inbound = Inbound {
                peer: None,
                trusted: false,
                scheme: Scheme::Http,
                via: None,
                upgrades: &upgrades,
                trace: false,
            };
            request(&mut head, &inbound, &mut Ids::new(), &mut Id::default());
            assert_eq!((head.upgrade, head.fields.has(Name::Upgrade)), (goes, goes), "{asked}");
        }
    }

    #[test]
    fn an_expectation_of_http_10_is_not_forwarded() {
        for (version, goes) in [(Version::Http10, false), (Version::Http11, true)] {
            let mut head = head(&[("Host", "a"), ("Expect", "100-continue")]);
            head.version = version;
            let inbound = Inbound {
                peer: None,
                trusted: false,
                scheme: Scheme::Http,
                via: None,
                upgrades: &[],
                trace: false,
            };
            request(&mut head, &inbound, &mut Ids::new(), &mut Id::default());
            assert_eq!(head.fields.has(Name::Expect), goes);
        }
    }

    #[test]
    fn an_interim_response_loses_hop_by_hop_fields_and_gains_no_date() {
        let mut head = ResponseHead { status: 103, nominates: true, ..ResponseHead::default() };
        for (name, value) in [("Connection", "x-hop"), ("X-Hop", "1"), ("Keep-Alive", "5"), ("Link", "</a>")]
        {
            head.fields.append(name.as_bytes(), value.as_bytes());
        }
        interim(&mut head);
        assert_eq!(format!("{:?}", head.fields), r#"{"Connection": "x-hop", "Link": "</a>"}"#);
    }

    #[test]
    fn a_response_gains_a_date_only_where_it_has_none() {
        let mut head = ResponseHead::default();
        head.fields.append(b"Keep-Alive", b"timeout=5");
        response(&mut head, b"now");
        assert_eq!(format!("{:?}", head.fields), r#"{"Date": "now"}"#);
        response(&mut head, b"later");
        assert_eq!(head.fields.get(Name::Date), Some(&b"now"[..]));
    }
}
