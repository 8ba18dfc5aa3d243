//! Which network an address belongs to. Networks that lie within each other are cut into ranges that do not overlap, so
//! that the smallest one is found by one binary search.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks of both kinds, each with a number. An IPv4-mapped address counts as its IPv4 address.
#[derive(Default)]
pub struct Networks {
    four: Ranges<u32>,
    six: Ranges<u128>,
}

/// No network.
const NONE: u32 = u32::MAX;

#[derive(Default)]
struct Ranges<N> {
    /// Where each range begins; it goes on to the next one.
    starts: Vec<N>,
    networks: Vec<u32>,
}

impl Networks {
    /// Of two equal networks the first number counts.
    pub fn new(networks: impl Iterator<Item = (IpNet, u32)>) -> Networks {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for (network, number) in networks {
            match canonical(network) {
                IpNet::V4(net) => four.push((net.network().to_bits(), net.broadcast().to_bits(), number)),
                IpNet::V6(net) => six.push((net.network().to_bits(), net.broadcast().to_bits(), number)),
            }
        }
        Networks {
            four: Ranges::new(four, |n| n.checked_add(1)),
            six: Ranges::new(six, |n| n.checked_add(1)),
        }
    }

    pub fn find(&self, address: IpAddr) -> Option<u32> {
        match address.to_canonical() {
            IpAddr::V4(ip) => self.four.find(ip.to_bits()),
            IpAddr::V6(ip) => self.six.find(ip.to_bits()),
        }
    }
}

/// A network of IPv4-mapped addresses is one of IPv4.
pub fn canonical(network: IpNet) -> IpNet {
    let four = network.network().to_canonical();
    let prefix = network.prefix_len().checked_sub(96);
    match prefix.and_then(|prefix| IpNet::new(four, prefix).ok()) {
        Some(network) if four.is_ipv4() => network.trunc(),
        _ => network.trunc(),
    }
}

impl<N: Ord + Copy> Ranges<N> {
    /// First and last address of each network, and its number.
    fn new(mut networks: Vec<(N, N, u32)>, after: fn(N) -> Option<N>) -> Ranges<N> {
        // Larger ones first: those within them come after.
        networks.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)).then(a.2.cmp(&b.2)));
        networks.dedup_by(|next, kept| (next.0, next.1) == (kept.0, kept.1));
        let mut ranges = Ranges { starts: Vec::new(), networks: Vec::new() };
        let mut around: Vec<(N, u32)> = Vec::new();
        for (first, last, number) in networks {
            ranges.leave(&mut around, Some(first), after);
            ranges.begin(first, number);
            around.push((last, number));
        }
        ranges.leave(&mut around, None, after);
        ranges.starts.shrink_to_fit();
        ranges.networks.shrink_to_fit();
        ranges
    }

    /// Leaves the networks that end before this address, or all.
    fn leave(&mut self, around: &mut Vec<(N, u32)>, before: Option<N>, after: fn(N) -> Option<N>) {
        while let Some((last, _)) = around.last().copied() {
            if before.is_some_and(|before| before <= last) {
                return;
            }
            around.pop();
            if let Some(next) = after(last) {
                self.begin(next, around.last().map_or(NONE, |(_, number)| *number));
            }
        }
    }

    fn begin(&mut self, at: N, network: u32) {
        match self.starts.last() {
            Some(last) if *last == at => *self.networks.last_mut().unwrap_or(&mut 0) = network,
            _ => {
                self.starts.push(at);
                self.networks.push(network);
            }
        }
    }

    fn find(&self, address: N) -> Option<u32> {
        let at = self.starts.partition_point(|start| *start <= address).checked_sub(1)?;
        Some(self.networks[at]).filter(|network| *network != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(written: &[&str]) -> Networks {
        Networks::new(written.iter().map(|text| text.parse().unwrap()).zip(0..))
    }

    #[test]
    fn the_smallest_network_around_an_address_is_found() {
        let known = networks(&[
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.0/24",
            "10.1.255.0/24",
            "10.2.0.0/16",
            "255.255.255.255/32",
            "2001:db8::/32",
            "2001:db8:1::/48",
            "::ffff:192.0.2.0/120",
        ]);
        for (address, network) in [
            ("9.255.255.255", None),
            ("10.0.0.0", Some(0)),
            ("10.1.0.0", Some(1)),
            ("10.1.2.3", Some(2)),
            ("10.1.3.0", Some(1)),
            ("10.1.255.255", Some(3)),
            ("10.2.0.0", Some(4)),
            ("10.3.0.0", Some(0)),
            ("11.0.0.0", None),
            ("255.255.255.255", Some(5)),
            ("255.255.255.254", None),
            ("2001:db8::1", Some(6)),
            ("2001:db8:1::1", Some(7)),
            ("2001:db8:2::", Some(6)),
            ("::", None),
            ("::ffff:10.1.2.3", Some(2)),
            ("192.0.2.7", Some(8)),
        ] {
            assert_eq!(known.find(address.parse().unwrap()), network, "{address}");
        }
        assert_eq!(networks(&["0.0.0.0/0"]).find("1.2.3.4".parse().unwrap()), Some(0));
        assert_eq!(networks(&["0.0.0.0/0"]).find("::1".parse().unwrap()), None);
        assert_eq!(networks(&[]).find("1.2.3.4".parse().unwrap()), None);
    }

    #[test]
    fn it_agrees_with_asking_every_network() {
        let mut state = 3_u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 32) as u32
        };
        for _ in 0..50 {
            let nets: Vec<IpNet> = (0..40)
                .map(|_| {
                    let ip = std::net::Ipv4Addr::from_bits(next() & 0x0303_0303);
                    IpNet::new(ip.into(), (next() % 33) as u8).unwrap().trunc()
                })
                .collect();
            let known = Networks::new(nets.iter().copied().zip(0..));
            for _ in 0..500 {
                let ip = IpAddr::from(std::net::Ipv4Addr::from_bits(next() & 0x0707_0707));
                let best = nets.iter().filter(|net| net.contains(&ip)).max_by_key(|net| net.prefix_len());
                assert_eq!(known.find(ip).map(|at| nets[at as usize]), best.copied(), "{ip}");
            }
        }
    }
}
