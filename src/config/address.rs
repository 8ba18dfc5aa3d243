//! A socket address that is ready to be bound or connected to.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Address {
    Ip(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
