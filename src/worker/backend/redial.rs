//! Servers whose accept queue is full. A Unix socket reports this at once (connect(2), EAGAIN), where TCP retransmits
//! its SYN: the server is alive but busy, so it is not paused. The request tries the next server. If none is left it
//! retries all of them, until the connect timeout passes or the client ends its side.

use crate::exchange::Failure;
use crate::exchange::end::Phase;
use crate::net::Network;
use crate::worker::core::{Core, Step};
use crate::worker::pair::Stage;

/// Delay between two rounds over the servers, in microseconds. It grows with the wait, so that many waiting requests do
/// not keep the worker busy with connect calls.
const SHORTEST: u64 = 10_000;
const LONGEST: u64 = 100_000;

/// A request that waits for room in a server's queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueWait {
    /// When all servers were first found full.
    since: u64,
    /// When to retry.
    pub again: u64,
}

impl<N: Network> Core<N> {
    /// A full queue does not count as a try.
    pub(crate) fn note_full_queue(&mut self, pair: u32) {
        let pair = &mut self.pairs[pair as usize];
        pair.tries = pair.tries.saturating_sub(1);
    }

    /// No server is left, and at least one of them only has a full queue.
    pub(crate) fn wait_for_queue(&mut self, key: u32) -> Step {
        let Some(route) = &self.pairs[key as usize].route else {
            return self.answer_failure(key, Failure::Internal, Phase::Connect);
        };
        let connect = route.pool.config.timeouts.connect;
        if !self.put_off(key, connect.as_micros() as u64) {
            return self.answer_failure(key, Failure::QueueFull, Phase::Connect);
        }
        let pair = &mut self.pairs[key as usize];
        pair.tried.clear();
        pair.last_failure = None;
        self.wait(key)
    }

    /// Schedules a retry. Returns false if the request has waited for `most` microseconds in all.
    pub(crate) fn put_off(&mut self, key: u32, most: u64) -> bool {
        let now = self.tools.now;
        let pair = &mut self.pairs[key as usize];
        let since = match pair.stage {
            Stage::Queued(wait) => wait.since,
            _ => now,
        };
        let until = since + most;
        if now < until {
            let pause = ((now - since) / 2).clamp(SHORTEST, LONGEST);
            pair.stage = Stage::Queued(QueueWait { since, again: until.min(now + pause) });
        }
        now < until
    }

    /// Waits for an event, unless the client has already ended its side.
    pub(crate) fn wait(&self, pair: u32) -> Step {
        let client = self.clients.get(self.pairs[pair as usize].client);
        if client.is_some_and(|client| client.read_closed) { Step::Again } else { Step::Wait }
    }

    /// The retry delay is over.
    pub(crate) fn dial_again(&mut self, client: u32) -> Step {
        match self.clients.get(client).and_then(|c| c.role.pair) {
            Some(pair) => self.dial(pair),
            None => Step::Wait,
        }
    }
}
