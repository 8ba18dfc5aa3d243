//! Admission of new client connections.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::os_error::os_error;
use crate::exchange::Entrance;
use crate::net::{Either, Network};
use crate::worker::conn::client::{Arrival, ClientSide};
use crate::worker::conn::connection::Connection;
use crate::worker::core::Core;

impl<N: Network> Core<N> {
    /// Registers an accepted connection. Returns the client's key, or `None` if it was refused.
    pub fn accepted(&mut self, stream: N::Stream, address: Option<SocketAddr>) -> Option<u32> {
        let peer = self.peer(address);
        let counted = self.enter(peer)?;
        self.admit(stream, ClientSide::new(peer, Arrival::Direct, counted))
    }

    /// Marks a client whose first bytes have probably arrived: it is read without waiting for an event.
    pub fn mark_readable(&mut self, key: u32) {
        if let Some(client) = self.clients.get_mut(key) {
            client.readable = true;
            self.queue_client(key);
        }
    }

    /// Says what the listeners are called, by number.
    pub(crate) fn name_listeners(&mut self, names: Vec<Arc<str>>) {
        self.sites.handlers.borrow_mut().name_listeners(names.clone());
        self.listener_names = names;
    }

    /// Notes the number of a client's listener, and what it does besides accepting.
    pub fn set_listener(&mut self, key: u32, number: u8, entrance: Option<&Rc<Entrance>>) {
        if let Some(client) = self.clients.get_mut(key) {
            self.connections.moves(client.role.listener, number);
            client.role.listener = number;
            let listener = self.counters.listener(number);
            listener.connections.add(1);
            listener.accepted.add(1);
            if let Some(entrance) = entrance {
                if entrance.passes_through() && client.role.arrival == Arrival::Direct {
                    client.role.arrival = Arrival::Hello;
                }
                client.role.set_entrance(entrance.clone());
            }
        }
    }

    pub(crate) fn admit(&mut self, mut stream: N::Stream, role: ClientSide) -> Option<u32> {
        let token = self.clients.next_token();
        if let Err(error) = self.network.watch(&mut stream, token.to_bits()) {
            log::error!("cannot watch a new connection: {}", os_error(&error));
            self.per_client.leaves(&role);
            return None;
        }
        self.connections.enters(role.listener);
        let key = self.clients.insert(Connection::new(Either::Socket(stream), role, true, self.tools.now));
        self.watch_client(key);
        Some(key)
    }
}
