//! Releases a server connection after its exchange: keeps it idle if it can be reused, else closes it.

use crate::balance::Idle;
use crate::net::Network;
use crate::worker::conn::backend::BackendState;
use crate::worker::conn::table::{Side, Token};
use crate::worker::core::Core;

impl<N: Network> Core<N> {
    /// The server's response is complete: keeps the connection for the next request if it can be reused.
    pub(crate) fn release_backend(&mut self, pair: u32) {
        let pair = &mut self.pairs[pair as usize];
        let tunnel = pair.is_tunnel();
        let Some(key) = pair.leave_backend() else { return };
        let backend = &mut self.backends[key];
        backend.role.server.request_ends();
        backend.role.pair = None;
        // The last read may have filled its buffer exactly: check whether more bytes follow.
        let look = backend.readable && !backend.read_closed;
        let silent = !look || backend.is_still_idle();
        self.tools.pipes.give_back(backend.spliced.take_if(|held| held.bytes == 0));
        let flushed = backend.is_flushed();
        let role = &mut backend.role;
        let clean = !pair.exchange.request.is_open()
            && role.keep_alive
            && role.server.may_keep(role.endpoint_version)
            && !role.codec.was_lenient()
            && !(tunnel || self.tools.draining || role.write_failed)
            && silent
            && !(backend.eof || backend.read_closed || backend.readable || backend.hung_up)
            && backend.input.is_empty()
            && flushed;
        if !clean {
            return self.close_backend(key);
        }
        role.state = BackendState::Idle;
        role.since = self.tools.now;
        match role.dedicated.as_ref().map(|dedicated| dedicated.owner) {
            Some(owner) => self.keep(key, owner),
            None => {
                let idle = Idle { connection: key, since: self.tools.now };
                role.server.idle.borrow_mut().put(idle);
            }
        }
        self.watch_backend(key);
    }

    /// Detaches the connection from a failed pair and closes it. Returns true if request bytes were written on it.
    pub(crate) fn drop_backend(&mut self, pair: u32) -> bool {
        let Some(key) = self.pairs[pair as usize].leave_backend() else { return false };
        let role = &mut self.backends[key].role;
        role.pair = None;
        let wrote = role.wrote;
        role.server.request_ends();
        self.close_backend(key);
        wrote
    }

    pub(crate) fn close_backend(&mut self, key: u32) {
        let Some(mut backend) = self.backends.remove(key) else { return };
        backend.discard(&mut self.tools.blocks);
        self.wheel.disarm(Token::timer_of(Side::Backend, key));
        match (backend.role.state, &backend.role.dedicated) {
            (BackendState::Idle, Some(dedicated)) => self.forget_kept(key, dedicated.owner),
            (BackendState::Idle, None) => {
                backend.role.server.idle.borrow_mut().forget(key);
            }
            _ => {}
        }
    }
}
