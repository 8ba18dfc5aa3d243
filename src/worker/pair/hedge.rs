//! Second tries (`hedge`): a request whose server has not sent a whole response head after some time goes to another
//! server of its pool too. The first whole head wins; the other try's connection is closed.
//!
//! ```text
//!   sent to a server ─► Waits ── due: another server, the budget ─► Runs, as an internal request
//!                         │                                           │ its own head comes first: the second is cancelled
//!                         └ its head comes                            │ the second's head comes: it takes that connection
//!                                                                     └ its server fails: the same, head or not
//! ```
//!
//! The second try has a pair of its own until it wins; then the connection to its server, with all that was read from
//! it, becomes that of the first pair, whose client notices nothing. A second try is not tried again, and does not wait in
//! a queue. What its server does counts for its server; a try that is cancelled says nothing of its server, but for how
//! long it took.

use std::cmp::Reverse;
use std::rc::Rc;

use crate::balance::{HedgeEnd, Picked, ServerState, Want, looks_again};
use crate::exchange::end::Party;
use crate::exchange::record::NEVER;
use crate::exchange::{Failure, RequestHalf, ResponseHalf};
use crate::http::{Method, ResponseHead};
use crate::net::{Inside, Network, Transport};
use crate::route::{Binding, NoServer, Route, pick};
use crate::worker::conn::table::{BackendKey, ClientToken};
use crate::worker::core::{Core, Step};
use crate::worker::pair::hedge_table::HedgeStage;
use crate::worker::pair::inside::{InsideSide, InsideTarget};
use crate::worker::pair::pump::Tools;
use crate::worker::pair::table::PairKey;
use crate::worker::pair::to_client::{end_response, pass_final_head};
use crate::worker::pair::waiting::{Asks, HandlerResponse};
use crate::worker::pair::{Origin, Pair, Stage};

/// How many bytes of interim responses to a second try are read; they are dropped.
const INTERIM: usize = 1 << 20;
/// With at most so many entries, those of answered requests are not looked for.
const FEW: usize = 256;

impl Pair {
    /// Whether it may go to a second server at all.
    fn may_hedge(&self) -> bool {
        let x = &self.exchange;
        let is_bound = self.route.as_ref().is_none_or(|route| match (route.binding, &route.server) {
            (Binding::Only | Binding::Check, _) => true,
            // Its session is there.
            (Binding::Session, Some(server)) => {
                self.server.as_ref().is_some_and(|own| Rc::ptr_eq(own, server))
            }
            (Binding::Session | Binding::Preferred, _) => false,
        });
        self.origin == Origin::Client
            && x.request == RequestHalf::NoBody
            && matches!(x.head.method, Method::Get | Method::Head | Method::Options)
            && !(x.head.upgrade || x.tries.probe || is_bound)
    }

    /// A response's final head is here. Returns true if it is not the client's yet, but that of a second try.
    #[cold]
    pub(crate) fn meets_hedge<S: Transport>(&mut self, tools: &mut Tools<S>) -> bool {
        if self.origin == Origin::Hedge {
            let response = HandlerResponse { head: std::mem::take(&mut tools.response), whole: false };
            self.exchange.response = ResponseHalf::InHandler;
            tools.asks = Some(Box::new(Asks::Hedged(response)));
            return true;
        }
        let hedge = tools.hedges.get(self.hedge);
        if let HedgeStage::Runs { number, .. } = hedge {
            self.count_hedge(HedgeEnd::First);
            tools.hedges.lost.push(number);
        }
        self.note_time(hedge, tools.now);
        tools.hedges.set(&mut self.hedge, HedgeStage::No);
        false
    }

    /// Notes how long its server took, or has taken up to now.
    fn note_time(&self, hedge: HedgeStage, now: u64) {
        let (HedgeStage::Waits { since, .. } | HedgeStage::Runs { since, .. }) = hedge else { return };
        if let Some(times) = self.route.as_ref().and_then(|route| route.pool.hedges.as_ref()) {
            times.note(now.saturating_sub(since), now);
        }
    }

    fn count_hedge(&self, end: HedgeEnd) {
        if let Some(route) = &self.route {
            route.pool.counters.hedge_ends(end);
        }
    }

