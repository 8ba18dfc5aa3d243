//! Requests whose handler waits. The handler is a suspended call of the script; the request stays where it is: between
//! its head and a server (`on_request`), or between a server's head and the client (`on_response`). Meanwhile the
//! request's body is not read in the first case, and the response's in the second.
//!
//! ```text
//!   admit ──► Wait ──► begins to wait ──► ends: resume ──► forward, answer, or waits again
//!                          │ the client leaves, a drain's end
//!                          └──► the call is dropped, what it waited for is cancelled
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::exchange::{Failure, ResponseHalf};
use crate::http::{Framing, ResponseHead};
use crate::net::Network;
use crate::route::{Decision, Responded, Route, WaitingCall};
use crate::script::{TIMEOUT, Wait, Waited};
use crate::worker::conn::table::ClientKey;
use crate::worker::core::{Core, Step};
use crate::worker::pair::request_body_buffer::{HeldBody, ask_for_body};
use crate::worker::pair::table::PairKey;
use crate::worker::pair::to_client::pass_judged;
use crate::worker::pair::{Pair, Stage};
use crate::worker::site::SharedHandlers;
use crate::worker::waits::{RunningWait, WaitKind, Waiter};

/// A request whose handler waits.
pub struct HandlerWait {
    /// The present wait's.
    number: u64,
    call: Box<WaitingCall>,
    response: Option<HandlerResponse>,
    /// It waits for the request's body, which may be complete although its client has ended its side.
    reads_body: bool,
    counted: Counted,
}

/// A response whose head the handler is judging.
pub struct HandlerResponse {
    pub head: ResponseHead,
    /// Nothing follows the head.
    pub whole: bool,
}

/// What the pump asks the core for.
pub enum Asks {
    /// A handler of `on_response` waits.
    Wait { wait: Wait, call: Box<WaitingCall>, response: HandlerResponse },
    /// A held body is whole, or full.
    Filled,
    /// The head of a second try's response is here.
    Hedged(HandlerResponse),
}

impl Asks {
    /// Whether nothing follows the response's head.
    pub fn ends_with_head(&mut self, whole: bool) {
        if let Asks::Wait { response, .. } | Asks::Hedged(response) = self {
            response.whole = whole;
        }
    }
}

/// Handlers of all workers that wait.
#[derive(Clone, Default)]
pub struct WaitingCount(Arc<AtomicUsize>);

/// One of them.
struct Counted(Arc<AtomicUsize>);

impl WaitingCount {
    fn add(&self, most: usize) -> Option<Counted> {
        let counted = Counted(self.0.clone());
        // The one that is counted too much is taken back by `Drop`.
        (self.0.fetch_add(1, Ordering::Relaxed) < most).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HandlerWait {
    /// The number of the present wait.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn reads_body(&self) -> bool {
        self.reads_body
    }
}

impl<N: Network> Core<N> {
    /// The handler of a request waits for the first time.
    pub(crate) fn wait_for_request(&mut self, pair_key: PairKey, wait: Wait, call: Box<WaitingCall>) -> Step {
        self.begin_wait(pair_key, wait, call, None, self.tools.now)
    }

    /// Does what the pump asked for.
    #[cold]
    pub(crate) fn handle_pump_request(&mut self, pair_key: PairKey) -> Step {
        match self.tools.asks.take().map(|asks| *asks) {
            None => Step::Wait,
            Some(Asks::Wait { wait, call, response }) => {
                self.begin_wait(pair_key, wait, call, Some(response), self.tools.now)
            }
            Some(Asks::Filled) => self.body_is_held(pair_key),
            Some(Asks::Hedged(response)) => self.second_wins(pair_key, response),
        }
    }

    /// A pool with `buffer_request` takes the request once its body is whole, or as much of it as is held.
    pub(crate) fn buffer_request(&mut self, pair_key: PairKey, route: Route) -> Step {
        let most = route.pool.config.buffer_request.map_or(0, |most| most as usize);
        if !self.hold_body(pair_key, most) {
            return self.forward_copied(pair_key, route);
        }
        let pair = &mut self.pairs[pair_key];
        pair.stage = Stage::Buffering;
        if let Some(held) = &mut pair.held {
            held.route = Some(route);
        }
        Step::Again
    }

