//! Clients, workers and servers in virtual time. Clients and servers are modelled; the workers choose servers, count,
//! retry, queue, eject and probe with the product's own code, in the order in which its `worker::backend` calls it.
//!
//! A worker takes turns, as its event loop does: what comes in during one is seen in the next. So what a worker knows
//! of requests that ended elsewhere may be one turn old.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use rsp::balance::SitePools;
use rsp::balance::algorithm::Random;
use rsp::config::Balance;
use slab::Slab;

use crate::figures::Figures;
use crate::keys::{Keys, Popularity};
use crate::origin::{Fault, Job, Origin, Spec, exponential};
use crate::pools::{View, config, views};
use crate::worker::Request;

/// From a client or a server to a worker and back, one way, in microseconds.
pub const WAY: u64 = 50;
/// What a turn of a worker takes, and each event in it.
const TURN: u64 = 10;
const EVENT: u64 = 5;
/// The clock begins here: an hour after the boot.
pub const BEGIN: u64 = 3_600_000_000;
pub const SECOND: u64 = 1_000_000;

#[derive(Clone, Copy)]
pub enum Load {
    /// Requests a second, whatever the answers do.
    Open(f64),
    /// So many at once: a new one for each that ended.
    Closed(usize),
}

/// A fault of one server, in seconds from the beginning.
#[derive(Clone, Copy)]
pub struct Episode {
    pub server: usize,
    pub fault: Fault,
    pub from: u64,
    pub until: u64,
}

pub struct Setup {
    pub workers: usize,
    pub servers: Vec<Spec>,
    pub load: Load,
    pub keys: (usize, Popularity),
    /// Mean service time at speed 1, in microseconds.
    pub service: f64,
    pub seconds: u64,
    pub episodes: Vec<Episode>,
    /// The response timeout, in seconds.
    pub timeout: u64,
}

/// What comes to a worker.
#[derive(Clone, Copy)]
pub enum Mail {
    Request(Job),
    Response(Job),
    Refused(Job),
    Closed(Job),
    TimedOut(Job),
    QueueTimeout(Job),
    Grants,
}

#[derive(Clone, Copy)]
enum Event {
    Client,
    Mail(usize, Mail),
    Turn(usize),
    Reach(usize, Job),
    Served(usize, Job),
    Begin(usize),
    End(usize),
    Second,
}

pub struct Worker {
    pub view: View,
    mail: Vec<Mail>,
    /// When its turn ends.
    busy: u64,
    turn_is_due: bool,
}

pub struct World {
    pub setup: Setup,
    pub balance: Balance,
    pub now: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// The events of the heap.
    held: Slab<Event>,
    next_event: u64,
    /// The clients': the same requests come whatever the workers and servers do, as long as the load is open.
    random: Random,
    keys: Keys,
    pub pools: SitePools,
    pub workers: Vec<Worker>,
    pub origins: Vec<Origin>,
    /// The origin of each server, by its identity.
    pub places: HashMap<u64, usize>,
    pub requests: Slab<Request>,
    next_serial: u64,
    pub figures: Figures,
}

impl World {
    pub fn new(mut setup: Setup, balance: Balance, seed: u64) -> World {
        if balance == Balance::First {
            limit(&mut setup.servers);
        }
        let mut config = config(balance, &setup.servers);
        Arc::make_mut(&mut config.pools[0]).timeouts.response = std::time::Duration::from_secs(setup.timeout);
        let (pools, views) = views(&config, setup.workers);
        let members = pools.pools[0].members();
        let worker = |view| Worker { view, mail: Vec::new(), busy: 0, turn_is_due: false };
        World {
            balance,
            now: BEGIN,
            events: BinaryHeap::new(),
            held: Slab::new(),
            next_event: 0,
            random: Random::new(seed),
            keys: Keys::new(setup.keys.0, setup.keys.1),
            workers: views.into_iter().map(worker).collect(),
            origins: setup.servers.iter().map(|spec| Origin::new(*spec)).collect(),
            places: members.iter().map(|server| server.identity()).zip(0..).collect(),
            pools,
            requests: Slab::new(),
            next_serial: 0,
            figures: Figures::new(&setup),
            setup,
        }
    }

    pub fn run(mut self) -> Figures {
        let end = BEGIN + self.setup.seconds * SECOND;
        self.at(BEGIN, Event::Second);
        for (number, episode) in self.setup.episodes.clone().into_iter().enumerate() {
            self.at(BEGIN + episode.from * SECOND, Event::Begin(number));
            self.at(BEGIN + episode.until * SECOND, Event::End(number));
        }
        match self.setup.load {
            Load::Open(_) => self.at(BEGIN, Event::Client),
            Load::Closed(count) => (0..count).for_each(|_| self.arrive(BEGIN)),
        }
        while let Some(Reverse((time, _, held))) = self.events.pop() {
            if time >= end {
                break;
            }
            self.now = time;
            let event = self.held.remove(held);
            self.happen(event);
        }
        let unanswered: Vec<u64> = self.requests.iter().map(|(_, request)| request.arrived).collect();
        unanswered.into_iter().for_each(|arrived| self.figures.unanswered(arrived, end));
        self.figures.count_servers(&self.origins);
        self.figures
    }

