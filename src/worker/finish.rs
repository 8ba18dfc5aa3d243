//! How exchanges end: complete, answered by rsp, tried again, or cut. Every end leaves a record.

use super::answer_way::AnswerBody;
use super::core::{Core, Step};
use super::ends::phase_of;
use super::sides::Lane;
use crate::base::buffer::BLOCK;
use crate::exchange::record::{End, Phase, Record};
use crate::exchange::{Exchange, Failure, Next, RequestHalf, ResponseHalf, last_hop, plain, scripted};
use crate::h1::RequestFacts;
use crate::http::{Framing, Method, Name, Persistence, Sink, Version};
use crate::net::{Network, Transport};
use crate::script::Answer;

/// Larger bodies of scripted answers go out by room: a client's output never holds much more than a block.
const ANSWER_AT_ONCE: usize = BLOCK / 2;

impl<N: Network> Core<N> {
    /// Something went wrong: try again, tell the client, or cut.
    #[cold]
    pub(super) fn fail(&mut self, lane: u32, failure: Failure) -> Step {
        let phase = self.phase(lane);
        let wrote = self.drop_backend(lane);
        match self.lanes[lane as usize].exchange.failed(failure, wrote) {
            Next::Fresh => self.dial_fresh(lane, failure),
            Next::Another => {
                self.note_tried(lane, failure);
                self.dial(lane)
            }
            Next::Answer => self.answer_failure(lane, failure, phase),
            Next::Deliver => self.deliver(lane, failure, phase),
            Next::Cut => self.cut(lane, failure, phase),
        }
    }

    /// The response, or the request's body behind it, is cut: the client gets what came before its connection ends.
    fn deliver(&mut self, lane: u32, failure: Failure, phase: Phase) -> Step {
        let lane = &mut self.lanes[lane as usize];
        lane.exchange.ends(failure, phase);
        lane.exchange.cut_response();
        lane.answer = None;
        // Its time to take what came begins now, however long ago it was last written to.
        self.clients[lane.client].write_at = self.tools.now;
        Step::Again
    }

    pub(super) fn phase(&self, lane: u32) -> Phase {
        let lane = &self.lanes[lane as usize];
        phase_of(lane, lane.backend.and_then(|b| self.backends.get(b)).map(|b| b.role.state))
    }

    /// Tells the client what went wrong.
    #[cold]
    pub(super) fn answer_failure(&mut self, lane: u32, failure: Failure, phase: Phase) -> Step {
        self.lanes[lane as usize].exchange.ends(failure, phase);
        if failure.end() == End::BadRequest || self.lanes[lane as usize].exchange.request == RequestHalf::Body
        {
            self.lanes[lane as usize].exchange.close_client = true;
        }
        if matches!(failure.status(), 502..=504) {
            self.note_gateway_error(lane, failure);
        }
        let body = plain(&mut self.tools.response, failure.status(), failure.text(), &self.tools.date);
        self.answer(lane, &body)
    }

    /// Sends what the script answered.
    #[cold]
    pub(super) fn answer_scripted(&mut self, lane: u32, answer: Answer) -> Step {
        let x = &mut self.lanes[lane as usize].exchange;
        x.end = End::Answered;
        // What follows a CONNECT may be meant for a tunnel, so it is never read as a request.
        x.close_client |= x.request == RequestHalf::Body || x.head.method == Method::Connect;
        let (fields, length) = (&answer.headers, answer.body.len());
        scripted(&mut self.tools.response, answer.status, fields, length, &self.tools.date);
        if length <= ANSWER_AT_ONCE {
            return self.answer(lane, &answer.body);
        }
        if self.answer_head(lane) {
            let lane = &mut self.lanes[lane as usize];
            lane.exchange.response = ResponseHalf::Body;
            lane.answer = Some(Box::new(AnswerBody::new(answer.body)));
        }
        Step::Again
    }

    /// Answers an OPTIONS request that may go no further.
    #[cold]
    pub(super) fn answer_last_hop(&mut self, lane: u32) -> Step {
        let x = &mut self.lanes[lane as usize].exchange;
        x.end = End::Answered;
        x.close_client |= x.request == RequestHalf::Body;
        last_hop(&mut self.tools.response, &self.tools.date);
        self.answer(lane, b"")
    }

