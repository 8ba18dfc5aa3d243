//! Copies of requests: for another pool (`mirror`), and for a second try (`hedge`). A copy is an internal request that
//! gets the head of its original rather than bytes to read one from.
//!
//! A mirrored request goes to its own server first: the copy is made then, as the head and the body are, and sent after
//! the turns of all clients. Its response is read and dropped. Nothing of the original waits for the copy or looks at it.

use std::collections::VecDeque;

use crate::balance::MirrorEnd;
use crate::exchange::end::End;
use crate::exchange::{Failure, RequestHalf};
use crate::http::StreamId;
use crate::net::{Inside, Network, Transport};
use crate::route::{Route, hash_copy};
use crate::worker::conn::table::ClientToken;
use crate::worker::core::{Core, Step};
use crate::worker::pair::inside::{InsideEnd, InsideSide, InsideTarget};
use crate::worker::pair::request_body_buffer::HeldBody;
use crate::worker::pair::table::PairKey;
use crate::worker::pair::{Origin, Pair};

/// Mirrored requests of a pool that run at a time, of all workers.
const AT_ONCE: u32 = 256;
/// With at most so many, those that have ended are not looked for.
const FEW: usize = 256;
/// Bytes of a response that are read, and how long a copy may take, in microseconds: a response need not end.
const RESPONSE_BYTES: usize = 16 << 20;
const MIRROR_TIMEOUT: u64 = 60_000_000;

/// One worker's mirrored requests.
#[derive(Default)]
pub struct Mirrored {
    /// To be sent after the present turns.
    due: Vec<(ClientToken, Route)>,
    /// Until when each may run, the first one first. Some have ended.
    running: VecDeque<(u64, u64)>,
    /// With so many, those that have ended are looked for everywhere.
    clean_at: usize,
}

impl Mirrored {
    pub fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// When one has run for too long, in microseconds.
    pub fn next(&self) -> Option<u64> {
        self.running.front().map(|(until, _)| *until)
    }
}

impl<N: Network> Core<N> {
    /// Forwards a request, and a copy of it if it is one of those that are mirrored.
    #[cold]
    pub(crate) fn forward_copied(&mut self, pair_key: PairKey, route: Route) -> Step {
        if route.pool.config.mirror.is_some() && !self.tools.draining {
            self.mirror(pair_key, &route);
        }
        self.forward(pair_key, route)
    }

    fn mirror(&mut self, pair_key: PairKey, route: &Route) {
        let pair = &self.pairs[pair_key];
        let Some(mirror) = &route.pool.config.mirror else { return };
        // A connection that becomes a tunnel is more than a request.
        if pair.exchange.head.upgrade || !route.pool.sampler.takes(mirror.share) {
            return;
        }
        let (counters, open) = (route.pool.counters.clone(), pair.exchange.request.is_open());
        let Some(to) = pair.site.routes.route_to(mirror.pool) else { return };
        let Some(permit) = route.pool.state.copies.begin(AT_ONCE) else {
            return counters.mirror_ends(MirrorEnd::Full);
        };
        let body = pair.held.as_ref().and_then(|held| held.copy());
        if open && body.is_none() {
            return counters.mirror_ends(MirrorEnd::Body);
        }
        let done = move |end: InsideEnd| {
            drop(permit);
            counters.mirror_ends(mirror_end(&end));
        };
        let side = InsideSide::new(InsideTarget::Copy, pair.exchange.head.method, done);
        self.send_soon(pair_key, side, to, body);
    }

    fn send_soon(&mut self, pair_key: PairKey, side: InsideSide, to: Route, body: Option<HeldBody>) {
        let (client, copy) =
            self.open_copy(pair_key, side, Inside::dropping(RESPONSE_BYTES), Origin::Copy, &to);
        self.forget_mirrored();
        self.tools.mirrored.running.push_back((self.tools.now + MIRROR_TIMEOUT, client.to_bits()));
        let copy = &mut self.pairs[copy];
        if let Some(body) = body {
            copy.exchange.request = RequestHalf::BodyPending;
            copy.held = Some(Box::new(body));
        }
        self.tools.mirrored.due.push((client, to));
    }

