//! Idle connections to servers: closes those of servers that take no more, and opens some before they are needed
//! (`min_idle`). Both are looked at once a second.

use std::io;
use std::rc::Rc;

use crate::balance::{Pool, ServerState};
use crate::net::{Network, Transport};
use crate::worker::backend::dial::ConnectMode;
use crate::worker::conn::backend::BackendState;
use crate::worker::conn::table::BackendKey;
use crate::worker::core::Core;

impl<N: Network> Core<N> {
    /// A second has begun.
    pub(crate) fn tick(&mut self, second: u64) {
        let site = self.sites.current.clone();
        let mut changed = false;
        for pool in &site.routes.pools {
            pool.requests.tick(second);
            pool.servers(self.tools.now).iter().for_each(|server| server.idle_limit.review(self.tools.now));
            changed |= pool.has_changed();
        }
        if changed {
            self.close_stale_idle();
        }
        for pool in site.routes.pools.iter().filter(|pool| pool.config.min_idle > 0) {
            self.open_idle(pool);
        }
    }

    /// Whether `tick` has something to do every second, requests or not.
    pub fn keeps_idle(&self) -> bool {
        self.sites.current.routes.pools.iter().any(|pool| pool.config.min_idle > 0)
    }

    fn open_idle(&mut self, pool: &Rc<Pool>) {
        // A PROXY header binds a connection to one client.
        if self.tools.draining || pool.config.send_proxy.is_some() {
            return;
        }
        let servers = pool.servers(self.tools.now).to_vec();
        for server in servers.iter().filter(|server| server.state() == ServerState::Up) {
            let have = server.idle.borrow().len() as u32 + server.opening.get();
            for _ in have..pool.config.min_idle {
                // The next request finds out what is wrong.
                let Ok(key) = self.open_connection(server, ConnectMode::Spare) else { break };
                server.opening.set(server.opening.get() + 1);
                self.backends[key].role.state = BackendState::Opening;
                self.watch_backend(key);
            }
        }
    }

    /// An event of a connection that is opened before it is needed.
    pub(crate) fn opening_event(&mut self, key: BackendKey) {
        let backend = &mut self.backends[key];
        if !backend.writable && !backend.hung_up {
            return;
        }
        match backend.stream.connect_result() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                backend.writable = false;
                return;
            }
            Err(_) => return self.close_backend(key),
        }
        match self.continue_server_handshake(key) {
            Some(Ok(true)) => self.keep_opened(key),
            Some(Ok(false)) => {}
            Some(Err(_)) => self.close_backend(key),
            None => self.queue_backend(key),
        }
    }

    fn keep_opened(&mut self, key: BackendKey) {
        let opening = &self.backends[key].role.server.opening;
        opening.set(opening.get().saturating_sub(1));
        self.keep_idle(key);
    }
}
