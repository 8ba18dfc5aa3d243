//! Whose word is taken for who a client is: the networks of the proxies in front of us. Empty by default, since
//! anybody can write a header.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trusted {
    pub networks: Vec<IpNet>,
    /// Whoever may connect to a Unix socket of ours (`"unix:"`).
    pub unix: bool,
}

impl Trusted {
    /// Whether a connection from here is trusted. `None` is one on a Unix socket.
    pub fn has(&self, peer: Option<SocketAddr>) -> bool {
        peer.map_or(self.unix, |peer| self.has_ip(peer.ip()))
    }

    /// An IPv4 address written as an IPv6 one is that IPv4 address.
    pub fn has_ip(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(&ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_trusted_by_network_in_either_spelling_and_unix_sockets_by_their_word() {
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
            assert_eq!((trusted.has_ip(ip), trusted.has(Some((ip, 1).into()))), (is, is), "{ip}");
        }
        assert!(!trusted.has(None));
        assert!(Trusted { unix: true, ..trusted }.has(None));
        assert!(!Trusted::default().has(None) && !Trusted::default().has_ip([127, 0, 0, 1].into()));
    }
}
