//! How many connections one address may have, and how many new ones a second; both off by default. An IPv6 client
//! counts by its /64, which is what one customer is given. Trusted addresses are proxies and count not at all; the
//! clients a PROXY header names do. Whoever is over a limit is closed at once, unread, and counted.
//!
//! The table holds an entry only for who is here or came within the last second, and a bounded number of those, so
//! nobody can fill the memory from many addresses: where it is full, unknown ones are let in uncounted.
//! All workers share it, since the limits are the process's: behind a lock, which a new connection can afford. Without
//! limits nobody comes near it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::counted::counted;
use crate::base::log_limit::LogLimit;
use crate::config::PerClient;
use crate::exchange::Peer;
use crate::exchange::counters::ConnectionEnd;
use crate::net::Network;
use crate::worker::conn::client::ClientSide;
use crate::worker::core::Core;

const SECOND: u64 = 1_000_000;
/// Addresses known at one time.
const PLACES: usize = 65_536;

/// An IPv4 address, or the /64 of an IPv6 one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    Four(u32),
    Six(u64),
}

impl Place {
    pub fn of(address: SocketAddr) -> Place {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Place::Four(ip.to_bits()),
            IpAddr::V6(ip) => Place::Six((ip.to_bits() >> 64) as u64),
        }
    }
}

/// What one address has: connections now, and how much of its second's allowance is used up, as the time at which
/// all of it will be there again.
#[derive(Clone, Copy, Debug, Default)]
struct Presence {
    connections: usize,
    free_at: u64,
}

/// Who is here, in the hands of every worker.
#[derive(Clone, Default)]
pub struct ClientCounts(Arc<Mutex<Register>>);

#[derive(Default)]
struct Register {
    places: HashMap<Place, Presence>,
    swept: u64,
    refused: LogLimit,
}

impl ClientCounts {
    fn register(&self) -> MutexGuard<'_, Register> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client goes, or could not be taken in.
    pub fn leaves(&self, client: &ClientSide) {
        if let (true, Some(address)) = (client.counted, client.peer.address()) {
            self.register().leaves(Place::of(address));
        }
    }
}

impl Register {
    /// A new connection from there: counted (true), not counted, or one too many.
    fn enters(&mut self, place: Place, limits: &PerClient, now: u64) -> Result<bool, ConnectionEnd> {
        if !self.places.contains_key(&place) && !self.has_room(now) {
            return Ok(false);
        }
        let presence = self.places.entry(place).or_default();
        if limits.connections.is_some_and(|most| presence.connections >= most) {
            return Err(ConnectionEnd::TooMany);
        }
        if let Some(rate) = limits.new_a_second {
            let free_at = presence.free_at.max(now) + SECOND / u64::from(rate);
            // A whole second's allowance may come as one burst.
            if free_at > now + SECOND {
                return Err(ConnectionEnd::TooOften);
            }
            presence.free_at = free_at;
        }
        presence.connections += 1;
        Ok(true)
    }

    fn leaves(&mut self, place: Place) {
        if let Some(presence) = self.places.get_mut(&place) {
            presence.connections = presence.connections.saturating_sub(1);
        }
    }

    /// Forgets who is gone, not more often than every second.
    fn has_room(&mut self, now: u64) -> bool {
        if self.places.len() >= PLACES && now >= self.swept + SECOND {
            self.swept = now;
            self.places.retain(|_, presence| presence.connections > 0 || presence.free_at > now);
        }
        self.places.len() < PLACES
    }
}

impl<N: Network> Core<N> {
    /// May somebody come in from there? `Some` with whether that is counted.
    pub(crate) fn enter(&mut self, peer: Peer) -> Option<bool> {
        let limits = self.sites.current.settings().per_client;
        let (Some(address), false, true) = (peer.address(), peer.trusted, limits.any()) else {
            return Some(false);
        };
        let entered = self.per_client.register().enters(Place::of(address), &limits, self.tools.now);
        match entered {
            Ok(counted) => Some(counted),
            Err(end) => {
                self.counters.connection_ended(end);
                self.say_refused(end, address);
                None
            }
        }
    }

    fn say_refused(&self, end: ConnectionEnd, address: SocketAddr) {
        let due = self.per_client.register().refused.count(self.tools.now);
        if let Some(n) = due {
            let (word, ip) = (end.text(), address.ip().to_canonical());
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

    fn place(text: &str) -> Place {
        Place::of(SocketAddr::new(text.parse().unwrap(), 1))
    }

    #[test]
    fn an_ipv6_client_counts_by_its_64_bits_and_a_mapped_ipv4_one_as_itself() {
        assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:1:2:3"));
        assert_ne!(place("2001:db8::1"), place("2001:db8:0:1::1"));
        assert_eq!(place("::ffff:10.0.0.1"), place("10.0.0.1"));
        assert_ne!(place("10.0.0.2"), place("10.0.0.1"));
    }

    #[test]
    fn one_leaves_and_another_may_come() {
        let (mut per_client, a, b) = (Register::default(), place("10.0.0.1"), place("10.0.0.2"));
        let limits = PerClient { connections: Some(2), ..NONE };
        let enters = |per_client: &mut Register, place| per_client.enters(place, &limits, 0);
        assert_eq!(enters(&mut per_client, a), Ok(true));
        assert_eq!(enters(&mut per_client, a), Ok(true));
        assert_eq!(enters(&mut per_client, a), Err(ConnectionEnd::TooMany));
        assert_eq!(enters(&mut per_client, b), Ok(true));
        per_client.leaves(a);
        assert_eq!(enters(&mut per_client, a), Ok(true));
    }

    #[test]
    fn so_many_come_at_once_and_then_so_many_a_second() {
        let (mut per_client, a) = (Register::default(), place("10.0.0.1"));
        let limits = PerClient { new_a_second: Some(4), ..NONE };
        let mut come = |now| (0..10).filter(|_| per_client.enters(a, &limits, now).is_ok()).count();
        assert_eq!(come(0), 4);
        assert_eq!(come(SECOND / 4), 1);
        assert_eq!(come(SECOND), 3);
        assert_eq!(come(100 * SECOND), 4);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_is_gone() {
        let mut per_client = Register::default();
        let limits = PerClient { connections: Some(1), new_a_second: Some(1) };
        let many = PLACES as u32 + 100;
        let counted = |per_client: &mut Register, n| per_client.enters(Place::Four(n), &limits, 0).unwrap();
        assert_eq!((0..many).filter(|n| counted(&mut per_client, *n)).count(), PLACES);
        assert_eq!(per_client.enters(Place::Four(7), &limits, 0), Err(ConnectionEnd::TooMany));
        for n in 0..many {
            per_client.leaves(Place::Four(n));
        }
        assert!(per_client.enters(Place::Four(many), &limits, 2 * SECOND).unwrap());
        assert_eq!(per_client.places.len(), 1);
    }
}
