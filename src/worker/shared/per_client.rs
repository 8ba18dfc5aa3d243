//! Limits on connections per client address and on new ones per second; both off by default. IPv6 clients are counted
//! by /64, the usual allocation of one customer. Trusted proxies are not counted; the clients named in their PROXY
//! headers are. Connections over a limit are closed at once, unread, and counted.
//!
//! The table holds only addresses with connections or with new ones in the last second, and is bounded, so many
//! addresses cannot exhaust memory: when it is full, new addresses are admitted uncounted. It is shared by all workers,
//! since the limits are per process; its lock is taken per connection, and only if limits are set.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::counted::counted;
use crate::base::ip_port::IpPort;
use crate::base::log_limit::LogLimit;
use crate::config::PerClient;
use crate::exchange::Peer;
use crate::exchange::counters::ConnectionEnd;
use crate::net::Network;
use crate::worker::conn::client::ClientSide;
use crate::worker::core::Core;

const SECOND: u64 = 1_000_000;
/// Maximum number of addresses in the table.
const MOST_CLIENTS: usize = 65_536;

/// An IPv4 address, or the /64 of an IPv6 one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClientNetwork {
    Four(u32),
    Six(u64),
}

impl ClientNetwork {
    pub fn of(address: IpPort) -> ClientNetwork {
        match address.ip.to_canonical() {
            IpAddr::V4(ip) => ClientNetwork::Four(ip.to_bits()),
            IpAddr::V6(ip) => ClientNetwork::Six((ip.to_bits() >> 64) as u64),
        }
    }
}

/// One address's open connections and its rate limit, stored as the time when the full allowance is available again.
#[derive(Clone, Copy, Debug, Default)]
struct ClientEntry {
    connections: usize,
    free_at: u64,
}

/// A worker's handle to the shared table.
#[derive(Clone, Default)]
pub struct ClientCounts(Arc<Mutex<ClientTable>>);

#[derive(Default)]
struct ClientTable {
    entries: HashMap<ClientNetwork, ClientEntry>,
    swept: u64,
    refused: LogLimit,
}

impl ClientCounts {
    fn table(&self) -> MutexGuard<'_, ClientTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uncounts a client that closed or was not registered.
    pub fn leaves(&self, client: &ClientSide) {
        if let (true, Some(address)) = (client.counted, client.peer.address()) {
            self.table().leaves(ClientNetwork::of(address));
        }
    }
}

impl ClientTable {
    /// Counts a new connection: true if counted, false if the table is full, or the limit it exceeds.
    fn enters(&mut self, place: ClientNetwork, limits: &PerClient, now: u64) -> Result<bool, ConnectionEnd> {
        if !self.entries.contains_key(&place) && !self.has_room(now) {
            return Ok(false);
        }
        let entry = self.entries.entry(place).or_default();
        if limits.connections.is_some_and(|most| entry.connections >= most) {
            return Err(ConnectionEnd::TooMany);
        }
        if let Some(rate) = limits.new_a_second {
            let free_at = entry.free_at.max(now) + SECOND / u64::from(rate);
            // A whole second's allowance may be used in one burst.
            if free_at > now + SECOND {
                return Err(ConnectionEnd::TooOften);
            }
            entry.free_at = free_at;
        }
        entry.connections += 1;
        Ok(true)
    }

    fn leaves(&mut self, place: ClientNetwork) {
        if let Some(entry) = self.entries.get_mut(&place) {
            entry.connections = entry.connections.saturating_sub(1);
        }
    }

    /// Removes unused addresses if the table is full, at most once a second. Returns true if there is room.
    fn has_room(&mut self, now: u64) -> bool {
        if self.entries.len() >= MOST_CLIENTS && now >= self.swept + SECOND {
            self.swept = now;
            self.entries.retain(|_, entry| entry.connections > 0 || entry.free_at > now);
        }
        self.entries.len() < MOST_CLIENTS
    }
}

