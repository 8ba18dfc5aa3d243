//! Parses addresses: `HOST:PORT`, `[IPV6]:PORT`, `unix:PATH`, of listeners also `systemd:NAME`. Near misses (a URL, an IPv6 address without brackets,
//! 256.1.1.1) get an error of their own: the system's resolver would misinterpret some of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::super::source::Source;
use super::error::{ValueError, quoted};
use crate::config::Address;

/// The purpose of an address.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum AddressUse {
    /// Port 0 is any free port.
    Listener,
    Server,
}

/// Why a text is not an address: rendered as `WHAT in "TEXT", EXPECTED` in a config and `--backend TEXT: WHAT,
/// EXPECTED` on the command line.
#[derive(PartialEq, Debug)]
pub(super) struct AddressError {
    what: String,
    hint: String,
}

impl AddressError {
    fn new(what: &str, expected: &str) -> AddressError {
        AddressError { what: what.to_owned(), hint: format!(", expected {expected}") }
    }

    pub(super) fn in_config(&self, text: &str) -> ValueError {
        ValueError::new(format!("{} in {}{}", self.what, quoted(text), self.hint))
    }

    pub(super) fn on_command_line(&self, option: &str, text: &str) -> String {
        let text = if text.is_empty() { "\"\"" } else { text };
        format!("{option} {text}: {}{}", self.what, self.hint)
    }
}

const FORMS: &str = "HOST:PORT or unix:PATH";
/// Capacity of `sockaddr_un` without its NUL.
pub(super) const PATH_MAX: usize = 107;

/// The address of a listener; a host name is resolved at once.
pub(super) fn listener_address(text: &str, source: &mut Source) -> Result<Address, AddressError> {
    if let Some(name) = text.strip_prefix("systemd:") {
        return passed(name);
    }
    match parse(text, AddressUse::Listener)? {
        Address::Name { host, port } => source.resolve(&host, port).map(Address::Ip).map_err(|reason| {
            AddressError { what: "host does not resolve".into(), hint: format!(": {reason}") }
        }),
        address => Ok(address),
    }
}

/// An address without a name to look up, but `localhost`.
pub(super) fn fixed_address(text: &str) -> Result<Address, AddressError> {
    match parse(text, AddressUse::Listener)? {
        Address::Name { host, port } if host == "localhost" => {
            Ok(Address::Ip((Ipv4Addr::LOCALHOST, port).into()))
        }
        Address::Name { .. } => Err(AddressError::new("name", "an IP address with a port, or unix:PATH")),
        address => Ok(address),
    }
}

/// The name of sockets that systemd passes: up to 255 bytes without control characters and ":" (systemd.socket(5)).
fn passed(name: &str) -> Result<Address, AddressError> {
    const EXPECTED: &str = "systemd:NAME with the FileDescriptorName= of a socket unit, such as systemd:web";
    let fits = name.len() <= 255 && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b':');
    match name.is_empty() {
        true => Err(AddressError::new("missing name", EXPECTED)),
        false if fits => Ok(Address::Systemd(name.to_owned())),
        false => Err(AddressError::new("bad name", EXPECTED)),
    }
}

/// The address of a server; a host name stays one.
pub(super) fn server_address(text: &str) -> Result<Address, AddressError> {
    match (text.strip_prefix("srv:"), text.strip_prefix(HTTPS)) {
        (Some(name), _) => service(name),
        (None, Some(rest)) => secure(rest),
        (None, None) => parse(text, AddressUse::Server),
    }
}

/// The prefix of a server that is spoken to with TLS.
pub(super) const HTTPS: &str = "https://";

/// Without a port it is 443.
fn secure(rest: &str) -> Result<Address, AddressError> {
    const EXPECTED: &str = "https://HOST or https://HOST:PORT";
    if rest.contains('/') || rest.starts_with("unix:") {
        return Err(AddressError::new("more than a host and a port", EXPECTED));
    }
    let host = rest.rsplit_once(']').map_or(rest, |(_, behind)| behind);
    match host.contains(':') {
        false if !rest.is_empty() => parse(&format!("{rest}:443"), AddressUse::Server),
        _ => parse(rest, AddressUse::Server),
    }
}

/// The name of SRV records, which have the ports (RFC 2782).
fn service(name: &str) -> Result<Address, AddressError> {
    const EXPECTED: &str = "srv:NAME without a port, such as srv:_http._tcp.app.internal";
    match name.is_empty() {
        true => Err(AddressError::new("missing name", EXPECTED)),
        false if is_host_name(name) => Ok(Address::Srv(name.to_owned())),
        false => Err(AddressError::new("bad name", EXPECTED)),
    }
}

