//! Connections to servers of pools with `send_proxy`. The PROXY header names the client, and the server attributes all
//! that follows to it, so such a connection is never used for another client. It stays idle with its client, is reused
//! for requests with the same announced address, and is closed with the client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use crate::config::ProxyVersion;
use crate::net::{Network, Transport};
use crate::proxy;
use crate::worker::conn::connection::OutputSink;
use crate::worker::conn::table::{BackendKey, ClientKey};
use crate::worker::core::Core;
use crate::worker::pair::Pair;
use crate::worker::pair::table::PairKey;

/// Idle connections kept per client, for a client that alternates between servers. The oldest is closed for a fifth.
pub const KEPT: usize = 4;

/// The client that a server connection belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dedicated {
    /// The client's connection.
    pub owner: ClientKey,
    /// The client's address as sent in the PROXY header.
    pub announced: Option<SocketAddr>,
}

/// Idle dedicated connections by their client's key. Kept outside of the clients, since most have none.
pub(crate) type Kept = HashMap<ClientKey, Vec<BackendKey>>;

impl<N: Network> Core<N> {
    /// Writes the PROXY header into a new connection's output.
    pub(crate) fn announce_client(&mut self, pair_key: PairKey, backend: BackendKey, version: ProxyVersion) {
        let pair = &self.pairs[pair_key];
        let client = &self.clients[pair.client];
        let announced = pair.exchange.client.map(SocketAddr::from);
        let backend = &mut self.backends[backend];
        let addresses = match announced {
            Some(source) => {
                let destination = client.role.relayed().or_else(|| client.stream.local_address());
                Some((source, destination.unwrap_or_else(|| unspecified(source))))
            }
            // Version 1 cannot say that a connection is made for nobody, and some servers refuse UNKNOWN.
            None if pair.is_inside() && version == ProxyVersion::V1 => {
                let own = backend.stream.local_address();
                own.zip(backend.role.server.endpoint().address.ip_and_port())
            }
            None => None,
        };
        backend.role.dedicated = Some(Box::new(Dedicated { owner: pair.client, announced }));
        if !backend.stream.is_established() {
            // It comes before the handshake.
            let mut header = Vec::new();
            proxy::write(version, addresses, &mut header);
            backend.stream.send_before_tls(&header);
            return;
        }
        let out = &mut OutputSink { output: &mut backend.output, blocks: &mut self.tools.blocks };
        proxy::write(version, addresses, out);
    }

    /// Returns this client's most recently idle connection to the server that was picked, if idle for at most `max_age`
    /// microseconds.
    pub(crate) fn take_kept(&mut self, pair_key: PairKey, max_age: u64) -> Option<BackendKey> {
        let Pair { client, exchange, server, .. } = &self.pairs[pair_key];
        let (owner, server) = (*client, server.as_ref()?);
        let wanted = Dedicated { owner, announced: exchange.client.map(SocketAddr::from) };
        let (backends, now) = (&self.backends, self.tools.now);
        let kept = self.kept.get_mut(&owner)?;
        let at = kept.iter().rposition(|key| {
            let role = &backends[*key].role;
            Rc::ptr_eq(&role.server, server)
                && role.dedicated.as_deref() == Some(&wanted)
                && now.saturating_sub(role.since) < max_age
        })?;
        Some(kept.remove(at))
    }

    /// Keeps an idle connection for its owner.
    pub(crate) fn keep(&mut self, key: BackendKey, owner: ClientKey) {
        let kept = self.kept.entry(owner).or_default();
        kept.push(key);
        if kept.len() > KEPT {
            let oldest = kept[0];
            self.close_backend(oldest);
        }
    }

    /// Forgets an idle connection that closed.
    pub(crate) fn forget_kept(&mut self, key: BackendKey, owner: ClientKey) {
        // The owner may have been removed already.
        if let Some(kept) = self.kept.get_mut(&owner) {
            kept.retain(|kept| *kept != key);
        }
    }

    /// Closes the connections kept for a client that closes.
    pub(crate) fn close_kept(&mut self, owner: ClientKey) {
        if self.kept.is_empty() {
            return;
        }
        for backend in self.kept.remove(&owner).unwrap_or_default() {
            self.close_backend(backend);
        }
    }
}

fn unspecified(like: SocketAddr) -> SocketAddr {
    let ip = match like.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 0)
}
