//! One seed from its first connection to its last: peers and rsp take turns, the clock moves a little with each,
//! and only when nothing else moves it jumps, to whoever wakes first or to rsp's next deadline.
//!
//! Where nobody misbehaves, no deadline may be needed: a jump to one while a client is unserved means that rsp
//! forgot something. At the end of every seed everything is given back: connections, exchanges, blocks, timers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rsp::balance::{Servers, SitePools};
use rsp::base::batch::{self, Receiver};
use rsp::exchange::ListenerContext;
use rsp::exchange::record::Record;
use rsp::script::{Source, load};
use rsp::worker::{self, Core, SiteParts};

use crate::balancing::{Balancing, check_given_back};
use crate::client::Client;
use crate::inside::Asked;
use crate::net::Net;
use crate::pass_through::Passing;
use crate::plan::{Ledger, Request, requests};
use crate::rng::Rng;
use crate::server::Server;
use crate::world::{Shared, World};

const SERVERS: usize = 3;
/// A seed that takes more rounds than this does not end.
const ROUNDS: usize = 500_000;

pub struct Run {
    world: Shared,
    core: Core<Net>,
    sites: Sites,
    /// rsp's access records.
    records: Receiver,
    ledger: Ledger,
    clients: Vec<Client>,
    servers: Vec<Server>,
    inside: Asked,
    passing: Passing,
    /// Clients that connect later, the first one last.
    coming: Vec<(u64, Vec<Request>)>,
    now: u64,
    /// The same, as rsp reads it within turns.
    clock: Rc<Clock>,
    /// When the last round began.
    round_at: u64,
    /// rsp is given another site at these times, the first one last.
    swaps: Vec<u64>,
    /// rsp begins to drain at this time.
    drains: Option<u64>,
    /// And cuts what is left at this time.
    stops: Option<u64>,
    /// And does not wait for anything after this time.
    ends: Option<u64>,
}

impl Run {
    pub fn new(seed: u64, source: &Source) -> Run {
        let mut rng = Rng::new(seed);
        let honest = rng.one_in(2);
        let mut ledger = Ledger::new(seed, honest);
        (ledger.aborts, ledger.crowded) = (rng.one_in(5), !honest && rng.one_in(10));
        ledger.balancing = Balancing::any(&mut rng, honest);
        if ledger.crowded {
            // Who is answered has waited.
            ledger.balancing.queue.most = 1000;
            ledger.balancing.health = None;
        }
        let mut coming = Vec::new();
        ledger.long = rng.one_in(3);
        let (mut first_id, mut at) = (1, 0);
        for _ in 0..rng.upto(4) {
            let mut list = requests(&mut rng, first_id, ledger.long);
            list.iter_mut().for_each(|request| ledger.balancing.hold(request));
            first_id += list.len() as u64;
            ledger.add(&list);
            coming.push((at, list));
            at += if rng.one_in(2) { 0 } else { rng.below(100_000) as u64 };
        }
        coming.reverse();
        let tunnels = coming.iter().any(|(_, list)| list.iter().any(Request::is_tunnel));
        let drains = rng.one_in(if tunnels { 3 } else { 10 }).then(|| {
            let most = rng.pick(&[5_000, 20_000, 1_000_000]);
            rng.below(most) as u64
        });
        let stops = (!honest && rng.one_in(20)).then(|| rng.below(1_000_000) as u64);
        let ends = stops.map(|at| at + [0, 1_000_000][rng.below(2)]);
        let (access, records) = batch::queue(1, 1 << 16);
        ledger.trailers = rng.one_in(2);
        let mut swaps: Vec<u64> = match rng.one_in(3) {
            true => (0..rng.upto(5)).map(|_| rng.below(500_000) as u64).collect(),
            false => Vec::new(),
        };
        swaps.sort_unstable_by(|a, b| b.cmp(a));
        let mut sites = Sites {
            source: source.clone(),
            servers: Servers::new(1),
            balancing: ledger.balancing.clone(),
            pools: Vec::new(),
            made: 0,
            listener_context: None,
        };
        let site = sites.next(&mut rng, &ledger);
        let mut world = World::new(Rng::new(rng.next()), SERVERS + 1, honest);
        world.crowded = ledger.crowded;
        let world = Rc::new(RefCell::new(world));
        let clock = Rc::new(Clock { slow: rng.one_in(4), ..Clock::default() });
        let reads = clock.clone();
        let reads = move || reads.read();
        let core = Core::new(
            Net { world: world.clone() },
            worker::Sites::new(site, 0),
            Some(worker::AccessSender::of_all(access)),
            reads,
        );
        let (clients, servers) = (Vec::new(), Vec::new());
        let inside = Asked::new(&mut world.borrow_mut().rng, first_id, ledger.honest);
        Run {
            world,
            core,
            sites,
            records,
            ledger,
            clients,
            servers,
            inside,
            passing: Passing::any(seed, honest),
            coming,
            // The core has read the clock once.
            now: clock.now.get(),
            clock,
            round_at: 0,
            swaps,
            drains,
            stops,
            ends,
        }
    }