    /// Opens the pair of a request with the head of this one. Gives its connection as well.
    pub(crate) fn open_copy(
        &mut self,
        of: PairKey,
        side: InsideSide,
        stream: Inside,
        origin: Origin,
        to: &Route,
    ) -> (ClientToken, PairKey) {
        let client = self.connect_inside(stream, side);
        let pair_key = self.open_pair(client.key, StreamId::ONLY, true);
        if to.pool.config.send_proxy.is_some() {
            let original = &self.clients[self.pairs[of].client];
            let address = original.role.relayed().or_else(|| original.stream.local_address());
            address.into_iter().for_each(|address| self.clients[client.key].role.set_relayed(address));
        }
        if let Some((original, copy)) = self.pairs.get2_mut(of, pair_key) {
            copy.take_head(original, origin);
        }
        (client, pair_key)
    }

    /// What the turns left to do for copies.
    #[cold]
    pub(crate) fn run_copies(&mut self) {
        self.cancel_lost();
        self.send_copies();
    }

    /// Sends the copies that were made in the turns.
    fn send_copies(&mut self) {
        let mut due = std::mem::take(&mut self.tools.mirrored.due);
        for (client, route) in due.drain(..) {
            self.guarded_resume(client, |core| {
                if let Some(pair) = core.clients[client.key].role.pair {
                    let step = core.send_copy(pair, route);
                    core.requeue_after(client.key, step);
                }
            });
        }
        self.tools.mirrored.due = due;
    }

    fn send_copy(&mut self, pair_key: PairKey, mut route: Route) -> Step {
        let copy = &mut self.pairs[pair_key];
        if let Some(handlers) = &copy.handlers
            && let Err(error) = hash_copy(&mut copy.exchange, &mut route, &mut handlers.borrow_mut())
        {
            self.tools.errors.log("hash_by", &error, " (of a copy)", self.tools.now);
        }
        self.forward(pair_key, route)
    }

    /// Gives up the copies that have run for too long.
    pub(crate) fn run_mirrored(&mut self) {
        while let Some((until, number)) = self.tools.mirrored.running.front().copied() {
            if until > self.tools.now {
                return;
            }
            self.tools.mirrored.running.pop_front();
            self.cancel_inside(number);
        }
    }

    /// Forgets copies that have ended.
    fn forget_mirrored(&mut self) {
        let Mirrored { running, clean_at, .. } = &mut self.tools.mirrored;
        let clients = &mut self.clients;
        let mut ended = |number: u64| clients.by_token(ClientToken::from_bits(number)).is_none();
        while running.front().is_some_and(|(_, number)| ended(*number)) {
            running.pop_front();
        }
        if running.len() >= *clean_at {
            running.retain(|(_, number)| !ended(*number));
            *clean_at = (2 * running.len()).max(FEW);
        }
    }
}

impl Pair {
    /// Gets the head of the original.
    fn take_head(&mut self, original: &Pair, origin: Origin) {
        let (x, of) = (&mut self.exchange, &original.exchange);
        x.head.copy_from(&of.head);
        (x.client, x.scheme, x.own_host, x.id) = (of.client, of.scheme, of.own_host, of.id);
        // For the functions of its pool.
        (x.listener, x.listener_context) = (of.listener, of.listener_context.clone());
        x.close_client = true;
        (self.site, self.handlers, self.origin) = (original.site.clone(), original.handlers.clone(), origin);
    }
}

fn mirror_end(end: &InsideEnd) -> MirrorEnd {
    match (end.end, end.failure) {
        _ if end.too_long => MirrorEnd::Cut,
        (End::Complete, _) => MirrorEnd::Answered,
        // It was cancelled.
        (_, Some(Failure::ClientGone)) => MirrorEnd::Cut,
        _ => MirrorEnd::Failed,
    }
}
