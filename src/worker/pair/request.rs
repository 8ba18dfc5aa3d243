//! From a client's bytes to an exchange: reads a head, routes it, and dials or answers.

use crate::exchange::end::Phase;
use crate::exchange::{Failure, RequestHalf};
use crate::http::{Codec, Event, Fault, RequestHead, StreamId};
use crate::net::{Inside, Network, Transport};
use crate::route::{Binding, Decision, Route, admit};
use crate::worker::conn::client::{Arrival, NO_HEAD, REMOVED_LISTENER};
use crate::worker::conn::connection::OutputSink;
use crate::worker::conn::table::{ClientKey, Key};
use crate::worker::core::{Core, Step};
use crate::worker::pair::Origin;
use crate::worker::pair::inside::InsideTarget;
use crate::worker::pair::table::PairKey;

/// Bytes of an unparsable request's first line that are kept for the log.
const LOGGED_LINE: usize = 256;

impl<N: Network> Core<N> {
    /// Reads a request head for a client without an exchange.
    pub(crate) fn read_request(&mut self, client_key: ClientKey) -> Step {
        let client = &mut self.clients[client_key];
        if client.hung_up || !client.stream.is_established() {
            return self.not_ready(client_key);
        }
        if client.input.is_empty() && !client.eof {
            match client.fill(&mut self.tools.blocks, self.tools.now) {
                Ok(true) => {}
                Ok(false) => return self.nothing_came(client_key),
                Err(_) => return self.left_early(client_key),
            }
        }
        if !client.input.is_empty() {
            client.role.head_since = client.role.head_since.min(self.tools.now);
        }
        if client.role.arrival.is_before_requests() {
            return self.read_preamble(client_key);
        }
        let (bytes, eof, limits) = (client.input.bytes(), client.eof, &self.sites.current.heads.request);
        let (head, trailers) = (&mut self.spare.next.exchange.head, &mut self.tools.trailers);
        let decoded = client.role.codec.decode(bytes, eof, 0, limits, head, trailers);
        client
            .role
            .codec
            .emit(&mut OutputSink { output: &mut client.output, blocks: &mut self.tools.blocks });
        match decoded {
            Ok(Some(step)) => {
                client.input.consume(&mut self.tools.blocks, step.consumed);
                match step.event {
                    Event::Head => self.start(client_key, step.stream, step.end),
                    _ => self.skip(client_key),
                }
            }
            Ok(None) => self.more_of_head(client_key),
            Err(Fault::CutHead) => self.left_early(client_key),
            Err(fault) => self.refuse(client_key, fault),
        }
    }

    /// Skips an empty line before a request; it does not start one.
    #[cold]
    fn skip(&mut self, client_key: ClientKey) -> Step {
        let client = &mut self.clients[client_key];
        if client.input.is_empty() {
            client.role.head_since = NO_HEAD;
        }
        Step::Again
    }

    /// A filter may have an answer of its own to what it has read.
    #[cold]
    fn nothing_came(&mut self, client_key: ClientKey) -> Step {
        let client = &mut self.clients[client_key];
        if client.stream.wants_write() && client.flush(&mut self.tools.blocks, self.tools.now).is_err() {
            return self.left_early(client_key);
        }
        Step::Wait
    }

    /// Closes a client that is gone, or continues its handshake.
    #[cold]
    fn not_ready(&mut self, client_key: ClientKey) -> Step {
        match self.clients[client_key].stream.is_established() {
            true => self.left_early(client_key),
            false => self.queue_handshake(client_key),
        }
    }

    /// The head is incomplete: reads more, or waits.
    pub(crate) fn more_of_head(&mut self, client_key: ClientKey) -> Step {
        let client = &mut self.clients[client_key];
        if client.eof {
            return self.left_early(client_key);
        }
        // The head may be longer than a block.
        client.input.grow(self.sites.current.heads.request.bytes);
        match client.fill(&mut self.tools.blocks, self.tools.now) {
            Ok(true) => Step::Again,
            Ok(false) => Step::Wait,
            Err(_) => self.left_early(client_key),
        }
    }

