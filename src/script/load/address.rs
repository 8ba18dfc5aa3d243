//! Addresses as an operator writes them: `HOST:PORT`, `[IPV6]:PORT`, `unix:PATH`. What is almost an address (a
//! URL, an IPv6 address without brackets, 256.1.1.1) gets an error of its own: the system's resolver would take
//! some of these for something else.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::super::source::Source;
use super::error::{Wrong, quoted};
use crate::config::{Address, later};

/// What the address is for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Side {
    /// Port 0 is any free port.
    Listener,
    Server,
}

/// Why a text is no address: it reads `WHAT in "TEXT", EXPECTED` in a config and `--backend TEXT: WHAT, EXPECTED`
/// on the command line.
#[derive(PartialEq, Debug)]
pub(super) struct Bad {
    /// Empty where the text itself says it.
    what: String,
    hint: String,
}

impl Bad {
    fn new(what: &str, expected: &str) -> Bad {
        Bad { what: what.to_owned(), hint: format!(", expected {expected}") }
    }

    pub(super) fn in_config(&self, text: &str) -> Wrong {
        match self.what.as_str() {
            "" => Wrong::new(format!("{}{}", quoted(text), self.hint)),
            what => Wrong::new(format!("{what} in {}{}", quoted(text), self.hint)),
        }
    }

    pub(super) fn on_command_line(&self, option: &str, text: &str) -> String {
        let text = if text.is_empty() { "\"\"" } else { text };
        match self.what.as_str() {
            "" => format!("{option} {text}{}", self.hint),
            what => format!("{option} {text}: {what}{}", self.hint),
        }
    }
}

/// An address before its host name is resolved.
#[derive(PartialEq, Debug)]
enum Written<'a> {
    Ip(SocketAddr),
    Host(&'a str, u16),
    Unix(PathBuf),
}

const FORMS: &str = "HOST:PORT or unix:PATH";
/// What fits into `sockaddr_un` with its closing NUL.
const PATH_MAX: usize = 107;

pub(super) fn resolve(text: &str, side: Side, source: &mut Source) -> Result<Address, Bad> {
    match parse(text, side)? {
        Written::Ip(address) => Ok(Address::Ip(address)),
        Written::Unix(path) => Ok(Address::Unix(path)),
        Written::Host(host, port) => match source.resolve(host, port) {
            Ok(address) => Ok(Address::Ip(address)),
            Err(reason) => Err(Bad { what: "host does not resolve".into(), hint: format!(": {reason}") }),
        },
    }
}

fn parse(text: &str, side: Side) -> Result<Written<'_>, Bad> {
    if text.is_empty() {
        return Err(Bad::new("missing address", FORMS));
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    let schemes = match side {
        Side::Listener => later::LISTENER_SCHEMES,
        Side::Server => later::SERVER_SCHEMES,
    };
    if schemes.iter().any(|scheme| text.starts_with(scheme)) {
        return Err(Bad { what: String::new(), hint: format!(": {}", later::LATER) });
    }
    if text.contains("://") {
        return Err(Bad::new("URL scheme", FORMS));
    }
    if text.starts_with('[') {
        return ipv6(text, side);
    }
    match text.split_once(':') {
        None => Err(Bad::new("missing port", FORMS)),
        Some((_, rest)) if rest.contains(':') => {
            Err(Bad::new("IPv6 address without brackets", "[IPV6]:PORT, such as [::1]:8080"))
        }
        Some((host, digits)) => host_and_port(host, port(digits, side)?),
    }
}

fn unix(path: &str) -> Result<Written<'_>, Bad> {
    match path.len() {
        0 => Err(Bad::new("missing path", "unix:PATH, such as unix:/run/app.sock")),
        1..=PATH_MAX => Ok(Written::Unix(PathBuf::from(path))),
        _ => Err(Bad::new("path too long", "at most 107 bytes after unix:")),
    }
}

fn ipv6(text: &str, side: Side) -> Result<Written<'_>, Bad> {
    const EXPECTED: &str = "[IPV6]:PORT, such as [::1]:8080";
    let Some((_, rest)) = text.split_once(']') else { return Err(Bad::new("missing bracket", EXPECTED)) };
    let Some(digits) = rest.strip_prefix(':') else { return Err(Bad::new("missing port", EXPECTED)) };
    port(digits, side)?;
    text.parse().map(Written::Ip).map_err(|_| Bad::new("bad IPv6 address", EXPECTED))
}