    /// Runs to the end. Panics where the oracle finds something. Gives the ends that requests came to, a bit each.
    pub fn run(mut self) -> u64 {
        let mut quiet = false;
        for _ in 0..ROUNDS {
            let moved = self.round(quiet);
            if !moved && quiet {
                if self.stop_checks() {
                    quiet = false;
                    continue;
                }
                if self.is_over() {
                    self.check_all_given_back();
                    return self.check_records();
                }
                self.jump();
            }
            quiet = !moved;
        }
        panic!("{ROUNDS} rounds and no end: {}", self.state());
    }

    /// Everybody may act; with `all`, everybody does. True if anything moved.
    fn round(&mut self, all: bool) -> bool {
        self.round_at = self.now;
        let mut moved = self.connect() | self.connect_to_pass();
        moved |= self.peers(all);
        moved |= self.weather();
        moved |= self.rsp(all);
        self.now += self.world.borrow_mut().rng.below(300) as u64;
        moved
    }

    /// Clients that come now.
    fn connect(&mut self) -> bool {
        let Some((_, list)) = self.coming.pop_if(|(at, _)| *at <= self.now) else { return false };
        let (wire, link) = Net::client(&self.world);
        let client = Client::new(link, list, &mut self.ledger, &mut self.world.borrow_mut());
        self.clients.push(client);
        self.core.accepted(wire, Some(([192, 0, 2, 1], 4711).into()));
        true
    }

    /// The same of those that are passed through.
    fn connect_to_pass(&mut self) -> bool {
        let Some(number) = self.passing.due(self.now) else { return false };
        let (wire, link) = Net::client(&self.world);
        self.passing.connected(number, link);
        if let Some(key) = self.core.accepted(wire, Some(([192, 0, 2, 2], 4711).into())) {
            self.core.set_listener(key, 1, self.sites.listener_context.as_ref());
        }
        true
    }

    fn peers(&mut self, all: bool) -> bool {
        let world = &mut *self.world.borrow_mut();
        let mut moved = false;
        for client in &mut self.clients {
            if all || world.rng.one_in(2) {
                moved |= client.step(world, &mut self.ledger, self.now);
            }
        }
        self.servers.retain(|server| {
            let passed_to = server.is_passed_to(world);
            if passed_to {
                self.passing.serve(server.link, server.number);
            }
            !passed_to
        });
        moved |= self.passing.step(all, world, &self.ledger, self.now);
        for server in &mut self.servers {
            if all || world.rng.one_in(2) {
                moved |= server.step(world, &mut self.ledger, self.now);
            }
        }
        moved
    }

    /// Connects are decided; servers go down and come up.
    fn weather(&mut self) -> bool {
        let world = &mut *self.world.borrow_mut();
        let before = world.pending.len();
        if before > 0 && world.rng.one_in(2) {
            let made = world.settle_connect();
            self.servers.extend(made.map(|place| Server::new(place, world, self.now)));
        }
        if !self.ledger.honest && world.rng.one_in(200) {
            let number = world.rng.below(SERVERS + 1);
            world.up[number] = !world.up[number];
            let reset = world.rng.one_in(2);
            let down = !world.up[number];
            self.servers
                .iter_mut()
                .filter(|s| down && s.number == number)
                .for_each(|s| s.leave(world, reset));
            if down {
                self.passing.leave(number, world);
            }
        }
        before > 0
    }

