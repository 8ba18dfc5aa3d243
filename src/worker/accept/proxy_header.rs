//! Connections that come through a proxy which says by a PROXY header for whom: only from addresses that are
//! trusted, and nothing else is read before the header is whole. Whoever breaks that is closed without a word, and
//! counted; its log lines are limited, since anybody can try.

use std::net::SocketAddr;

use crate::base::counted::counted;
use crate::base::log_limit::LogLimit;
use crate::exchange::Peer;
use crate::exchange::counters::ConnectionEnd;
use crate::net::Network;
use crate::proxy::{self, OnBehalf};
use crate::worker::conn::client::{Arrival, ClientSide, NO_HEAD};
use crate::worker::core::{Core, Step};

/// Connections closed because of the PROXY protocol.
#[derive(Default)]
pub(crate) struct ProxyRefusals {
    untrusted: LogLimit,
    bad: LogLimit,
}

impl<N: Network> Core<N> {
    /// Takes a connection that was accepted on a listener with `proxy_protocol`.
    pub fn accepted_from_proxy(&mut self, stream: N::Stream, address: Option<SocketAddr>) -> Option<u32> {
        let peer = self.peer(address);
        if peer.trusted {
            return self.admit(stream, ClientSide::new(peer, Arrival::Awaited, false));
        }
        self.counters.connection_ended(ConnectionEnd::Proxy);
        if let Some(n) = self.proxy_refusals.untrusted.count(self.tools.now) {
            let from = shown(address);
            let connections = counted(n, "connection");
            log::warn!("proxy_protocol: {connections} refused: not in trusted; the last was from {from}");
        }
        None
    }

    /// Is the header there? The bytes behind it are the client's.
    pub(crate) fn read_proxy_header(&mut self, key: u32) -> Step {
        let client = &mut self.clients[key];
        match proxy::read(client.input.bytes()) {
            Ok(Some(header)) => {
                client.input.consume(&mut self.tools.blocks, header.consumed);
                // The time for the request's head begins with its own first byte.
                client.role.head_since = NO_HEAD;
                client.read_at = self.tools.now;
                if self.believe(key, header.on_behalf) { Step::Again } else { self.close_client(key) }
            }
            Ok(None) if client.eof && client.input.is_empty() => self.close_client(key),
            Ok(None) if client.eof => self.refuse_proxied(key, "cut PROXY header"),
            Ok(None) => self.more_of_head(key),
            Err(fault) => self.refuse_proxied(key, fault.text()),
        }
    }

    /// From here on the connection comes from where the header says, and counts there. False if that is one too
    /// many.
    fn believe(&mut self, key: u32, on_behalf: OnBehalf) -> bool {
        let said = match on_behalf {
            OnBehalf::Client { source, .. } => {
                let address = SocketAddr::new(source.ip().to_canonical(), source.port());
                Some(self.peer(Some(address)))
            }
            OnBehalf::Itself | OnBehalf::Unknown => None,
        };
        let role = &mut self.clients[key].role;
        role.arrival = match on_behalf {
            OnBehalf::Client { destination, .. } => {
                role.set_relayed(destination);
                Arrival::Relayed
            }
            OnBehalf::Itself | OnBehalf::Unknown => Arrival::Direct,
        };
        role.peer = said.unwrap_or(role.peer);
        // Somebody unknown stands behind the proxy: what he writes into his request is not the proxy's word.
        role.peer.trusted &= on_behalf != OnBehalf::Unknown;
        let Some(peer) = said else { return true };
        let entered = self.enter(peer);
        self.clients[key].role.counted = entered == Some(true);
        entered.is_some()
    }

    /// The header did not come in time.
    pub(crate) fn refuse_headless(&mut self, key: u32) -> Step {
        match self.clients.get(key).is_some_and(|client| client.input.is_empty()) {
            // As of every client that connects and says nothing.
            true => self.close_client(key),
            false => self.refuse_proxied(key, "late PROXY header"),
        }
    }

    fn refuse_proxied(&mut self, key: u32, why: &str) -> Step {
        self.counters.connection_ended(ConnectionEnd::Proxy);
        if let Some(n) = self.proxy_refusals.bad.count(self.tools.now) {
            let from = shown(self.clients.get(key).and_then(|client| client.role.peer.address()));
            let connections = counted(n, "connection");
            log::warn!("proxy_protocol: {connections} closed: {why}; the last was from {from}");
        }
        self.close_client(key)
    }

    pub(crate) fn peer(&self, address: Option<SocketAddr>) -> Peer {
        Peer::new(address, self.sites.current.settings().trusted.has(address))
    }
}

fn shown(address: Option<SocketAddr>) -> String {
    address.map_or("a unix socket".to_string(), |address| address.ip().to_canonical().to_string())
}
