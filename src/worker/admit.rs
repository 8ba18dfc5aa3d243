//! A new client: let in, or not.

use std::net::SocketAddr;

use super::connection::Connection;
use super::core::Core;
use super::sides::{Arrival, ClientSide};
use crate::base::reason::reason;
use crate::net::Network;

impl<N: Network> Core<N> {
    /// Takes a connection that was accepted.
    pub fn accepted(&mut self, stream: N::Stream, address: Option<SocketAddr>) {
        let peer = self.peer(address);
        if let Some(counted) = self.enter(peer) {
            self.admit(stream, ClientSide::new(peer, Arrival::Direct, counted));
        }
    }

    pub(super) fn admit(&mut self, mut stream: N::Stream, role: ClientSide) {
        let token = self.clients.next_token();
        if let Err(error) = self.network.watch(&mut stream, token.to_bits()) {
            log::error!("cannot watch a new connection: {}", reason(&error));
            return self.crowd.leaves(&role);
        }
        let key = self.clients.insert(Connection::new(stream, role, true, self.now));
        self.watch_client(key);
    }
}
