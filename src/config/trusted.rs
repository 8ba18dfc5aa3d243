//! Networks of the proxies in front of rsp, whose statements about the client are trusted. Empty by default, since
//! anybody can write a header.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::base::ip_port::IpPort;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trusted {
    pub networks: Vec<IpNet>,
    /// Peers on our Unix sockets are trusted (`"unix:"`).
    pub unix: bool,
}

impl Trusted {
    /// Whether a peer is trusted. `None` is a peer on a Unix socket.
    pub fn has(&self, peer: Option<IpPort>) -> bool {
        peer.map_or(self.unix, |peer| self.has_ip(peer.ip))
    }

    /// An IPv4-mapped address counts as its IPv4 address.
    pub fn has_ip(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(&ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_match_ipv4_mapped_addresses_and_unix_sockets_match_unix() {
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|n| n.parse().unwrap()).to_vec();
        let trusted = Trusted { networks, unix: false };
        for (ip, is) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
            ("::10.1.2.3", false),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!((trusted.has_ip(ip), trusted.has(Some(IpPort::new(ip, 1)))), (is, is), "{ip}");
        }
        assert!(!trusted.has(None));
        assert!(Trusted { unix: true, ..trusted }.has(None));
        assert!(!Trusted::default().has(None) && !Trusted::default().has_ip([127, 0, 0, 1].into()));
    }
}
