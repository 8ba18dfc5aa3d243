//! A fault of ours ends one pair, not the process: all that is done for a connection, because of an event or of a
//! timer, is done within these calls, and a panic in there closes what it was done for. A panic outside of them is
//! the end of the worker.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::net::Network;
use crate::worker::conn::table::Side;
use crate::worker::core::Core;

impl<N: Network> Core<N> {
    /// Gives these connections their turns. After a fault in one of them the others' go on.
    pub(crate) fn guarded_turns(&mut self, turning: &[(Side, u32)]) {
        let (mut rest, mut client) = (turning.iter(), None);
        loop {
            let turns = AssertUnwindSafe(|| {
                for (side, key) in rest.by_ref() {
                    client = None;
                    self.turn(*side, *key, &mut client);
                }
            });
            if catch_unwind(turns).is_ok() {
                return;
            }
            let (side, key) = turning[turning.len() - rest.len() - 1];
            self.clear_up(side, key, client);
        }
    }

    /// Lets a connection's timer act.
    pub(crate) fn guarded_timer(&mut self, side: Side, key: u32) {
        let client = match side {
            Side::Client => Some(key),
            Side::Backend => self.client_of(key),
        };
        let timer = AssertUnwindSafe(|| match side {
            Side::Client => self.client_timer(key),
            Side::Backend => self.backend_timer(key),
        });
        if catch_unwind(timer).is_err() {
            self.clear_up(side, key, client);
        }
    }

    /// The client that this backend serves now.
    pub(crate) fn client_of(&self, backend: u32) -> Option<u32> {
        let pair = self.backends.get(backend)?.role.pair?;
        Some(self.pairs.get(pair as usize)?.client)
    }

    #[cold]
    fn clear_up(&mut self, side: Side, key: u32, client: Option<u32>) {
        log::error!("internal fault while serving a client: its connection is closed");
        if let Some(client) = client {
            self.abandon(client);
        }
        // One that serves nobody has nobody who would be waiting for it.
        if side == Side::Backend && self.backends.get(key).is_some_and(|b| b.role.pair.is_none()) {
            self.close_backend(key);
        }
    }
}