    /// Takes over the connection to the server of the second try.
    fn take_over(&mut self, second: &mut Pair, backend: BackendKey) {
        let later = second.exchange.times.start.saturating_sub(self.exchange.times.start) as u32;
        let moved = |time: u32| if time == NEVER { NEVER } else { time.saturating_add(later) };
        let times = second.exchange.times;
        self.exchange.times.connected = moved(times.connected);
        self.exchange.times.first_byte = moved(times.first_byte);
        self.exchange.tries.reused = second.exchange.tries.reused;
        (self.stage, second.stage) = (Stage::Forwarding(backend), Stage::Routing);
        (self.server, self.slot) = (second.server.take(), second.slot.take());
        self.idle_for = second.idle_for;
    }
}

impl<N: Network> Core<N> {
    /// A request was sent to a server of a pool with `hedge`.
    #[cold]
    pub(crate) fn plan_hedge(&mut self, pair_key: PairKey) {
        let now = self.tools.now;
        let pair = &mut self.pairs[pair_key];
        let Some(pool) = pair.route.as_ref().map(|route| &route.pool).filter(|_| pair.may_hedge()) else {
            return;
        };
        let (Some(hedge), Some(times)) = (&pool.config.hedge, &pool.hedges) else { return };
        let wait = times.wait(hedge, &pool.state, now);
        let due = wait.map_or(u64::MAX, |wait| now.saturating_add(wait));
        self.tools.hedges.set(&mut pair.hedge, HedgeStage::Waits { since: now, due, looks: 0 });
        if due != u64::MAX {
            self.forget_answered();
            self.push_due(pair_key, due);
        }
    }

    fn push_due(&mut self, pair_key: PairKey, due: u64) {
        let client = self.clients.token(self.pairs[pair_key].client);
        self.tools.hedges.due.push(Reverse((due, client.to_bits())));
    }

    /// Forgets requests that have their response, if they are most of those that wait.
    fn forget_answered(&mut self) {
        if self.tools.hedges.due.len() >= FEW.max(2 * self.pairs.len()) {
            let mut due = std::mem::take(&mut self.tools.hedges.due);
            due.retain(|Reverse((due, client))| self.waiting(*client, *due).is_some());
            self.tools.hedges.due = due;
        }
    }

    /// The request of this connection, if it waits for a second try at this time.
    fn waiting(&mut self, client: u64, at: u64) -> Option<PairKey> {
        let pair_key = self.clients.by_token(ClientToken::from_bits(client))?.role.pair?;
        let hedge = self.pairs.get(pair_key)?.hedge;
        matches!(self.tools.hedges.get(hedge), HedgeStage::Waits { due, .. } if due == at).then_some(pair_key)
    }

    /// Begins the second tries that are due.
    pub(crate) fn run_hedges(&mut self) {
        while let Some(Reverse((due, client))) = self.tools.hedges.due.peek().copied() {
            if due > self.tools.now {
                return;
            }
            self.tools.hedges.due.pop();
            if let Some(pair_key) = self.waiting(client, due) {
                self.guarded_resume(ClientToken::from_bits(client), |core| core.begin_hedge(pair_key));
            }
        }
    }

    fn begin_hedge(&mut self, pair_key: PairKey) {
        let now = self.tools.now;
        let HedgeStage::Waits { since, due, looks } = self.tools.hedges.get(self.pairs[pair_key].hedge)
        else {
            return;
        };
        if !self.has_budget(pair_key, looks) {
            return self.look_again(pair_key, due + (due - since), looks);
        }
        let Some(picked) = self.pick_second(pair_key) else { return };
        let pair = &mut self.pairs[pair_key];
        let Some(route) = &pair.route else { return };
        route.pool.state.hedge_begins(now);
        let to = Route { server: None, binding: Binding::Preferred, ..route.clone() };
        let of = self.clients.token(pair.client).to_bits();
        let mut tried = pair.tried.clone();
        pair.server.iter().for_each(|server| tried.add(server.clone()));
        let side = InsideSide::new(InsideTarget::Hedge { of }, pair.exchange.head.method, |_| {});
        let (client, second) = self.open_copy(pair_key, side, Inside::dropping(INTERIM), Origin::Hedge, &to);
        self.set_hedge(pair_key, HedgeStage::Runs { since, number: client.to_bits() });
        let pair = &mut self.pairs[second];
        (pair.route, pair.tried) = (Some(to), tried);
        pair.take_picked(picked);
        let begun = self.try_server(second);
        match self.pairs.get(second).and_then(|pair| pair.backend()) {
            Some(_) => self.requeue_after(client.key, begun.unwrap_or(Step::Wait)),
            None => self.end_second(second),
        }
    }