    /// Puts an answer of our own, whose head is in the scratch storage, into the client's output.
    fn answer(&mut self, lane: u32, body: &[u8]) -> Step {
        if self.answer_head(lane) {
            let Lane { exchange: x, client, .. } = &mut *self.lanes[lane as usize];
            x.sent += body.len() as u64;
            let key = *client;
            self.sink(key).1.put(body);
        }
        Step::Again
    }

    /// The head of it. True if a body follows.
    fn answer_head(&mut self, lane: u32) -> bool {
        let draining = self.tools.draining;
        let Lane { exchange: x, client, .. } = &mut *self.lanes[lane as usize];
        let key = *client;
        x.status = self.tools.response.status;
        x.begun = true;
        x.response = ResponseHalf::Done;
        x.ends_with_response = true;
        let is_head = x.head.method == Method::Head;
        let facts = RequestFacts::of(&x.head);
        let persistence = x.persistence(draining);
        let has_body = !is_head && self.tools.response.framing != Framing::None;
        if self.clients[key].is_flushed() {
            // The client's time to take it begins now, and not when it was last written to.
            self.clients[key].write_at = self.tools.now;
        }
        let head = std::mem::take(&mut self.tools.response);
        let (codec, mut out) = self.sink(key);
        let (_, persistence) = codec.encode_head(facts, &head, persistence, &mut out);
        self.tools.response = head;
        self.lanes[lane as usize].exchange.close_client |= persistence == Persistence::Close;
        has_body
    }

    /// Everything is written: the record, and the client's next request or its end.
    pub(super) fn finish(&mut self, lane: u32) -> Step {
        if self.lanes[lane as usize].exchange.response == ResponseHalf::Cut
            && let Some(step) = self.finish_by_reset(lane)
        {
            return step;
        }
        self.release_backend(lane);
        let lane = self.lanes.remove(lane as usize);
        self.record(&lane);
        let (x, key) = (&lane.exchange, lane.client);
        let draining = self.tools.draining;
        let client = &mut self.clients[key];
        self.tools.pipes.give_back(client.spliced.take());
        client.role.lane = None;
        client.role.served = true;
        client.role.codec.next_message();
        client.read_at = self.tools.now;
        let more = !client.input.is_empty() || client.readable;
        let unread = x.request == RequestHalf::Body || more;
        let close = x.close_client || x.request == RequestHalf::Body || draining;
        // A client that still sends into a tunnel would be reset, and lose what it has not read.
        let at_once = !unread || x.tunnel && x.request == RequestHalf::Done;
        let next = if more || client.eof || client.hung_up { Step::Further } else { Step::Wait };
        self.recycle(lane);
        if !close {
            return next;
        }
        if at_once {
            return self.close_client(key);
        }
        self.begin_linger(key)
    }

    /// Where only the connection's end would mark the end of a body that was cut.
    #[cold]
    fn finish_by_reset(&mut self, lane: u32) -> Option<Step> {
        let key = self.lanes[lane as usize].client;
        match self.clients[key].stream.unacknowledged() {
            _ if self.clients[key].role.codec.shows_cut() => None,
            0 => Some(self.end_cut_response(key)),
            // A reset takes with it what the kernel still holds for the client.
            _ => Some(Step::Wait),
        }
    }

    /// The client has all there is of a response that only a reset shows to be cut, or took too long.
    #[cold]
    pub(super) fn end_cut_response(&mut self, key: u32) -> Step {
        let Some(lane) = self.clients[key].role.lane else { return self.close_client(key) };
        self.detach(lane);
        self.reset_client(key)
    }

    /// Ends both sides so that what was cut short looks cut short.
    #[cold]
    pub(super) fn cut(&mut self, lane: u32, failure: Failure, phase: Phase) -> Step {
        let x = &mut self.lanes[lane as usize].exchange;
        x.ends(failure, phase);
        let (begun, key) = (x.begun, self.lanes[lane as usize].client);
        self.detach(lane);
        // Nobody waits any more for what the kernel holds of it; and where only the connection's end marks the
        // body's end, a plain end would be a lie.
        if begun { self.reset_client(key) } else { self.close_client(key) }
    }