impl<N: Network> Core<N> {
    /// Admits a connection. Returns whether it is counted, or `None` if it exceeds a limit.
    pub(crate) fn enter(&mut self, peer: Peer) -> Option<bool> {
        let limits = self.sites.current.settings().per_client;
        let (Some(address), false, true) = (peer.address(), peer.trusted, limits.any()) else {
            return Some(false);
        };
        let entered = self.per_client.table().enters(ClientNetwork::of(address), &limits, self.tools.now);
        match entered {
            Ok(counted) => Some(counted),
            Err(end) => {
                self.counters.connection_ended(end);
                self.say_refused(end, address);
                None
            }
        }
    }

    fn say_refused(&self, end: ConnectionEnd, address: IpPort) {
        let due = self.per_client.table().refused.count(self.tools.now);
        if let Some(n) = due {
            let (word, ip) = (end.text(), address.ip.to_canonical());
            log::warn!(
                "{} closed by the limits for one client ({word}); the last was from {ip}",
                counted(n, "connection")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: PerClient = PerClient { connections: None, new_a_second: None };

    fn place(text: &str) -> ClientNetwork {
        ClientNetwork::of(IpPort::new(text.parse().unwrap(), 1))
    }

    #[test]
    fn ipv6_clients_count_by_64_and_mapped_ipv4_as_ipv4() {
        assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:1:2:3"));
        assert_ne!(place("2001:db8::1"), place("2001:db8:0:1::1"));
        assert_eq!(place("::ffff:10.0.0.1"), place("10.0.0.1"));
        assert_ne!(place("10.0.0.2"), place("10.0.0.1"));
    }

    #[test]
    fn a_closed_connection_makes_room_for_another() {
        let (mut per_client, a, b) = (ClientTable::default(), place("10.0.0.1"), place("10.0.0.2"));
        let limits = PerClient { connections: Some(2), ..NONE };
        let enters = |per_client: &mut ClientTable, place| per_client.enters(place, &limits, 0);
        assert_eq!(enters(&mut per_client, a), Ok(true));
        assert_eq!(enters(&mut per_client, a), Ok(true));
        assert_eq!(enters(&mut per_client, a), Err(ConnectionEnd::TooMany));
        assert_eq!(enters(&mut per_client, b), Ok(true));
        per_client.leaves(a);
        assert_eq!(enters(&mut per_client, a), Ok(true));
    }

    #[test]
    fn new_connections_are_limited_to_a_burst_and_then_a_rate() {
        let (mut per_client, a) = (ClientTable::default(), place("10.0.0.1"));
        let limits = PerClient { new_a_second: Some(4), ..NONE };
        let mut come = |now| (0..10).filter(|_| per_client.enters(a, &limits, now).is_ok()).count();
        assert_eq!(come(0), 4);
        assert_eq!(come(SECOND / 4), 1);
        assert_eq!(come(SECOND), 3);
        assert_eq!(come(100 * SECOND), 4);
    }

    #[test]
    fn the_table_is_bounded_and_drops_unused_addresses() {
        let mut per_client = ClientTable::default();
        let limits = PerClient { connections: Some(1), new_a_second: Some(1) };
        let many = MOST_CLIENTS as u32 + 100;
        let counted =
            |per_client: &mut ClientTable, n| per_client.enters(ClientNetwork::Four(n), &limits, 0).unwrap();
        assert_eq!((0..many).filter(|n| counted(&mut per_client, *n)).count(), MOST_CLIENTS);
        assert_eq!(per_client.enters(ClientNetwork::Four(7), &limits, 0), Err(ConnectionEnd::TooMany));
        for n in 0..many {
            per_client.leaves(ClientNetwork::Four(n));
        }
        assert!(per_client.enters(ClientNetwork::Four(many), &limits, 2 * SECOND).unwrap());
        assert_eq!(per_client.entries.len(), 1);
    }
}