    /// To be asked before a server is picked: that takes a turn of the balancing from a server.
    fn has_budget(&self, pair_key: PairKey, looks: u32) -> bool {
        self.pairs[pair_key].route.as_ref().is_some_and(|route| {
            let hedge = route.pool.config.hedge.as_ref();
            hedge.is_some_and(|hedge| route.pool.state.may_hedge(hedge, looks, self.tools.now))
        })
    }

    /// Looks at it once more after twice the time, where the budget may have something for it then.
    fn look_again(&mut self, pair_key: PairKey, at: u64, looks: u32) {
        let pair = &mut self.pairs[pair_key];
        let hedge = pair.route.as_ref().and_then(|route| route.pool.config.hedge.as_ref());
        if let HedgeStage::Waits { since, .. } = self.tools.hedges.get(pair.hedge)
            && hedge.is_some_and(|hedge| looks_again(hedge, looks))
        {
            let next = HedgeStage::Waits { since, due: at, looks: looks + 1 };
            self.tools.hedges.set(&mut pair.hedge, next);
            self.push_due(pair_key, at);
        }
    }

    /// Picks another server that takes requests now and is used as much as the first.
    fn pick_second(&mut self, pair_key: PairKey) -> Option<Picked> {
        let pair = &mut self.pairs[pair_key];
        let (route, first) = (pair.route.as_ref()?, pair.server.clone()?);
        let mut tried = pair.tried.clone();
        tried.add(first.clone());
        let to = Route { server: None, ..route.clone() };
        let want = Want { now: self.tools.now, key: route.key, may_probe: false, in_turn: false };
        let handlers = || pair.handlers.as_ref().map(|handlers| handlers.borrow_mut());
        let picked = match pick(&to, &tried, &mut pair.exchange, &want, handlers) {
            Ok(picked) => picked,
            Err(NoServer::Script(error)) => {
                self.tools.errors.log("balance", &error, " (there is no second try)", self.tools.now);
                return None;
            }
            Err(_) => return None,
        };
        let alike = picked.server.is_backup() == first.is_backup();
        (alike && picked.server.state() == ServerState::Up && !Rc::ptr_eq(&picked.server, &first))
            .then_some(picked)
    }

    /// The head of a second try's response is here: it is the client's, unless another one was first.
    pub(crate) fn second_wins(&mut self, second: PairKey, response: HandlerResponse) -> Step {
        let HandlerResponse { head, whole } = response;
        match self.first_of(second) {
            None => self.end_second(second),
            Some(first) => {
                // What goes wrong from here on is the first's, which has a client.
                let client = self.clients.token(self.pairs[first].client);
                self.guarded_resume(client, |core| {
                    core.leave_slow_server(first);
                    core.adopt(first, second);
                    let step = core.pass_adopted(first, head, whole);
                    core.requeue_after(client.key, step);
                });
            }
        }
        Step::Gone
    }

    /// The request of which this is the second try, if it still waits for it.
    fn first_of(&mut self, second: PairKey) -> Option<PairKey> {
        let client = self.pairs.get(second)?.client;
        let number = self.clients.token(client).to_bits();
        let InsideTarget::Hedge { of } = self.clients.get(client)?.role.inside()?.target else { return None };
        let first = self.clients.by_token(ClientToken::from_bits(of))?.role.pair?;
        let pair = self.pairs.get(first)?;
        let hedge = self.tools.hedges.get(pair.hedge);
        let waits = matches!(hedge, HedgeStage::Runs { number: own, .. } if own == number);
        (waits && pair.exchange.response == ResponseHalf::Waiting).then_some(first)
    }

    /// The server was slower than another one, which is no failure.
    fn leave_slow_server(&mut self, first: PairKey) {
        let now = self.tools.now;
        let pair = &mut self.pairs[first];
        let hedge = self.tools.hedges.get(pair.hedge);
        pair.note_time(hedge, now);
        if let (Some(server), HedgeStage::Runs { since, .. }) = (pair.server.clone(), hedge) {
            if pair.route.as_ref().is_some_and(|route| route.pool.config.reads_latency()) {
                server.latency.observe(now.saturating_sub(since), now);
            }
            pair.exchange.note_attempt(server.name(), "hedged");
        }
    }

