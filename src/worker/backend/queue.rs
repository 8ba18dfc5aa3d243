//! Requests that wait because no server takes them now: all are at their limit, none was checked yet, or the accept
//! queues of all are full. They are in the pool's queue (`balance::Queue`), in the order of arrival over all workers;
//! when a server becomes free, the grant comes to this worker's inbox.
//!
//! A full accept queue of a Unix socket is reported at once (connect(2), EAGAIN), where TCP retransmits its SYN. The end
//! of any request of the server wakes those that wait; as others may have filled the queue, they also look again by
//! themselves.

use crate::balance::{Grant, GrantedServer, Picked, QueuedRequest, Wakes};
use crate::exchange::Failure;
use crate::exchange::end::Phase;
use crate::exchange::record::NEVER;
use crate::net::Network;
use crate::route::waits_for;
use crate::worker::conn::table::{ClientKey, ClientToken};
use crate::worker::core::{Core, Step};
use crate::worker::pair::table::PairKey;
use crate::worker::pair::{Pair, Stage};
use crate::worker::time::timeouts::micros;

/// How long until a request looks again by itself, in microseconds. It grows with the wait, so that many of them do not
/// keep the worker busy with connect calls.
const SHORTEST: u64 = 10_000;
const LONGEST: u64 = 100_000;

/// `ticket` of a request that is in no queue. With an `Option`, every look at a pair's stage would have to decode it.
const NO_TICKET: u64 = u64::MAX;

/// A request that waits for a server.
#[derive(Clone, Copy, Debug)]
pub struct QueueWait {
    /// Its number in the pool's queue; `NO_TICKET` while it waits for descriptors.
    ticket: u64,
    /// When to look again, if not only when a server becomes free.
    pub again: u64,
    /// When it has waited too long.
    until: u64,
}

impl QueueWait {
    pub fn deadline(&self) -> u64 {
        self.again.min(self.until)
    }

    /// When it has waited too long, if ever.
    pub fn limit(&self) -> Option<u64> {
        Some(self.until).filter(|until| *until != u64::MAX)
    }
}

impl<N: Network> Core<N> {
    /// Puts the request into its pool's queue.
    pub(crate) fn enqueue(&mut self, pair_key: PairKey) -> Step {
        let pair = &mut self.pairs[pair_key];
        let Some(route) = &pair.route else {
            return self.answer_failure(pair_key, Failure::Internal, Phase::Connect);
        };
        let (pool, now) = (route.pool.clone(), self.tools.now);
        let looks = pair.last_failure == Some(Failure::AcceptQueueFull);
        if looks {
            pair.last_failure = None;
            pair.tried.clear();
        }
        let bound = pair.route.as_ref().and_then(|route| waits_for(route, &pair.tried)).cloned();
        let client = self.clients.token(pair.client).to_bits();
        let waiter = QueuedRequest { worker: self.sites.worker(), client, tried: pair.tried.keys(), looks };
        let most = pool.config.queue.most as usize;
        let Some(ticket) = pool.state.queue.enter(waiter, bound.as_ref(), most) else {
            return self.answer_failure(pair_key, Failure::QueueFull, Phase::Connect);
        };
        // Positions of several waits add up, as haproxy counts them.
        let ahead = &mut pair.exchange.waited_behind[usize::from(bound.is_none())];
        *ahead = ahead.saturating_add(u16::try_from(ticket.ahead).unwrap_or(u16::MAX));
        let since = pair.begins_to_wait(now);
        let again = match ticket.wakes {
            Wakes::Time => now + ((now - since) / 2).clamp(SHORTEST, LONGEST),
            Wakes::Look | Wakes::Freed => u64::MAX,
        };
        let until = since + micros(pool.config.queue.timeout);
        pair.stage = Stage::Queued(QueueWait { ticket: ticket.number, again, until });
        if ticket.wakes == Wakes::Look {
            pool.state.look_again(bound.as_ref());
        }
        self.pairs[pair_key].bound = bound;
        self.wait(pair_key)
    }

