//! An address without the scope and flow of IPv6, which would make each copy half as large again. Requests carry those
//! of their clients.

use std::fmt;
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::str::FromStr;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpPort {
    pub ip: IpAddr,
    pub port: u16,
}

impl IpPort {
    pub fn new(ip: IpAddr, port: u16) -> IpPort {
        IpPort { ip, port }
    }
}

impl From<SocketAddr> for IpPort {
    fn from(address: SocketAddr) -> IpPort {
        IpPort::new(address.ip(), address.port())
    }
}

impl From<IpPort> for SocketAddr {
    fn from(address: IpPort) -> SocketAddr {
        SocketAddr::new(address.ip, address.port)
    }
}

impl FromStr for IpPort {
    type Err = AddrParseError;
    fn from_str(text: &str) -> Result<IpPort, AddrParseError> {
        text.parse::<SocketAddr>().map(IpPort::from)
    }
}

impl fmt::Display for IpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}