    /// A client that closes between requests is just closed; within a head, it has started a request, which is
    /// recorded.
    pub(crate) fn left_early(&mut self, client_key: ClientKey) -> Step {
        let role = &self.clients[client_key].role;
        if role.head_since == NO_HEAD || role.arrival == Arrival::ExpectsProxyHeader {
            return self.close_client(client_key);
        }
        if role.arrival == Arrival::Hello {
            return self.left_within_hello(client_key);
        }
        let pair_key = self.open_unread_pair(client_key);
        self.cut(pair_key, Failure::RequestGone, Phase::Request)
    }

    /// Starts the request whose head is in the next pair.
    fn start(&mut self, client_key: ClientKey, stream: StreamId, whole: bool) -> Step {
        let pair_key = self.open_pair(client_key, stream, whole);
        let pair = &mut self.pairs[pair_key];
        if pair.is_inside() {
            return self.start_inside(pair_key);
        }
        let role = &self.clients[pair.client].role;
        if let Some(context) = role.listener_context() {
            pair.exchange.listener_context = Some(context.clone());
        }
        let peer = &role.peer;
        let routes = &pair.site.routes;
        let Some(handlers) = &pair.handlers else { return self.fail(pair_key, Failure::Internal) };
        let (x, now) = (&mut pair.exchange, self.tools.now);
        x.times.head = x.elapsed(now);
        x.close_client |= role.listener == REMOVED_LISTENER;
        let decision = admit(x, peer, routes, &mut handlers.borrow_mut(), &mut self.ids, now);
        match decision {
            Decision::Forward(route) => self.forward(pair_key, route),
            other => self.apply_decision(pair_key, other),
        }
    }

    /// Starts an internal request: its route is known and its head is trusted.
    #[cold]
    fn start_inside(&mut self, pair_key: PairKey) -> Step {
        let pair = &mut self.pairs[pair_key];
        pair.exchange.close_client = true;
        // There is no client to switch protocols with.
        pair.exchange.head.upgrade = false;
        let Some(side) = self.clients[pair.client].role.inside() else {
            return self.fail(pair_key, Failure::Internal);
        };
        let route = match &side.target {
            InsideTarget::Fetch(fetching) => {
                pair.exchange.own_host = fetching.own_host;
                (pair.site, pair.handlers) = (fetching.site.clone(), fetching.handlers.clone());
                Some(fetching.route.clone())
            }
            InsideTarget::Pool => pair.site.routes.to(&side.pool),
            InsideTarget::Check { server, .. } => pair.site.routes.to(&side.pool).map(|route| Route {
                server: Some(self.sites.servers.borrow_mut().get(server)),
                binding: Binding::Check,
                ..route
            }),
            // Their pairs begin otherwise.
            InsideTarget::Copy | InsideTarget::Hedge { .. } => None,
        };
        match route {
            Some(route) => self.forward(pair_key, route),
            None => self.fail(pair_key, Failure::NoServer),
        }
    }

    pub(crate) fn forward(&mut self, pair_key: PairKey, route: Route) -> Step {
        route.pool.requests.add();
        let any = route.pick_any(self.tools.now);
        let pair = &mut self.pairs[pair_key];
        pair.route = Some(route);
        match any {
            Some(server) => {
                (pair.server, pair.counted_tries) = (Some(server), 1);
                self.dial_picked(pair_key)
            }
            None => self.dial(pair_key),
        }
    }

    /// Handles decisions other than forwarding, including script failures.
    #[cold]
    pub(crate) fn apply_decision(&mut self, pair_key: PairKey, decision: Decision) -> Step {
        match decision {
            Decision::Forward(route) => self.forward(pair_key, route),
            Decision::Challenge(challenge) => self.ask_challenge(pair_key, *challenge),
            Decision::Copy(route) => self.forward_copied(pair_key, route),
            Decision::Buffer(route) => self.buffer_request(pair_key, route),
            Decision::Wait(wait, call) => self.wait_for_request(pair_key, wait, call),
            Decision::Answer(answer) => self.answer_scripted(pair_key, *answer),
            Decision::Abort => self.fail(pair_key, Failure::Aborted),
            Decision::LastHop => self.answer_last_hop(pair_key),
            Decision::Refuse(failure) => self.answer_failure(pair_key, failure, Phase::Request),
            Decision::ScriptFailed((function, error)) => {
                let failure = self.tools.errors.failed(function, &error, self.tools.now);
                self.fail(pair_key, failure)
            }
            Decision::Fallback(pool, (function, error), then) => {
                let says = format!(" (the fallback pool {} takes the request)", pool.config.name);
                self.tools.errors.log(function, &error, &says, self.tools.now);
                self.apply_decision(pair_key, *then)
            }
        }
    }

