//! Giving a connection to a server back when it has done its part: to the idle ones if nothing speaks against it,
//! else it is closed.

use super::core::Core;
use super::sides::BackendState;
use super::table::{Side, Token};
use crate::balance::Idle;
use crate::exchange::RequestHalf;
use crate::net::Network;

impl<N: Network> Core<N> {
    /// The server has done its part: its connection is kept for the next request if it is fit for one.
    pub(super) fn release_backend(&mut self, lane: u32) {
        let lane = &mut self.lanes[lane as usize];
        let Some(key) = lane.backend.take() else { return };
        let backend = &mut self.backends[key];
        self.tools.router.pools.request_ends(backend.role.pool, backend.role.server);
        backend.role.lane = None;
        // Where the last read filled its space to the brim: is there really more?
        let look = backend.readable && !backend.read_closed;
        let broken = look && backend.fill(&mut self.tools.blocks, self.tools.now).is_err();
        self.tools.pipes.give_back(backend.spliced.take_if(|held| held.bytes == 0));
        let flushed = backend.is_flushed();
        let role = &mut backend.role;
        let clean = lane.exchange.request == RequestHalf::Done
            && role.keep_alive
            && !role.codec.was_lenient()
            && !(lane.exchange.tunnel || self.tools.draining || role.write_failed)
            && !(broken || backend.eof || backend.read_closed || backend.readable || backend.hung_up)
            && backend.input.is_empty()
            && flushed;
        if !clean {
            return self.close_backend(key);
        }
        role.state = BackendState::Idle;
        role.since = self.tools.now;
        match role.private.as_ref().map(|private| private.owner) {
            Some(owner) => self.keep(key, owner),
            None => {
                let idle = Idle { connection: key, since: self.tools.now };
                self.tools.router.pools.server(role.pool, role.server).idle.put(idle);
            }
        }
        self.watch_backend(key);
    }

    /// Takes the connection off a lane that failed and closes it. Says whether anything was written on it.
    #[cold]
    pub(super) fn drop_backend(&mut self, lane: u32) -> bool {
        let Some(key) = self.lanes[lane as usize].backend.take() else { return false };
        let role = &mut self.backends[key].role;
        role.lane = None;
        let wrote = role.wrote;
        self.tools.router.pools.request_ends(role.pool, role.server);
        self.close_backend(key);
        wrote
    }

    #[cold]
    pub(super) fn close_backend(&mut self, key: u32) {
        let Some(mut backend) = self.backends.remove(key) else { return };
        backend.discard(&mut self.tools.blocks);
        self.wheel.disarm(Token::timer_of(Side::Backend, key));
        match (backend.role.state, &backend.role.private) {
            (BackendState::Idle, Some(private)) => self.forget_kept(key, private.owner),
            (BackendState::Idle, None) => {
                self.tools.router.pools.server(backend.role.pool, backend.role.server).idle.forget(key);
            }
            _ => {}
        }
    }
}