    /// rsp stops, and waits no longer: what the kernel takes now is what the client gets, of the response or of an
    /// answer that says so.
    #[cold]
    pub(super) fn cut_short(&mut self, lane: u32) {
        let (phase, key) = (self.phase(lane), self.lanes[lane as usize].client);
        self.drop_backend(lane);
        match self.lanes[lane as usize].exchange.failed(Failure::Stopped, true) {
            Next::Deliver => self.deliver(lane, Failure::Stopped, phase),
            _ => self.answer_failure(lane, Failure::Stopped, phase),
        };
        let client = &mut self.clients[key];
        let gone = client.flush(&mut self.tools.blocks, self.tools.now).is_err();
        let whole = client.is_flushed() && self.lanes[lane as usize].exchange.response == ResponseHalf::Done;
        if !(whole || gone || client.role.codec.shows_cut()) {
            return self.queue_client(key);
        }
        self.detach(lane);
        self.close_without_linger(key);
    }

    /// Takes an exchange that ends early off its connections, and leaves its record.
    #[cold]
    fn detach(&mut self, lane: u32) {
        self.drop_backend(lane);
        let mut lane = self.lanes.remove(lane as usize);
        lane.answer = None;
        let client = &mut self.clients[lane.client];
        client.role.lane = None;
        if lane.exchange.begun {
            client.note_progress(self.tools.now);
            // Framing makes no difference that counts.
            lane.exchange.sent = lane.exchange.sent.saturating_sub(client.untaken() as u64);
        }
        self.record(&lane);
        self.recycle(lane);
    }

    /// After a fault of ours: whatever is left of a pair goes.
    #[cold]
    pub(super) fn abandon(&mut self, key: u32) {
        let lane = self.clients.get(key).and_then(|c| c.role.lane);
        if let Some(lane) = lane.filter(|l| self.lanes.contains(*l as usize)) {
            let phase = self.phase(lane);
            self.cut(lane, Failure::Internal, phase);
        }
        self.close_client(key);
    }

    fn record(&mut self, lane: &Lane) {
        self.tally.ended(lane.exchange.end);
        if self.access.is_some() {
            self.write_record(lane);
        }
    }

    fn write_record(&mut self, lane: &Lane) {
        let x = &lane.exchange;
        let Some(access) = &mut self.access else { return };
        let mut times = x.times;
        times.end = x.elapsed(self.tools.now);
        let config = &self.tools.router.config;
        let pool = lane.route.map(|r| &config.pools[r.pool.0 as usize]);
        let server = pool.zip(lane.server).map(|(pool, server)| &pool.servers[server.0 as usize]);
        let text = |tag| x.head.fields.get(tag).unwrap_or_default();
        let record = Record {
            client: x.client.map(|client| client.ip().to_canonical()),
            client_port: x.client.map_or(0, |client| client.port()),
            status: x.logged_status(),
            end: x.end,
            phase: x.phase,
            version: version_of(x),
            retries: x.retries,
            times,
            sent: x.sent,
            received: x.received,
            method: x.head.method_text(),
            target: x.head.target(),
            host: text(Name::Host),
            referer: text(Name::Referer),
            user_agent: text(Name::UserAgent),
            pool: pool.map_or(b"", |p| p.name.as_bytes()),
            server: server.map_or(b"", |s| s.name.as_bytes()),
            id: x.id.as_bytes(),
            detail: x.failure.and_then(Failure::detail).unwrap_or_default().as_bytes(),
        };
        record.write(access.buffer());
        access.note();
    }
}

/// 0 where no request could be read.
fn version_of(x: &Exchange) -> u8 {
    match (x.head.method_text.is_empty(), x.head.version) {
        (true, _) => 0,
        (false, Version::Http10) => 10,
        (false, Version::Http11) => 11,
    }
}