    fn rsp(&mut self, all: bool) -> bool {
        let (before, events) = (self.core.counts(), self.world.borrow_mut().deliver(all));
        let text = format!("second {}", self.now / 1_000_000);
        self.core.set_clock(self.now, text.as_bytes());
        self.clock.now.set(self.clock.now.get().max(self.now));
        if self.swaps.pop_if(|at| *at <= self.now).is_some() {
            let site = self.sites.next(&mut self.world.borrow_mut().rng, &self.ledger);
            self.core.set_site(site);
        }
        self.ask_inside();
        if self.drains.take_if(|at| *at <= self.now).is_some() {
            self.ledger.draining = true;
            let within = self.world.borrow_mut().rng.pick(&[50, 1_000, 30_000]);
            self.core.drain(Duration::from_millis(within));
        }
        if self.stops.take_if(|at| *at <= self.now).is_some() {
            self.ledger.stopped = true;
            self.core.cut_all();
        }
        if self.ends.take_if(|at| *at <= self.now).is_some() {
            self.core.stop();
            let (clients, _, exchanges) = self.core.counts();
            assert_eq!((clients, exchanges), (0, 0), "left by a stop");
        }
        let moved = !events.is_empty() || self.core.has_turns();
        for (token, ready) in events {
            self.core.ready(token, ready);
        }
        self.core.take_grants();
        // A handshake reads it before and after.
        let shaken =
            self.world.borrow().links.iter().filter(|link| link.filter.is_some() && !link.closed).count();
        let due = self.core.turns_due() + 2 * shaken;
        self.clock.readings.set(0);
        self.core.turns();
        // The first look at the clock ends a turn.
        let all = !self.clock.slow || self.clock.readings.get() <= due;
        assert!(all, "a client whose requests take long went on");
        // Time does not go back.
        self.now = self.now.max(self.clock.now.get());
        self.core.expire();
        crate::check_for_panic();
        let (buffered, most) = (self.core.buffered() as u64, self.ledger.balancing.buffer_memory);
        assert!(buffered <= most, "{buffered} bytes are held, {most} are allowed");
        self.inside.check(&mut self.ledger);
        moved || self.core.has_turns() || self.core.counts() != before
    }

    /// Requests of no client, and some that are given up.
    fn ask_inside(&mut self) {
        let due = self.inside.due(self.now, &mut self.world.borrow_mut().rng, &mut self.ledger);
        let soon = self.now + self.world.borrow_mut().rng.below(50_000) as u64;
        if let Some((request, cancel)) = due {
            let number = self.core.request_inside(self.inside.make(request));
            if let Some(number) = number.filter(|_| cancel) {
                self.inside.cancels.push((soon, number));
            }
        }
        for (_, number) in self.inside.cancels.extract_if(.., |(at, _)| *at <= self.now) {
            self.core.cancel_inside(number);
        }
    }

    /// Checks, and connections that are opened before they are needed, would go on for ever.
    fn stop_checks(&mut self) -> bool {
        let served = self.inside.is_over()
            && self.passing.is_over()
            && self.coming.is_empty()
            && self.clients.iter().all(|c| c.gone);
        let goes_on = self.ledger.balancing.goes_on();
        let stops = served && goes_on && !std::mem::replace(&mut self.ledger.draining, true);
        if stops {
            self.core.drain(Duration::from_secs(1));
        }
        stops
    }

    fn is_over(&self) -> bool {
        self.inside.is_over()
            && self.passing.is_over()
            && self.coming.is_empty()
            && self.clients.iter().all(|c| c.gone)
            && self.core.counts() == (0, 0, 0)
    }

    /// Nothing moves: the clock jumps to what happens next.
    fn jump(&mut self) {
        let coming = self.coming.last().map(|(at, _)| *at);
        let clients = self.clients.iter().filter(|c| !c.gone).map(|c| c.wakes);
        let servers = self.servers.iter().flat_map(Server::wakes);
        let wakes = clients
            .chain(servers)
            .chain(coming)
            .chain(self.inside.next_at())
            .chain(self.passing.wakes())
            .filter(|at| *at > self.round_at)
            .min();
        let waiting = self.inside.is_waiting()
            || self.clients.iter().any(Client::is_unserved)
            || self.passing.clients.iter().any(|client| client.is_unserved());
        let unserved = self.ledger.honest && waiting;
        assert!(wakes.is_some() || !unserved, "an honest client waits for ever: {}", self.state());
        let timer = self.core.next_timer();
        let next = wakes.into_iter().chain(timer).min();
        let Some(next) = next else { panic!("connections are open and no timer runs: {}", self.state()) };
        self.now = self.now.max(next);
    }