    fn at(&mut self, time: u64, event: Event) {
        self.next_event += 1;
        let held = self.held.insert(event);
        self.events.push(Reverse((time, self.next_event, held)));
    }

    pub fn mail_at(&mut self, time: u64, worker: usize, mail: Mail) {
        self.at(time, Event::Mail(worker, mail));
    }

    pub fn reach_at(&mut self, time: u64, server: usize, job: Job) {
        self.at(time, Event::Reach(server, job));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Client => {
                self.arrive(self.now);
                if let Load::Open(rate) = self.setup.load {
                    let gap = exponential(&mut self.random) * SECOND as f64 / rate;
                    self.at(self.now + gap as u64, Event::Client);
                }
            }
            Event::Mail(worker, mail) => self.deliver(worker, mail),
            Event::Turn(worker) => self.turn(worker),
            Event::Reach(server, job) => self.reach(server, job),
            Event::Served(server, job) => {
                if self.origins[server].finish(job) {
                    self.answer(job, Mail::Response);
                }
                self.serve(server);
            }
            Event::Begin(number) => {
                let Episode { server, fault, .. } = self.setup.episodes[number];
                let closed = self.origins[server].begin(fault);
                closed.into_iter().for_each(|job| self.answer(job, Mail::Closed));
            }
            Event::End(number) => {
                let Episode { server, fault, .. } = self.setup.episodes[number];
                let answered = self.origins[server].end(fault);
                answered.into_iter().for_each(|job| self.answer(job, Mail::Response));
                self.serve(server);
            }
            Event::Second => {
                let second = self.now / SECOND;
                self.workers.iter().for_each(|worker| worker.view.pool.requests.tick(second));
                self.at(self.now + SECOND, Event::Second);
            }
        }
    }

    /// A client sends a request, over a connection to any of the workers.
    pub fn arrive(&mut self, time: u64) {
        self.next_serial += 1;
        let worker = self.random.below(self.setup.workers);
        let key = self.keys.draw(&mut self.random);
        let work = exponential(&mut self.random) * self.setup.service;
        let request = Request::new(worker, self.next_serial, key, work, time);
        let place = self.requests.insert(request);
        let job = Job { place, serial: self.next_serial, attempt: 0 };
        self.mail_at(time + WAY, worker, Mail::Request(job));
    }

    fn deliver(&mut self, number: usize, mail: Mail) {
        let worker = &mut self.workers[number];
        worker.mail.push(mail);
        if !worker.turn_is_due {
            worker.turn_is_due = true;
            let time = self.now.max(worker.busy);
            self.at(time, Event::Turn(number));
        }
    }

    fn turn(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        worker.turn_is_due = false;
        let mail = std::mem::take(&mut worker.mail);
        worker.busy = self.now + TURN + EVENT * mail.len() as u64;
        mail.into_iter().for_each(|mail| self.handle(number, mail));
        for other in 0..self.workers.len() {
            if self.pools.inboxes.has_grants(other) {
                self.deliver(other, Mail::Grants);
            }
        }
    }

    fn reach(&mut self, server: usize, job: Job) {
        let origin = &mut self.origins[server];
        origin.received += 1;
        if origin.refuses {
            return self.answer(job, Mail::Refused);
        }
        origin.accept(job);
        self.serve(server);
    }

    /// Serves what it may. A request that was given up meanwhile is not begun: its connection is closed.
    fn serve(&mut self, server: usize) {
        while let Some(job) = self.origins[server].start() {
            if !self.is_current(job) {
                self.origins[server].finish(job);
                continue;
            }
            let time = self.now + self.origins[server].service(self.requests[job.place].work);
            self.at(time, Event::Served(server, job));
        }
    }

    fn answer(&mut self, job: Job, mail: impl Fn(Job) -> Mail) {
        if self.is_current(job) {
            let worker = self.requests[job.place].worker;
            self.mail_at(self.now + WAY, worker, mail(job));
        }
    }

    /// The request still waits for this try.
    pub fn is_current(&self, job: Job) -> bool {
        let request = self.requests.get(job.place);
        request.is_some_and(|request| request.serial == job.serial && request.attempt == job.attempt)
    }
}

/// `first` is for servers with limits: without them, the first server gets everything.
fn limit(servers: &mut [Spec]) {
    for server in servers.iter_mut().filter(|server| server.max_connections.is_none()) {
        server.max_connections = Some(2 * server.lanes as u32);
    }
}