    /// Begins to hold the request's body. Returns false if there is nothing to wait for.
    fn hold_body(&mut self, pair_key: PairKey, most: usize) -> bool {
        let pair = &mut self.pairs[pair_key];
        if !pair.exchange.request.is_open() {
            return false;
        }
        let too_large = matches!(pair.exchange.head.framing, Framing::Exact(length) if length > most as u64);
        let memory = &self.tools.buffers;
        let held = pair.held.get_or_insert_with(|| Box::new(HeldBody::new(memory)));
        if too_large {
            return false;
        }
        held.fill(most);
        let fills = held.is_filling();
        ask_for_body(&mut self.clients[pair.client], pair, &mut self.tools);
        fills
    }

    /// The body is whole, or as much of it is here as may be held.
    fn body_is_held(&mut self, pair_key: PairKey) -> Step {
        let pair = &mut self.pairs[pair_key];
        if let Some(wait) = &pair.waiting {
            let ended = (wait.number, Waited::Body(body_of(pair)));
            self.waits.results().borrow_mut().push(ended);
            return self.wait(pair_key);
        }
        match pair.held.as_mut().and_then(|held| held.route.take()) {
            Some(route) => {
                pair.stage = Stage::Routing;
                self.forward_copied(pair_key, route)
            }
            None => Step::Wait,
        }
    }

    fn begin_wait(
        &mut self,
        pair_key: PairKey,
        wait: Wait,
        call: Box<WaitingCall>,
        response: Option<HandlerResponse>,
        since: u64,
    ) -> Step {
        let pair = &self.pairs[pair_key];
        let Some(counted) = self.waits.count.add(pair.site.settings().script.waiting as usize) else {
            give_up(pair.handlers.as_ref(), *call);
            return self.fail(pair_key, Failure::TooManyWaiting);
        };
        let client = self.clients.token(pair.client);
        let (site, handlers) = (pair.site.clone(), pair.handlers.clone());
        let body = if let Wait::Body(most) = wait { Some(most) } else { None };
        let number = self.start_wait(Waiter::Client(client), (&site, handlers.as_ref()), wait, since);
        let reads_body = body.is_some();
        let waiting = HandlerWait { number, call, response, reads_body, counted };
        self.pairs[pair_key].waiting = Some(Box::new(waiting));
        match body {
            // Not at once: a handler that asks again and again would fill the stack.
            Some(most) if !self.hold_body(pair_key, most) => {
                let body = body_of(&self.pairs[pair_key]);
                self.waits.results().borrow_mut().push((number, Waited::Body(body)));
                self.wait(pair_key)
            }
            Some(_) => Step::Again,
            None => self.wait(pair_key),
        }
    }

    /// Continues the handlers whose waits are over.
    pub fn run_waits(&mut self) {
        if self.waits.next().is_none_or(|next| next > self.tools.now) {
            return;
        }
        for (number, waited) in self.waits.take_ended() {
            if let Some(wait) = self.waits.end(number) {
                self.continue_waiter(wait, number, waited);
            }
        }
        while let Some(number) = self.waits.overdue(self.tools.now) {
            let Some(wait) = self.waits.end(number) else { return };
            let late = || TIMEOUT.to_string();
            let waited = match wait.kind {
                WaitKind::Sleep => Waited::Slept,
                WaitKind::Resolve => Waited::Resolved(Err(late())),
                WaitKind::Body => Waited::Body(Err(TIMEOUT)),
                WaitKind::Check => Waited::Checked(None),
                WaitKind::Fetch(inside) => {
                    inside.into_iter().for_each(|inside| self.cancel_inside(inside));
                    Waited::Fetched(Err(late()))
                }
            };
            self.continue_waiter(wait, number, waited);
        }
    }

    fn continue_waiter(&mut self, wait: RunningWait, number: u64, waited: Waited) {
        // `None`: it has waited as long as it may.
        let waited = if wait.is_last && self.tools.now >= wait.until { None } else { Some(waited) };
        let since = wait.since;
        match wait.waiter {
            Waiter::Client(client) => {
                self.guarded_resume(client, |core| core.resume(client.key, number, waited, since));
            }
            Waiter::Task => self.guarded_task(|core| core.resume_task(number, waited, since)),
        }
    }

    fn resume(&mut self, client: ClientKey, number: u64, waited: Option<Waited>, since: u64) {
        if let Some(step) = self.resume_waiting(client, number, waited, since) {
            self.requeue_after(client, step);
        }
    }

