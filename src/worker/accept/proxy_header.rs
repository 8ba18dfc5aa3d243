//! Connections that start with a PROXY header. They are accepted from trusted addresses only, and nothing else is read
//! until the header is complete. Violations close the connection without a response and are counted; logging is
//! rate-limited.

use std::net::SocketAddr;

use crate::base::counted::counted;
use crate::base::ip_port::IpPort;
use crate::base::log_limit::LogLimit;
use crate::exchange::Peer;
use crate::exchange::counters::ConnectionEnd;
use crate::net::{Network, Transport};
use crate::proxy::{self, OnBehalf};
use crate::worker::conn::client::{Arrival, ClientSide, NO_HEAD};
use crate::worker::conn::table::ClientKey;
use crate::worker::core::{Core, Step};

/// Rate limits for the log lines of connections closed because of the PROXY protocol, or by the script.
#[derive(Default)]
pub(crate) struct Refusals {
    untrusted: LogLimit,
    bad: LogLimit,
    pub(crate) by_script: LogLimit,
}

impl<N: Network> Core<N> {
    /// Registers a connection accepted on a listener with `proxy_protocol`. Returns the client's key.
    pub fn accepted_from_proxy(
        &mut self,
        stream: N::Stream,
        address: Option<SocketAddr>,
    ) -> Option<ClientKey> {
        let peer = self.peer(address);
        if peer.trusted {
            return self.register_client(stream, ClientSide::new(peer, Arrival::ExpectsProxyHeader, false));
        }
        self.counters.connection_ended(ConnectionEnd::Proxy);
        if let Some(n) = self.refusals.untrusted.count(self.tools.now) {
            let from = shown(address.map(IpPort::from));
            let connections = counted(n, "connection");
            log::warn!("proxy_protocol: {connections} refused: not in trusted; the last was from {from}");
        }
        None
    }

    /// Parses the PROXY header once it is complete. The bytes that follow belong to the client.
    pub(crate) fn read_proxy_header(&mut self, key: ClientKey) -> Step {
        let client = &mut self.clients[key];
        match proxy::read(client.input.bytes()) {
            Ok(Some(header)) => {
                client.input.consume(&mut self.tools.blocks, header.consumed);
                // The head timeout starts with the head's own first byte.
                client.role.head_since = NO_HEAD;
                client.read_at = self.tools.now;
                if self.apply_proxy_header(key, header.on_behalf) && self.on_connect_allows(key) {
                    self.after_header(key)
                } else {
                    self.close_client(key)
                }
            }
            Ok(None) if client.eof && client.input.is_empty() => self.close_client(key),
            Ok(None) if client.eof => self.refuse_proxied(key, "cut PROXY header"),
            Ok(None) => self.more_of_head(key),
            Err(fault) => self.refuse_proxied(key, fault.text()),
        }
    }

    /// What follows the header is a request, or the handshake that comes before one.
    fn after_header(&mut self, key: ClientKey) -> Step {
        let client = &mut self.clients[key];
        if client.role.listener_context().is_some_and(|context| context.passes_through()) {
            client.role.arrival = Arrival::Hello;
            return Step::Again;
        }
        match client.stream.start_tls(client.input.bytes()) {
            Ok(true) => client.input.clear(&mut self.tools.blocks),
            Ok(false) => {}
            Err(error) => return self.refuse_handshake(key, &error),
        }
        Step::Again
    }

    /// Applies the address from the header; the connection counts against that address's limits. Returns false if it
    /// exceeds them.
    fn apply_proxy_header(&mut self, key: ClientKey, on_behalf: OnBehalf) -> bool {
        let stated = match on_behalf {
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
                Arrival::Proxied
            }
            OnBehalf::Itself | OnBehalf::Unknown => Arrival::Direct,
        };
        role.peer = stated.unwrap_or(role.peer);
        // The client behind the proxy is unknown: its forwarding fields are not the proxy's.
        role.peer.trusted &= on_behalf != OnBehalf::Unknown;
        let Some(peer) = stated else { return true };
        let entered = self.enter(peer);
        self.clients[key].role.counted = entered == Some(true);
        entered.is_some()
    }

    /// The PROXY header did not arrive in time.
    pub(crate) fn proxy_header_timeout(&mut self, key: ClientKey) -> Step {
        match self.clients.get(key).is_some_and(|client| client.input.is_empty()) {
            // Closed like any client that sends nothing.
            true => self.close_client(key),
            false => self.refuse_proxied(key, "late PROXY header"),
        }
    }

    fn refuse_proxied(&mut self, key: ClientKey, why: &str) -> Step {
        self.counters.connection_ended(ConnectionEnd::Proxy);
        if let Some(n) = self.refusals.bad.count(self.tools.now) {
            let from = shown(self.clients.get(key).and_then(|client| client.role.peer.address()));
            let connections = counted(n, "connection");
            log::warn!("proxy_protocol: {connections} closed: {why}; the last was from {from}");
        }
        self.close_client(key)
    }

    pub(crate) fn peer(&self, address: Option<SocketAddr>) -> Peer {
        let address = address.map(IpPort::from);
        Peer::new(address, self.sites.current.settings().trusted.has(address))
    }
}

pub(crate) fn shown(address: Option<IpPort>) -> String {
    address.map_or("a unix socket".to_string(), |address| address.ip.to_canonical().to_string())
}