    fn check_all_given_back(&self) {
        assert_eq!(self.core.blocks().0, 0, "blocks are not given back");
        assert_eq!(self.core.buffered(), 0, "memory of buffers is kept");
        assert_eq!(self.core.answer_bodies(), 0, "bodies of answers are kept");
        assert!(self.core.is_without_hedges(), "second tries are kept");
        assert_eq!(self.core.pipes(), 0, "pipes are not given back");
        assert_eq!(self.core.old_sites(), (0, 0), "sites and scripts are kept");
        assert_eq!(self.core.next_timer(), None, "a timer is left");
        self.sites.pools.iter().for_each(check_given_back);
        assert!(self.world.borrow().links.iter().all(|l| l.closed), "a connection is left open");
    }

    /// Every request has one record at most, and that of an honest one says that it went through whole.
    fn check_records(&mut self) -> u64 {
        self.core.flush_access();
        let batch = self.records.try_recv().unwrap_or_default();
        let (mut rest, mut count, mut ends) = (&batch[..], 0, 0);
        while let Some(record) = Record::read(&mut rest) {
            ends |= 1 << record.end as u64;
            if !self.passing.recorded(&record, &self.ledger) {
                count += 1;
                self.ledger.recorded(&record);
            }
        }
        assert!(rest.is_empty(), "half a record");
        self.passing.check(&self.ledger);
        let answered: usize = self.clients.iter().map(Client::answered).sum();
        assert!(!self.ledger.honest || count == answered, "{count} records of {answered} answers");
        ends
    }

    fn state(&self) -> String {
        let (clients, backends, exchanges) = self.core.counts();
        let waiting = self.clients.iter().filter(|c| !c.gone).map(Client::state).collect::<Vec<_>>();
        format!(
            "at {} µs, {clients} clients, {backends} backends, {exchanges} exchanges; waiting: {waiting:#?}",
            self.now
        )
    }
}

/// What rsp is given to run, one after the other: the same script each time, and nearly the same config.
struct Sites {
    source: Source,
    servers: Servers,
    balancing: Balancing,
    /// Of all that were made.
    pools: Vec<SitePools>,
    made: u64,
    /// Of clients that are passed through.
    listener_context: Option<Rc<ListenerContext>>,
}

impl Sites {
    fn next(&mut self, rng: &mut Rng, ledger: &Ledger) -> SiteParts {
        let (mut config, script) = load(&mut self.source.clone()).expect("the config loads");
        config.settings.splice = [None, Some(1), Some(1), Some(2000)][rng.below(4)];
        config.settings.buffer_memory = ledger.balancing.buffer_memory;
        config.settings.max_head = if ledger.long { 64 << 10 } else { config.settings.max_head };
        let pool = Arc::make_mut(&mut config.pools[0]);
        (pool.abort_on_close, pool.trailers) = (ledger.aborts, ledger.trailers);
        self.made += 1;
        self.listener_context = ListenerContext::of(&Arc::new(config.listeners[1].clone()));
        if self.made > 1 && rng.one_in(3) {
            pool.servers.remove(rng.below(SERVERS));
        }
        self.balancing.set(Arc::make_mut(&mut config.pools[0]));
        let (servers, config) = (self.servers.of(&config), Arc::new(config));
        self.pools.push(servers.clone());
        Servers::adopt(&config, &servers, &|_, _| None);
        SiteParts { generation: self.made, servers, config, script }
    }
}

/// What rsp reads within turns: the time stands still there, or, where scripts are slow, is 3 ms later each time.
#[derive(Default)]
struct Clock {
    slow: bool,
    now: Cell<u64>,
    readings: Cell<usize>,
}

impl Clock {
    fn read(&self) -> u64 {
        self.readings.set(self.readings.get() + 1);
        self.now.set(self.now.get() + if self.slow { 3_000 } else { 0 });
        self.now.get()
    }
}
