//! Admission of new client connections, and the script's word on it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::exchange::ListenerContext;
use crate::exchange::counters::ConnectionEnd;
use crate::net::{Either, Network};
use crate::worker::accept::proxy_header::shown;
use crate::worker::conn::client::{Arrival, ClientSide};
use crate::worker::conn::connection::Connection;
use crate::worker::conn::table::ClientKey;
use crate::worker::core::Core;

impl<N: Network> Core<N> {
    /// Registers an accepted connection. Returns the client's key, or `None` if it was refused.
    pub fn accepted(&mut self, stream: N::Stream, address: Option<SocketAddr>) -> Option<ClientKey> {
        let peer = self.peer(address);
        let counted = self.enter(peer)?;
        self.register_client(stream, ClientSide::new(peer, Arrival::Direct, counted))
    }

    /// Marks a client whose first bytes have probably arrived: it is read without waiting for an event.
    pub fn mark_readable(&mut self, key: ClientKey) {
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
    pub fn set_listener(&mut self, key: ClientKey, number: u8, context: Option<&Rc<ListenerContext>>) {
        if let Some(client) = self.clients.get_mut(key) {
            self.connections.moves(client.role.listener, number);
            client.role.listener = number;
            self.counters.listener(number).accepted.add(1);
            if let Some(context) = context {
                if context.passes_through() && client.role.arrival == Arrival::Direct {
                    client.role.arrival = Arrival::Hello;
                }
                client.role.set_listener_context(context.clone());
            }
        }
    }

    /// Gives a connection its key and its events. `None` if the kernel does not watch it.
    pub(crate) fn register_client(&mut self, mut stream: N::Stream, role: ClientSide) -> Option<ClientKey> {
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

    /// Asks the script's `on_connect`, before anything is read, or straight after the PROXY header that says who the client
    /// is. Returns false if the client is to be closed.
    #[inline]
    pub(crate) fn on_connect_allows(&mut self, key: ClientKey) -> bool {
        !self.sites.current.routes.config.on_connect || self.ask_on_connect(key)
    }

    /// Nobody gets past a function that fails.
    #[cold]
    fn ask_on_connect(&mut self, key: ClientKey) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        let (address, listener) = (client.role.peer.address(), client.role.listener);
        match self.guarded_on_connect(address, listener) {
            Ok(true) => return true,
            Ok(false) => {
                if let Some(n) = self.refusals.by_script.count(self.tools.now) {
                    let connections = counted(n, "connection");
                    log::info!("on_connect: {connections} closed; the last was from {}", shown(address));
                }
            }
            Err(error) => {
                self.tools.errors.log("on_connect", &error, " (the connection is closed)", self.tools.now);
            }
        }
        self.counters.connection_ended(ConnectionEnd::Script);
        false
    }
}