fn port(digits: &str, side: Side) -> Result<u16, Bad> {
    let (lowest, expected) = match side {
        Side::Listener => (0, "a port from 1 to 65535, or 0 for any free one"),
        Side::Server => (1, "a port from 1 to 65535"),
    };
    if digits.is_empty() {
        return Err(Bad::new("missing port", FORMS));
    }
    // u16's own reading takes a sign too.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| plain && *port >= lowest);
    port.ok_or_else(|| Bad::new("bad port", expected))
}

fn host_and_port(host: &str, port: u16) -> Result<Written<'_>, Bad> {
    if host.is_empty() || host == "*" {
        return Err(Bad::new("missing host", "HOST:PORT, such as 0.0.0.0:80 for every IPv4 address"));
    }
    if let Ok(ip) = host.parse() {
        return Ok(Written::Ip(SocketAddr::new(ip, port)));
    }
    // The last label of a name is never a number; the resolver would read "10.1" and "0x7f.1" as addresses.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    if last.starts_with(|c: char| c.is_ascii_digit())
        && last.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'x')
    {
        return Err(Bad::new(
            "bad IPv4 address",
            "four numbers from 0 to 255 and a port, such as 127.0.0.1:8080",
        ));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match host.chars().all(allowed) && host.len() <= 253 {
        true => Ok(Written::Host(host, port)),
        false => Err(Bad::new("bad host name", "letters, digits, \"-\" and \".\"")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn error(text: &str, side: Side) -> String {
        let mut source = Source::file(Path::new("site.lua"));
        resolve(text, side, &mut source).unwrap_err().in_config(text).line("listen")
    }

    #[test]
    fn every_form_of_address_is_read() {
        let ip = |text: &str| Ok(Written::Ip(text.parse().unwrap()));
        for side in [Side::Listener, Side::Server] {
            assert_eq!(parse("0.0.0.0:80", side), ip("0.0.0.0:80"));
            assert_eq!(parse("[::1]:8080", side), ip("[::1]:8080"));
            assert_eq!(parse("unix:/run/a b.sock", side), Ok(Written::Unix("/run/a b.sock".into())));
            assert_eq!(
                parse("app-1.my_net.internal:65535", side),
                Ok(Written::Host("app-1.my_net.internal", 65535))
            );
            assert_eq!(parse("3com:80", side), Ok(Written::Host("3com", 80)));
        }
        assert_eq!(parse("127.0.0.1:0", Side::Listener), ip("127.0.0.1:0"));
        assert_eq!(parse("[::]:0", Side::Listener), ip("[::]:0"));
    }

    #[test]
    fn a_host_name_is_resolved() {
        let mut source = Source::file(Path::new("site.lua"));
        let address = resolve("localhost:8080", Side::Listener, &mut source);
        assert_eq!(address, Ok(Address::Ip("127.0.0.1:8080".parse().unwrap())));
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
            assert_eq!(error(text, Side::Listener), format!("listen: {what} in \"{text}\", {expected}"));
        }
    }

    #[test]
    fn a_server_has_a_port_and_is_not_given_by_systemd() {
        assert_eq!(
            error("127.0.0.1:0", Side::Server),
            "listen: bad port in \"127.0.0.1:0\", expected a port from 1 to 65535"
        );
        assert_eq!(
            error("systemd:web", Side::Listener),
            "listen: \"systemd:web\": not supported by this version"
        );
        assert!(error("systemd:web", Side::Server).starts_with("listen: bad port in"));
    }

    #[test]
    fn a_unix_path_fits_into_its_socket_address() {
        assert!(parse(&format!("unix:{}", "a".repeat(107)), Side::Server).is_ok());
        let long = format!("unix:{}", "a".repeat(108));
        assert_eq!(
            parse(&long, Side::Server),
            Err(Bad::new("path too long", "at most 107 bytes after unix:"))
        );
    }

    #[test]
    fn a_name_that_does_not_resolve_is_an_error() {
        let name = format!("{}:80", "a".repeat(64));
        assert!(error(&name, Side::Server).contains("host does not resolve in \"aaa"));
    }

    #[test]
    fn the_command_line_reads_its_own_text() {
        let bad = parse("127.0.0.1", Side::Server).unwrap_err();
        let line = bad.on_command_line("--backend", "127.0.0.1");
        assert_eq!(line, "--backend 127.0.0.1: missing port, expected HOST:PORT or unix:PATH");
        assert!(bad.on_command_line("--listen", "").starts_with("--listen \"\": "));
    }
}
