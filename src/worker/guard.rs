//! Contains panics: everything done for a connection, on an event or a timer, and every function of the script, runs
//! inside these calls, and a panic there closes only the connections involved. A panic outside of them ends the worker.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::base::ip_port::IpPort;
use crate::net::Network;
use crate::script::ScriptError;
use crate::worker::conn::table::{BackendKey, ClientKey, ClientToken, ConnectionKey};
use crate::worker::core::Core;

impl<N: Network> Core<N> {
    /// Runs the turns of these connections. After a panic in one of them the rest still run.
    pub(crate) fn guarded_turns(&mut self, turning: &[ConnectionKey]) {
        let (mut rest, mut client) = (turning.iter(), None);
        loop {
            let turns = AssertUnwindSafe(|| {
                for key in rest.by_ref() {
                    client = None;
                    self.turn(*key, &mut client);
                }
            });
            if catch_unwind(turns).is_ok() {
                return;
            }
            let key = turning[turning.len() - rest.len() - 1];
            self.clear_up(key, client);
        }
    }

    /// Runs a connection's timer.
    pub(crate) fn guarded_timer(&mut self, key: ConnectionKey) {
        let client = match key {
            ConnectionKey::Client(client) => Some(client),
            ConnectionKey::Backend(backend) => self.client_of(backend),
        };
        let timer = AssertUnwindSafe(|| match key {
            ConnectionKey::Client(client) => self.client_timer(client),
            ConnectionKey::Backend(backend) => self.backend_timer(backend),
        });
        if catch_unwind(timer).is_err() {
            self.clear_up(key, client);
        }
    }

    /// Continues this connection's request, which has waited.
    pub(crate) fn guarded_resume(&mut self, client: ClientToken, resume: impl FnOnce(&mut Core<N>)) {
        if self.clients.by_token(client).is_none() {
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| resume(self))).is_err() {
            self.clear_up(ConnectionKey::Client(client.key), Some(client.key));
        }
    }

    /// Runs a function of the script that belongs to no request, or continues it.
    pub(crate) fn guarded_task(&mut self, run: impl FnOnce(&mut Core<N>)) {
        if catch_unwind(AssertUnwindSafe(|| run(self))).is_err() {
            log::error!("internal fault while a function of on_start or rsp.every ran: it ends there");
        }
    }

    /// Asks the script whether a client may connect.
    pub(crate) fn guarded_on_connect(
        &mut self,
        address: Option<IpPort>,
        listener: u8,
    ) -> Result<bool, ScriptError> {
        let ask = AssertUnwindSafe(|| self.sites.handlers.borrow_mut().on_connect(address, listener));
        catch_unwind(ask).unwrap_or_else(|_| Err(ScriptError("internal fault of rsp".into())))
    }

    /// Runs a drain's moment for a client.
    pub(crate) fn guarded_closing(&mut self, key: ClientKey) {
        let closing = AssertUnwindSafe(|| self.close_unless_busy(key));
        if catch_unwind(closing).is_err() {
            self.clear_up(ConnectionKey::Client(key), Some(key));
        }
    }

    /// Continues a client's handshake.
    pub(crate) fn guarded_handshake(&mut self, key: ClientKey) {
        let handshake = AssertUnwindSafe(|| self.continue_handshake(key));
        if catch_unwind(handshake).is_err() {
            self.clear_up(ConnectionKey::Client(key), Some(key));
        }
    }

    /// Returns the client that this backend is serving.
    pub(crate) fn client_of(&self, backend: BackendKey) -> Option<ClientKey> {
        let pair = self.backends.get(backend)?.role.pair?;
        Some(self.pairs.get(pair)?.client)
    }

    fn clear_up(&mut self, key: ConnectionKey, client: Option<ClientKey>) {
        log::error!("internal fault while serving a client: its connection is closed");
        if let Some(client) = client {
            self.abandon(client);
        }
        // A backend without a pair is not closed with a client.
        if let ConnectionKey::Backend(backend) = key
            && self.backends.get(backend).is_some_and(|b| b.role.pair.is_none())
        {
            self.close_backend(backend);
        }
    }
}
