//! The script's `on_connect`: whether a client may connect at all. It is asked before anything is read, or straight after
//! the PROXY header that says who the client is.

use crate::base::counted::counted;
use crate::exchange::counters::ConnectionEnd;
use crate::net::Network;
use crate::worker::accept::proxy_header::shown;
use crate::worker::core::Core;

impl<N: Network> Core<N> {
    /// Returns false if the client is to be closed.
    #[inline]
    pub(crate) fn lets_in(&mut self, key: u32) -> bool {
        !self.sites.current.routes.config.on_connect || self.ask_on_connect(key)
    }

    /// Nobody gets past a function that fails.
    #[cold]
    fn ask_on_connect(&mut self, key: u32) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        let (address, listener) = (client.role.peer.address(), client.role.listener);
        let may = self.sites.handlers.borrow_mut().on_connect(address, listener);
        match may {
            Ok(true) => return true,
            Ok(false) => {
                if let Some(n) = self.connect_refusals.count(self.tools.now) {
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
