//! Ends of exchanges: complete, answered by rsp, retried, or cut. Every end writes a record.

use crate::base::buffer::BLOCK;
use crate::exchange::end::{End, Party, Phase};
use crate::exchange::{
    Failure, FailureAction, RequestHalf, ResponseHalf, error_answer, last_hop_answer, script_answer,
};
use crate::h1::RequestFacts;
use crate::http::{Codec, Framing, Method, Persistence, Sink};
use crate::net::{Network, Transport};
use crate::script::Answer;
use crate::worker::conn::table::ClientKey;
use crate::worker::core::{Core, Step};
use crate::worker::pair::answer_body::AnswerBody;
use crate::worker::pair::closed::phase_of;
use crate::worker::pair::table::PairKey;
use crate::worker::pair::{Origin, Pair, Stage};

/// Larger scripted bodies are sent as room becomes available: a client's output holds little more than a block.
const ANSWER_AT_ONCE: usize = BLOCK / 2;

/// When a client may try again that no server had time for, in seconds.
const RETRY_AFTER: &[u8] = b"1";

impl<N: Network> Core<N> {
    /// Handles a failure: retries, answers the client, or cuts the response.
    #[cold]
    pub(crate) fn fail(&mut self, pair_key: PairKey, failure: Failure) -> Step {
        if self.pairs[pair_key].exchange.end == End::Drained && failure.side() == Party::Server {
            return self.end_tunnel(pair_key);
        }
        let phase = self.phase(pair_key);
        self.stop_waiting(pair_key);
        self.note_failure(pair_key, failure);
        if self.pairs[pair_key].origin == Origin::Hedge {
            return self.second_failed(pair_key, failure);
        }
        self.reset_tunnel(pair_key);
        if failure.side() == Party::Server
            && let Some(second) = self.take_second(pair_key)
        {
            return self.go_on_with_second(pair_key, second, failure);
        }
        let of_server = failure.side() == Party::Server && self.pairs[pair_key].backend().is_some();
        let wrote = self.drop_backend(pair_key);
        if failure.side() == Party::Server {
            self.pairs[pair_key].rewind_held();
        }
        let next = self.pairs[pair_key].exchange.decide_failure(failure, wrote);
        // A kept connection that died says nothing of its server.
        if of_server && next != FailureAction::NewConnection {
            self.count_failure(pair_key, failure);
        }
        match next {
            FailureAction::NewConnection => self.dial_fresh(pair_key),
            FailureAction::OtherServer => self.dial_other(pair_key, failure),
            FailureAction::Answer => self.answer_failure(pair_key, failure, phase),
            FailureAction::Deliver => self.deliver(pair_key, failure, phase),
            FailureAction::Cut if self.may_still_read(pair_key) => {
                self.pairs[pair_key].exchange.ends(failure, phase);
                let client_key = self.pairs[pair_key].client;
                self.detach(pair_key);
                self.begin_linger(client_key)
            }
            FailureAction::Cut => self.cut(pair_key, failure, phase),
        }
    }

    /// No response to this request was begun, but the client may not have read an earlier one: closing with unread
    /// input would reset the connection and destroy it.
    fn may_still_read(&self, pair_key: PairKey) -> bool {
        let pair = &self.pairs[pair_key];
        let client = &self.clients[pair.client];
        !pair.exchange.has_begun() && client.role.served && !client.hung_up
    }

    /// Delivers what was received of a cut response, then closes the connection.
    fn deliver(&mut self, pair_key: PairKey, failure: Failure, phase: Phase) -> Step {
        let pair = &mut self.pairs[pair_key];
        pair.exchange.ends(failure, phase);
        pair.exchange.cut_response();
        pair.stage = Stage::Delivering(None);
        // The client's write timeout restarts here.
        self.clients[pair.client].write_at = self.tools.now;
        Step::Again
    }

    pub(crate) fn phase(&self, pair_key: PairKey) -> Phase {
        let pair = &self.pairs[pair_key];
        phase_of(pair, pair.backend().and_then(|b| self.backends.get(b)).map(|b| b.role.state))
    }

    /// Answers the client with the failure's status.
    pub(crate) fn answer_failure(&mut self, pair_key: PairKey, failure: Failure, phase: Phase) -> Step {
        let pair = &mut self.pairs[pair_key];
        // It has come to nothing, if it is still there.
        pair.probe = None;
        if pair.exchange.passes_through() {
            return self.answer_alert(pair_key, failure, phase);
        }
        pair.exchange.ends(failure, phase);
        pair.release_held_body();
        let x = &mut pair.exchange;
        x.close_client |= failure.end() == End::BadRequest || x.request.is_open();
        if matches!(failure.status(), 502..=504) && !self.pairs[pair_key].is_inside() {
            self.note_gateway_error(pair_key, failure);
        }
        let body = error_answer(&mut self.tools.response, failure.status(), failure.text(), &self.tools.date);
        if matches!(failure, Failure::QueueFull | Failure::QueueTimeout) {
            self.tools.response.fields.append(b"Retry-After", RETRY_AFTER);
        }
        self.answer(pair_key, &body)
    }