    /// Answers and records a request whose head cannot be parsed.
    pub(crate) fn refuse(&mut self, client_key: ClientKey, fault: Fault) -> Step {
        self.note_malformed_request(client_key, fault);
        let pair_key = self.open_unread_pair(client_key);
        let x = &mut self.pairs[pair_key].exchange;
        x.close_client = true;
        x.request = RequestHalf::BodyPending;
        self.fail(pair_key, Failure::of_request(fault))
    }

    /// Answers a request whose head did not arrive in time.
    pub(crate) fn refuse_late(&mut self, client_key: ClientKey) -> Step {
        let pair_key = self.open_unread_pair(client_key);
        let x = &mut self.pairs[pair_key].exchange;
        x.close_client = true;
        x.request = RequestHalf::BodyPending;
        self.fail(pair_key, Failure::HeadTimeout)
    }

    /// Opens a pair for this client's request; its head was read last.
    pub(crate) fn open_pair(&mut self, client_key: ClientKey, stream: StreamId, whole: bool) -> PairKey {
        let role = &mut self.clients[client_key].role;
        let start = std::mem::replace(&mut role.head_since, NO_HEAD).min(self.tools.now);
        let mut pair = self.spare.take(&self.sites);
        pair.begin(client_key, stream, whole, start);
        pair.exchange.listener = role.listener;
        if role.arrival == Arrival::Inside {
            pair.origin = Origin::Inside;
        }
        let pair_key = self.pairs.insert(pair);
        role.pair = Some(pair_key);
        pair_key
    }

    /// Opens a pair for an unparsable request, of which only the first line is known.
    fn open_unread_pair(&mut self, client_key: ClientKey) -> PairKey {
        let pair_key = self.open_pair(client_key, StreamId::ONLY, true);
        let (client, mut head) = (&self.clients[client_key], RequestHead::default());
        head.target = head.fields.store(first_line(client.input.bytes()));
        let x = &mut self.pairs[pair_key].exchange;
        (x.head, x.client) = (head, client.role.peer.address());
        // Where the handshake is over: what was plain HTTP is answered in plain text.
        x.listener_context = client.role.listener_context().filter(|context| context.tls.is_some()).cloned();
        pair_key
    }

    pub(crate) fn sink(&mut self, client_key: ClientKey) -> (&mut crate::h1::ClientCodec, OutputSink<'_>) {
        let client = &mut self.clients[client_key];
        let out = OutputSink { output: &mut client.output, blocks: &mut self.tools.blocks };
        (&mut client.role.codec, out)
    }

    /// Closes a client connection that has no exchange.
    #[cold]
    pub(crate) fn close_client(&mut self, client_key: ClientKey) -> Step {
        if let Some(mut client) = self.clients.remove(client_key) {
            client.send_close_notify();
            client.discard(&mut self.tools.blocks);
            self.per_client.leaves(&client.role);
            if client.role.arrival != Arrival::Inside {
                self.connections.leaves(client.role.listener);
            }
            self.wheel.disarm(client_key.timer());
            self.close_kept(client_key);
            if let Some(inside) = client.role.take_inside() {
                self.inside -= 1;
                inside.finish(client.stream.inside().map(Inside::collect).unwrap_or_default());
            }
        }
        Step::Gone
    }

    /// Closes it with a reset instead of an orderly end.
    #[cold]
    pub(crate) fn reset_client(&mut self, client_key: ClientKey) -> Step {
        if let Some(client) = self.clients.get_mut(client_key) {
            client.stream.reset_on_close();
        }
        self.close_client(client_key)
    }
}

/// Returns the first line of a request, up to `LOGGED_LINE` bytes.
fn first_line(input: &[u8]) -> &[u8] {
    let end = input.iter().take(LOGGED_LINE).position(|byte| matches!(byte, b'\r' | b'\n'));
    &input[..end.unwrap_or(input.len().min(LOGGED_LINE))]
}