    /// `None` if the request does not wait for this any more.
    fn resume_waiting(
        &mut self,
        client: ClientKey,
        number: u64,
        waited: Option<Waited>,
        since: u64,
    ) -> Option<Step> {
        let pair_key = self.clients.get(client).and_then(|client| client.role.pair)?;
        let pair = &mut self.pairs[pair_key];
        let wait = pair.waiting.take_if(|wait| wait.number == number)?;
        let HandlerWait { call, response, counted, .. } = *wait;
        // It may wait again: as one handler.
        drop(counted);
        Some(match response {
            None => self.resume_request(pair_key, *call, waited, since),
            Some(response) => self.resume_response(pair_key, *call, waited, response, since),
        })
    }

    fn resume_request(
        &mut self,
        pair_key: PairKey,
        call: WaitingCall,
        waited: Option<Waited>,
        since: u64,
    ) -> Step {
        let pair = &mut self.pairs[pair_key];
        let Some(handlers) = pair.handlers.clone() else { return self.fail(pair_key, Failure::Internal) };
        let (x, routes) = (&mut pair.exchange, &pair.site.routes);
        let decision = handlers.borrow_mut().resume_request(call, waited, x, routes, self.tools.now);
        match decision {
            Decision::Wait(wait, call) => self.begin_wait(pair_key, wait, call, None, since),
            decision => self.apply_decision(pair_key, decision),
        }
    }

    fn resume_response(
        &mut self,
        pair_key: PairKey,
        call: WaitingCall,
        waited: Option<Waited>,
        response: HandlerResponse,
        since: u64,
    ) -> Step {
        let HandlerResponse { mut head, whole } = response;
        let pair = &mut self.pairs[pair_key];
        let Some(handlers) = pair.handlers.clone() else { return self.fail(pair_key, Failure::Internal) };
        let Pair { exchange: x, site, .. } = pair;
        let config = &site.routes.config;
        let responded = handlers.borrow_mut().resume_response(call, waited, x, &mut head, config);
        match responded {
            Responded::Ok => {}
            Responded::Waits(wait, call) => {
                return self.begin_wait(pair_key, wait, call, Some(HandlerResponse { head, whole }), since);
            }
            Responded::Unchanged(error) => self.tools.errors.response_unchanged(&error, self.tools.now),
            Responded::Failed(error) => {
                let failure = self.tools.errors.failed("on_response", &error, self.tools.now);
                return self.fail(pair_key, failure);
            }
        }
        self.tools.response = head;
        pass_judged(&mut self.clients[pair.client], pair, whole, &mut self.tools);
        Step::Again
    }

    /// The request ends before its handler: what that waits for is cancelled.
    #[cold]
    pub(crate) fn stop_waiting(&mut self, pair_key: PairKey) {
        // What its turn asked for is not another request's.
        self.tools.asks = None;
        let pair = &mut self.pairs[pair_key];
        if pair.exchange.response == ResponseHalf::InHandler {
            pair.exchange.response = ResponseHalf::Waiting;
        }
        let Some(wait) = pair.waiting.take() else { return };
        let HandlerWait { number, call, .. } = *wait;
        give_up(pair.handlers.as_ref(), *call);
        if let Some(WaitKind::Fetch(Some(inside))) = self.waits.end(number).map(|wait| wait.kind) {
            self.cancel_inside(inside);
        }
    }
}

/// Ends a call that waits.
fn give_up(handlers: Option<&SharedHandlers>, call: WaitingCall) {
    // Where its functions are running or gone, dropping it will do.
    if let Some(Ok(mut handlers)) = handlers.map(|handlers| handlers.try_borrow_mut()) {
        handlers.give_up(call);
    }
}

/// What the script gets of its request's body.
fn body_of(pair: &Pair) -> Result<Vec<u8>, &'static str> {
    match &pair.held {
        None => Ok(Vec::new()),
        Some(held) => match held.whole() {
            Some(body) => Ok(body.to_vec()),
            None if held.short => Err("no memory"),
            None => Err("too large"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_handlers_wait_than_may() {
        let count = WaitingCount::default();
        let (first, second) = (count.add(2), count.clone().add(2));
        assert!(first.is_some() && second.is_some() && count.add(2).is_none());
        drop(first);
        assert!(count.add(2).is_some());
    }
}