    /// Sends the script's answer.
    pub(crate) fn answer_scripted(&mut self, pair_key: PairKey, answer: Answer) -> Step {
        self.pairs[pair_key].release_held_body();
        let x = &mut self.pairs[pair_key].exchange;
        x.end = End::Answered;
        // Bytes after a CONNECT may be meant for a tunnel, so they are never parsed as a request.
        x.close_client |= x.request.is_open() || x.head.method == Method::Connect;
        let (fields, length) = (&answer.headers, answer.body.len());
        script_answer(&mut self.tools.response, answer.status, fields, length, &self.tools.date);
        if length <= ANSWER_AT_ONCE {
            return self.answer(pair_key, &answer.body);
        }
        if self.answer_head(pair_key) {
            let pair = &mut self.pairs[pair_key];
            pair.exchange.response = ResponseHalf::Body;
            pair.stage = Stage::Delivering(Some(Box::new(AnswerBody::new(answer.body))));
        }
        Step::Again
    }

    /// Answers an OPTIONS request that must not be forwarded.
    pub(crate) fn answer_last_hop(&mut self, pair_key: PairKey) -> Step {
        self.pairs[pair_key].release_held_body();
        let x = &mut self.pairs[pair_key].exchange;
        x.end = End::Answered;
        x.close_client |= x.request.is_open();
        last_hop_answer(&mut self.tools.response, &self.tools.date);
        self.answer(pair_key, b"")
    }

    /// Writes rsp's own response, whose head is in `Tools::response`, into the client's output.
    fn answer(&mut self, pair_key: PairKey, body: &[u8]) -> Step {
        if self.answer_head(pair_key) {
            let Pair { exchange: x, client, .. } = &mut self.pairs[pair_key];
            x.sent += body.len() as u64;
            let client_key = *client;
            self.sink(client_key).1.put(body);
        }
        Step::Again
    }

    /// Writes the head of rsp's own response. Returns true if a body follows.
    fn answer_head(&mut self, pair_key: PairKey) -> bool {
        let draining = self.tools.draining;
        let config = &self.pairs[pair_key].site.routes.config;
        let (changes, keeps) = (config.on_answer, config.on_log);
        if changes {
            self.ask_on_answer(pair_key);
        }
        let Pair { exchange: x, client, .. } = &mut self.pairs[pair_key];
        let client_key = *client;
        if let Some(context) = &x.listener_context {
            context.add_hsts(&mut self.tools.response);
        }
        (x.status, x.answered_here) = (self.tools.response.status, true);
        x.response = ResponseHalf::Done;
        if x.request.is_open() {
            x.request = RequestHalf::Ending;
        }
        let is_head = x.head.method == Method::Head;
        let facts = RequestFacts::of(&x.head);
        let persistence = x.persistence(draining);
        let has_body = !is_head && self.tools.response.framing != Framing::None;
        if self.clients[client_key].is_flushed() {
            // The write timeout starts here, not at the client's last write.
            self.clients[client_key].write_at = self.tools.now;
        }
        let before = self.clients[client_key].output.len();
        let head = std::mem::take(&mut self.tools.response);
        let (codec, mut out) = self.sink(client_key);
        let (_, persistence) = codec.encode_head(facts, &head, persistence, &mut out);
        self.tools.response = head;
        let pair = &mut self.pairs[pair_key];
        if keeps {
            pair.save_sent_head(&self.tools.response);
        }
        pair.exchange.sent_heads += (self.clients[client_key].output.len() - before) as u32;
        pair.stage = Stage::Delivering(None);
        pair.exchange.close_client |= persistence == Persistence::Close;
        pair.response_begins();
        has_body
    }

    /// The response is written: records it, then continues with the next request or closes the connection.
    pub(crate) fn finish(&mut self, pair_key: PairKey) -> Step {
        if self.pairs[pair_key].exchange.response == ResponseHalf::Cut
            && let Some(step) = self.finish_by_reset(pair_key)
        {
            return step;
        }
        self.release_backend(pair_key);
        let mut pair = self.pairs.remove(pair_key);
        self.record(&mut pair);
        let (x, client_key) = (&pair.exchange, pair.client);
        let draining = self.tools.draining;
        let client = &mut self.clients[client_key];
        self.tools.pipes.give_back(client.pipe.take());
        client.role.pair = None;
        client.role.served = true;
        client.role.codec.next_message(pair.source);
        client.read_at = self.tools.now;
        let more = !client.input.is_empty() || client.readable;
        let close = x.close_client || x.request.is_open() || draining;
        // A client that still sends would be reset, and lose what it has not read.
        let at_once = !(x.request.is_open() || more) || client.eof || pair.is_inside();
        let next = if more || client.eof || client.hung_up { Step::Further } else { Step::Wait };
        self.spare.put(pair, &self.sites);
        if !close {
            return next;
        }
        // Without its farewell, a client could not tell the end from a cut.
        if at_once && self.clients[client_key].send_close_notify() {
            return self.close_client(client_key);
        }
        self.begin_linger(client_key)
    }