fn parse(text: &str, side: AddressUse) -> Result<Address, AddressError> {
    if text.is_empty() {
        return Err(AddressError::new("missing address", FORMS));
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    if text.contains("://") {
        return Err(AddressError::new("URL scheme", FORMS));
    }
    if text.starts_with('[') {
        return ipv6(text, side);
    }
    match text.split_once(':') {
        None => Err(AddressError::new("missing port", FORMS)),
        Some((_, rest)) if rest.contains(':') => {
            Err(AddressError::new("IPv6 address without brackets", "[IPV6]:PORT, such as [::1]:8080"))
        }
        Some((host, digits)) => host_and_port(host, port(digits, side)?),
    }
}

fn unix(path: &str) -> Result<Address, AddressError> {
    match path.len() {
        0 => Err(AddressError::new("missing path", "unix:PATH, such as unix:/run/app.sock")),
        1..=PATH_MAX => Ok(Address::Unix(PathBuf::from(path))),
        _ => Err(AddressError::new("path too long", "at most 107 bytes after unix:")),
    }
}

fn ipv6(text: &str, side: AddressUse) -> Result<Address, AddressError> {
    const EXPECTED: &str = "[IPV6]:PORT, such as [::1]:8080";
    let Some((_, rest)) = text.split_once(']') else {
        return Err(AddressError::new("missing bracket", EXPECTED));
    };
    let Some(digits) = rest.strip_prefix(':') else {
        return Err(AddressError::new("missing port", EXPECTED));
    };
    port(digits, side)?;
    text.parse().map(Address::Ip).map_err(|_| AddressError::new("bad IPv6 address", EXPECTED))
}

fn port(digits: &str, side: AddressUse) -> Result<u16, AddressError> {
    let (lowest, expected) = match side {
        AddressUse::Listener => (0, "a port from 1 to 65535, or 0 for any free one"),
        AddressUse::Server => (1, "a port from 1 to 65535"),
    };
    if digits.is_empty() {
        return Err(AddressError::new("missing port", FORMS));
    }
    // u16's own parser accepts a sign too.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| plain && *port >= lowest);
    port.ok_or_else(|| AddressError::new("bad port", expected))
}

fn host_and_port(host: &str, port: u16) -> Result<Address, AddressError> {
    if host.is_empty() || host == "*" {
        return Err(AddressError::new(
            "missing host",
            "HOST:PORT, such as 0.0.0.0:80 for every IPv4 address",
        ));
    }
    if let Ok(ip) = host.parse() {
        return Ok(Address::Ip(SocketAddr::new(ip, port)));
    }
    // The last label of a name is never a number; the resolver would accept "10.1" and "0x7f.1" as addresses.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    if last.starts_with(|c: char| c.is_ascii_digit())
        && last.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'x')
    {
        return Err(AddressError::new(
            "bad IPv4 address",
            "four numbers from 0 to 255 and a port, such as 127.0.0.1:8080",
        ));
    }
    match is_host_name(host) {
        true => Ok(Address::Name { host: host.to_owned(), port }),
        false => Err(AddressError::new("bad host name", "letters, digits, \"-\" and \".\"")),
    }
}