    /// Waits for descriptors. Returns false if the request has waited for `most` microseconds in all.
    pub(crate) fn put_off(&mut self, pair_key: PairKey, most: u64) -> bool {
        let now = self.tools.now;
        let pair = &mut self.pairs[pair_key];
        let since = pair.begins_to_wait(now);
        let until = since + most;
        if now < until {
            let again = until.min(now + ((now - since) / 2).clamp(SHORTEST, LONGEST));
            pair.stage = Stage::Queued(QueueWait { ticket: NO_TICKET, again, until: u64::MAX });
        }
        now < until
    }

    /// Waits for an event, unless the client has already ended its side.
    pub(crate) fn wait(&self, pair_key: PairKey) -> Step {
        let client = self.clients.get(self.pairs[pair_key].client);
        if client.is_some_and(|client| client.read_closed) { Step::Again } else { Step::Wait }
    }

    /// The request has waited until its deadline: looks again, or gives up.
    pub(crate) fn queue_timer(&mut self, client: ClientKey) -> Step {
        let Some(pair_key) = self.clients.get(client).and_then(|client| client.role.pair) else {
            return Step::Wait;
        };
        let pair = &mut self.pairs[pair_key];
        let Stage::Queued(wait) = pair.stage else { return Step::Wait };
        if !pair.leave_queue(self.tools.now) {
            // Its turn has come: the grant is in the inbox.
            self.take_grants();
            return Step::Wait;
        }
        if self.tools.now >= wait.until {
            return self.answer_failure(pair_key, Failure::QueueTimeout, Phase::Connect);
        }
        self.dial_in_turn(pair_key)
    }

    /// Gives granted servers to the requests that waited for them. A grant for one that has left is dropped, and goes to
    /// the next.
    pub fn take_grants(&mut self) {
        if self.sites.has_grants() {
            for grant in self.sites.take_grants() {
                self.take_grant(grant);
            }
        }
    }

    fn take_grant(&mut self, grant: Grant) {
        let Grant { client, ticket, server } = grant;
        let token = ClientToken::from_bits(client);
        self.guarded_resume(token, |core| core.use_grant(token.key, ticket, server));
    }

    fn use_grant(&mut self, client: ClientKey, ticket: u64, server: GrantedServer) {
        let Some(pair_key) = self.clients[client].role.pair else { return };
        let pair = &mut self.pairs[pair_key];
        match pair.stage {
            Stage::Queued(wait) if wait.ticket == ticket => {}
            _ => return,
        }
        pair.note_queued(self.tools.now);
        (pair.stage, pair.bound) = (Stage::Routing, None);
        let step = match server {
            // Another server of the pool may do, where one was preferred.
            GrantedServer::None => self.dial_in_turn(pair_key),
            GrantedServer::Server(slot) => {
                let server = self.sites.servers.borrow_mut().get(slot.server());
                self.dial_granted(pair_key, Picked { server, slot: Some(slot), probe: None })
            }
        };
        self.requeue_after(client, step);
    }
}

impl Pair {
    /// The request does not wait any more. Returns false if its turn has come already.
    pub(crate) fn leave_queue(&mut self, now: u64) -> bool {
        let Stage::Queued(wait) = self.stage else { return true };
        let left = match (wait.ticket, &self.route) {
            (NO_TICKET, _) | (_, None) => true,
            (ticket, Some(route)) => route.pool.state.queue.leave(ticket, self.bound.as_ref()),
        };
        if left {
            self.note_queued(now);
            (self.stage, self.bound) = (Stage::Routing, None);
        }
        left
    }

    fn note_queued(&mut self, now: u64) {
        if let (Stage::Queued(_), Some(since)) = (&self.stage, self.waits_since) {
            let waited = now.saturating_sub(since.get()).min(u64::from(NEVER) - 1) as u32;
            self.exchange.times.queued = waited;
        }
    }
}