    /// The first pair gets the connection of the second, which ends.
    fn adopt(&mut self, first: PairKey, second: PairKey) {
        self.pairs[first].count_hedge(HedgeEnd::Second);
        self.set_hedge(first, HedgeStage::No);
        self.drop_backend(first);
        let backend = self.pairs[second].backend();
        if let Some(backend) = backend
            && let Some((pair, second)) = self.pairs.get2_mut(first, second)
        {
            pair.take_over(second, backend);
            let role = &mut self.backends[backend].role;
            role.pair = Some(first);
            if let Some(dedicated) = &mut role.dedicated {
                dedicated.owner = pair.client;
            }
        }
        self.end_second(second);
    }

    fn pass_adopted(&mut self, first: PairKey, head: ResponseHead, whole: bool) -> Step {
        self.tools.response = head;
        let pair = &mut self.pairs[first];
        let client = &mut self.clients[pair.client];
        let passed = pass_final_head(client, pair, &mut self.tools);
        match (passed, &mut self.tools.asks) {
            (Err(failure), _) => self.fail(first, failure),
            (Ok(()), Some(asks)) => {
                asks.ends_with_head(whole);
                self.handle_pump_request(first)
            }
            (Ok(()), None) => {
                if whole {
                    end_response(client, pair, false, &mut self.tools);
                }
                Step::Again
            }
        }
    }

    /// The second try that can take the place of the first, whose server failed.
    pub(crate) fn take_second(&mut self, first: PairKey) -> Option<PairKey> {
        let HedgeStage::Runs { number, .. } = self.hedge_of(first) else { return None };
        let second = self.clients.by_token(ClientToken::from_bits(number))?.role.pair?;
        self.pairs.get(second)?.backend()?;
        self.set_hedge(first, HedgeStage::No);
        Some(second)
    }

    /// The first server failed; the second try is on its way. A kept connection that died says nothing of its server,
    /// which may be tried once more if the second fails too.
    pub(crate) fn go_on_with_second(&mut self, first: PairKey, second: PairKey, failure: Failure) -> Step {
        let pair = &mut self.pairs[first];
        if failure == Failure::ServerClosed && pair.exchange.tries.reused {
            self.counters.stale();
            if let Some(server) = &pair.server {
                pair.exchange.note_attempt(server.name(), "reused-stale");
            }
        } else {
            if pair.backend().is_some() {
                self.count_failure(first, failure);
            }
            self.note_tried(first, failure);
        }
        self.adopt(first, second);
        Step::Again
    }

    /// A second try failed: the first goes on alone.
    pub(crate) fn second_failed(&mut self, second: PairKey, failure: Failure) -> Step {
        let is_stale = failure == Failure::ServerClosed && self.pairs[second].exchange.tries.reused;
        if failure.side() == Party::Server && self.pairs[second].backend().is_some() && !is_stale {
            self.count_failure(second, failure);
        }
        self.end_second(second);
        Step::Gone
    }

    /// Ends the pair of a second try, whatever it has.
    fn end_second(&mut self, second: PairKey) {
        if let Some(first) = self.first_of(second) {
            self.pairs[first].count_hedge(HedgeEnd::First);
            if let HedgeStage::Runs { since, .. } = self.hedge_of(first) {
                self.set_hedge(first, HedgeStage::Waits { since, due: u64::MAX, looks: 0 });
            }
        }
        if let Some(client) = self.pairs.get(second).map(|pair| pair.client) {
            self.detach(second);
            self.close_client(client);
        }
    }

    /// The request leaves its server without a response.
    #[cold]
    pub(crate) fn end_hedge(&mut self, pair_key: PairKey) {
        let hedge = self.hedge_of(pair_key);
        self.set_hedge(pair_key, HedgeStage::No);
        if let HedgeStage::Runs { number, .. } = hedge {
            self.pairs[pair_key].count_hedge(HedgeEnd::None);
            self.cancel_inside(number);
        }
    }

    fn hedge_of(&self, pair_key: PairKey) -> HedgeStage {
        self.tools.hedges.get(self.pairs[pair_key].hedge)
    }

    fn set_hedge(&mut self, pair_key: PairKey, hedge: HedgeStage) {
        self.tools.hedges.set(&mut self.pairs[pair_key].hedge, hedge);
    }

    /// Cancels second tries that were too late.
    pub(crate) fn cancel_lost(&mut self) {
        while let Some(number) = self.tools.hedges.lost.pop() {
            self.cancel_inside(number);
        }
    }
}