/// Labels of 1 to 63 bytes (RFC 1035 section 2.3.4), perhaps with a dot at the end.
fn is_host_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(allowed);
    let labels = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && labels.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn error(text: &str, side: AddressUse) -> String {
        let address = match side {
            AddressUse::Listener => listener_address(text, &mut Source::file(Path::new("site.lua"))),
            AddressUse::Server => server_address(text),
        };
        address.unwrap_err().in_config(text).line("listen")
    }

    #[test]
    fn every_form_of_address_is_parsed() {
        let ip = |text: &str| Ok(Address::Ip(text.parse().unwrap()));
        for side in [AddressUse::Listener, AddressUse::Server] {
            assert_eq!(parse("0.0.0.0:80", side), ip("0.0.0.0:80"));
            assert_eq!(parse("[::1]:8080", side), ip("[::1]:8080"));
            assert_eq!(parse("unix:/run/a b.sock", side), Ok(Address::Unix("/run/a b.sock".into())));
            for (host, port) in [("app-1.my_net.internal", 65535), ("3com", 80), ("app.internal.", 80)] {
                let name = Address::Name { host: host.into(), port };
                assert_eq!(parse(&format!("{host}:{port}"), side), Ok(name));
            }
        }
        assert_eq!(parse("127.0.0.1:0", AddressUse::Listener), ip("127.0.0.1:0"));
        assert_eq!(parse("[::]:0", AddressUse::Listener), ip("[::]:0"));
    }

    #[test]
    fn the_name_of_a_listener_is_resolved_and_that_of_a_server_is_not() {
        let mut source = Source::file(Path::new("site.lua"));
        let address = listener_address("localhost:8080", &mut source);
        assert_eq!(address, Ok(Address::Ip("127.0.0.1:8080".parse().unwrap())));
        let name = Address::Name { host: "localhost".into(), port: 8080 };
        assert_eq!(server_address("localhost:8080"), Ok(name));
    }

    #[test]
    fn a_service_has_a_name_and_no_port() {
        let name = "_http._tcp.app.internal";
        assert_eq!(server_address(&format!("srv:{name}")), Ok(Address::Srv(name.into())));
        let form = "expected srv:NAME without a port, such as srv:_http._tcp.app.internal";
        for (text, what) in [
            ("srv:", "missing name"),
            ("srv:app:80", "bad name"),
            ("srv:a b", "bad name"),
            ("srv:a..b", "bad name"),
        ] {
            assert_eq!(error(text, AddressUse::Server), format!("listen: {what} in \"{text}\", {form}"));
        }
        assert!(error("srv:app", AddressUse::Listener).contains("bad port"), "listeners have none");
    }

    #[test]
    fn bad_addresses_say_what_is_wrong_and_what_was_expected() {
        let forms = "expected HOST:PORT or unix:PATH";
        let any = "expected a port from 1 to 65535, or 0 for any free one";
        let six = "expected [IPV6]:PORT, such as [::1]:8080";
        for (text, what, expected) in [
            ("", "missing address", forms),
            ("127.0.0.1", "missing port", forms),
            ("127.0.0.1:", "missing port", forms),
            ("localhost", "missing port", forms),
            ("8080", "missing port", forms),
            ("http://127.0.0.1:80", "URL scheme", forms),
            ("127.0.0.1:65536", "bad port", any),
            ("127.0.0.1:-1", "bad port", any),
            ("127.0.0.1:+1", "bad port", any),
            ("127.0.0.1:http", "bad port", any),
            (":80", "missing host", "expected HOST:PORT, such as 0.0.0.0:80 for every IPv4 address"),
            ("*:80", "missing host", "expected HOST:PORT, such as 0.0.0.0:80 for every IPv4 address"),
            ("::1:80", "IPv6 address without brackets", six),
            ("[::1]", "missing port", six),
            ("[::1:80", "missing bracket", six),
            ("[::g]:80", "bad IPv6 address", six),
            (
                "256.1.1.1:80",
                "bad IPv4 address",
                "expected four numbers from 0 to 255 and a port, such as 127.0.0.1:8080",
            ),
            (
                "10.1:80",
                "bad IPv4 address",
                "expected four numbers from 0 to 255 and a port, such as 127.0.0.1:8080",
            ),
            (
                "0x7f000001:80",
                "bad IPv4 address",
                "expected four numbers from 0 to 255 and a port, such as 127.0.0.1:8080",
            ),
            ("a b:80", "bad host name", "expected letters, digits, \"-\" and \".\""),
            ("unix:", "missing path", "expected unix:PATH, such as unix:/run/app.sock"),
        ] {
            assert_eq!(
                error(text, AddressUse::Listener),
                format!("listen: {what} in \"{text}\", {expected}")
            );
        }
    }

    #[test]
    fn a_server_has_a_port_and_is_not_given_by_systemd() {
        assert_eq!(
            error("127.0.0.1:0", AddressUse::Server),
            "listen: bad port in \"127.0.0.1:0\", expected a port from 1 to 65535"
        );
        assert!(error("systemd:web", AddressUse::Server).starts_with("listen: bad port in"));
    }

    #[test]
    fn a_listener_may_name_sockets_of_systemd() {
        let read = |text: &str| listener_address(text, &mut Source::file(Path::new("site.lua")));
        for name in ["web", "rsp.socket", "web 2"] {
            assert_eq!(read(&format!("systemd:{name}")), Ok(Address::Systemd(name.into())));
        }
        let form = "expected systemd:NAME with the FileDescriptorName= of a socket unit, such as systemd:web";
        for (text, what) in
            [("systemd:", "missing name"), ("systemd:a:b", "bad name"), ("systemd:ä", "bad name")]
        {
            assert_eq!(error(text, AddressUse::Listener), format!("listen: {what} in \"{text}\", {form}"));
        }
    }

    #[test]
    fn a_unix_path_fits_into_its_socket_address() {
        assert!(parse(&format!("unix:{}", "a".repeat(107)), AddressUse::Server).is_ok());
        let long = format!("unix:{}", "a".repeat(108));
        assert_eq!(
            parse(&long, AddressUse::Server),
            Err(AddressError::new("path too long", "at most 107 bytes after unix:"))
        );
    }

    #[test]
    fn the_labels_of_a_name_have_one_to_63_bytes() {
        let label = "a".repeat(63);
        assert!(server_address(&format!("{label}.b:80")).is_ok());
        for name in [format!("{label}a.b"), "a..b".into(), ".a".into(), "a..".into(), [&*label; 4].join(".")]
        {
            let error = error(&format!("{name}:80"), AddressUse::Server);
            assert!(error.starts_with("listen: bad host name in "), "{error}");
        }
    }

    #[test]
    fn the_name_of_a_listener_that_does_not_resolve_is_an_error() {
        let mut source = Source::file(Path::new("site.lua"));
        source.know("edge.internal", 80, Err("no such name".into()));
        let error = listener_address("edge.internal:80", &mut source).unwrap_err();
        assert_eq!(
            error.in_config("edge.internal:80").line("listen"),
            "listen: host does not resolve in \"edge.internal:80\": no such name"
        );
    }

    #[test]
    fn command_line_errors_name_the_option() {
        let bad = parse("127.0.0.1", AddressUse::Server).unwrap_err();
        let line = bad.on_command_line("--backend", "127.0.0.1");
        assert_eq!(line, "--backend 127.0.0.1: missing port, expected HOST:PORT or unix:PATH");
        assert!(bad.on_command_line("--listen", "").starts_with("--listen \"\": "));
    }
}