    /// For a cut body that is delimited by the connection's close. Returns `None` if the framing shows the cut.
    fn finish_by_reset(&mut self, pair_key: PairKey) -> Option<Step> {
        let client_key = self.pairs[pair_key].client;
        match self.clients[client_key].stream.unacknowledged() {
            _ if self.clients[client_key].role.codec.shows_cut() => None,
            0 => Some(self.end_cut_response(client_key)),
            // A reset would discard what the kernel still holds for the client.
            _ => Some(Step::Wait),
        }
    }

    /// Resets a client after it has read all of a cut response, or has taken too long to.
    pub(crate) fn end_cut_response(&mut self, client_key: ClientKey) -> Step {
        let Some(pair) = self.clients[client_key].role.pair else { return self.close_client(client_key) };
        self.detach(pair);
        self.reset_client(client_key)
    }

    /// Closes both connections so that a cut response is not taken for a complete one.
    pub(crate) fn cut(&mut self, pair_key: PairKey, failure: Failure, phase: Phase) -> Step {
        let x = &mut self.pairs[pair_key].exchange;
        x.ends(failure, phase);
        let (begun, client_key) = (x.has_begun(), self.pairs[pair_key].client);
        self.reset_tunnel(pair_key);
        self.detach(pair_key);
        // Undelivered bytes are of no use any more, and a plain close would make a close-delimited body look complete.
        if begun { self.reset_client(client_key) } else { self.close_client(client_key) }
    }

    /// A cut tunnel has no framing that would show the server the cut.
    fn reset_tunnel(&mut self, pair_key: PairKey) {
        let pair = &self.pairs[pair_key];
        if let Some(backend) = pair.backend().filter(|_| pair.is_tunnel()) {
            self.backends[backend].stream.reset_on_close();
        }
    }

    /// Cuts a request at shutdown. Only what the kernel takes now is delivered, of the response or of an answer that
    /// reports the shutdown.
    pub(crate) fn cut_short(&mut self, pair_key: PairKey) {
        let (phase, client_key) = (self.phase(pair_key), self.pairs[pair_key].client);
        self.stop_waiting(pair_key);
        self.reset_tunnel(pair_key);
        self.drop_backend(pair_key);
        match self.pairs[pair_key].exchange.decide_failure(Failure::Stopped, true) {
            FailureAction::Deliver => self.deliver(pair_key, Failure::Stopped, phase),
            _ => self.answer_failure(pair_key, Failure::Stopped, phase),
        };
        let client = &mut self.clients[client_key];
        let gone = client.flush(&mut self.tools.blocks, self.tools.now).is_err();
        let whole = client.is_flushed() && self.pairs[pair_key].exchange.response == ResponseHalf::Done;
        if !(whole || gone || client.role.codec.shows_cut()) {
            return self.queue_client(client_key);
        }
        self.detach(pair_key);
        self.close_without_linger(client_key);
    }

    /// Detaches an exchange that ends early from its connections, and records it.
    pub(crate) fn detach(&mut self, pair_key: PairKey) {
        self.stop_waiting(pair_key);
        self.drop_backend(pair_key);
        let mut pair = self.pairs.remove(pair_key);
        pair.stage = Stage::Routing;
        pair.release_servers();
        let client = &mut self.clients[pair.client];
        client.role.pair = None;
        if pair.exchange.has_begun() {
            client.note_progress(self.tools.now);
            // `untaken` includes framing; the difference is negligible.
            pair.exchange.sent = pair.exchange.sent.saturating_sub(client.untaken() as u64);
        }
        self.record(&mut pair);
        self.spare.put(pair, &self.sites);
    }

    /// Removes what is left of a pair after a panic.
    pub(crate) fn abandon(&mut self, client_key: ClientKey) {
        let pair = self.clients.get(client_key).and_then(|c| c.role.pair);
        if let Some(pair) = pair.filter(|l| self.pairs.contains(*l)) {
            let phase = self.phase(pair);
            self.cut(pair, Failure::Internal, phase);
        }
        self.close_client(client_key);
    }
}
