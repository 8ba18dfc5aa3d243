//! Socket addresses of listeners and servers. An address of a server may be a name, which is resolved off the event
//! loops while rsp runs; an address of a listener never is.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An address to bind or connect to.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Address {
    Ip(SocketAddr),
    Unix(PathBuf),
    /// `app.internal:8080`: every address of the host is a server. Not an IP address.
    Name {
        host: String,
        port: u16,
    },
    /// `srv:_http._tcp.app.internal`, without the prefix: its records have hosts, ports, weights and priorities.
    Srv(String),
    /// `systemd:web`, without the prefix: listening sockets of that name that systemd has opened.
    Systemd(String),
}

impl Address {
    /// Whether it has to be resolved before anybody can connect.
    pub fn is_name(&self) -> bool {
        matches!(self, Address::Name { .. } | Address::Srv(_))
    }

    pub fn ip_and_port(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(*address),
            _ => None,
        }
    }

    /// The error of an attempt to use a name as if it were an address.
    pub fn not_resolved(&self) -> io::Error {
        io::Error::new(io::ErrorKind::NotFound, format!("{self} is not resolved"))
    }

    /// The error of an attempt to listen on what has no address of its own.
    pub fn not_bindable(&self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{self} is no address to bind"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Name { host, port } => write!(f, "{host}:{port}"),
            Address::Srv(name) => write!(f, "srv:{name}"),
            Address::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_they_are_written() {
        let name = Address::Name { host: "app.internal".into(), port: 8080 };
        for (address, text, is_name) in [
            (Address::Ip("[::1]:80".parse().unwrap()), "[::1]:80", false),
            (Address::Unix("/run/app.sock".into()), "unix:/run/app.sock", false),
            (name, "app.internal:8080", true),
            (Address::Srv("_http._tcp.app".into()), "srv:_http._tcp.app", true),
            (Address::Systemd("web".into()), "systemd:web", false),
        ] {
            assert_eq!((address.to_string().as_str(), address.is_name()), (text, is_name));
        }
    }

    #[test]
    fn a_name_that_is_used_unresolved_is_not_found() {
        let error = Address::Srv("_http._tcp.app".into()).not_resolved();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "srv:_http._tcp.app is not resolved");
    }
}
