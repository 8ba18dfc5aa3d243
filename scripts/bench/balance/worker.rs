//! What a worker does with a request: the calls of the product's `worker::backend` in their order, without sockets.

use std::rc::Rc;

use rsp::balance::{
    Grant, GrantedServer, Picked, Probe, QueuedRequest, Slot, Tried, Unavailable, Want, WorkerServer,
};
use rsp::config::Balance;

use crate::origin::Job;
use crate::world::{Load, Mail, SECOND, WAY, World};

pub struct Request {
    pub worker: usize,
    /// A place is used again by later requests.
    pub serial: u64,
    key: Option<u64>,
    /// What it takes a server of speed 1, in microseconds.
    pub work: f64,
    pub arrived: u64,
    /// The number of the present try.
    pub attempt: u32,
    tried: Tried,
    /// Servers that were asked.
    tries: u8,
    /// The last try was a probe.
    was_probe: bool,
    sent: u64,
    server: Option<Rc<WorkerServer>>,
    slot: Option<Slot>,
    probe: Option<Box<Probe>>,
    ticket: Option<u64>,
}

impl Request {
    pub fn new(worker: usize, serial: u64, key: Option<u64>, work: f64, arrived: u64) -> Request {
        Request {
            worker,
            serial,
            key,
            work,
            arrived,
            attempt: 0,
            tried: Tried::default(),
            tries: 0,
            was_probe: false,
            sent: 0,
            server: None,
            slot: None,
            probe: None,
            ticket: None,
        }
    }
}

impl World {
    pub fn handle(&mut self, worker: usize, mail: Mail) {
        match mail {
            Mail::Grants => self.take_grants(worker),
            Mail::Request(job) => {
                self.workers[worker].view.pool.requests.add();
                self.dial(job.place, false);
            }
            Mail::Response(job) if self.is_current(job) => self.responded(job.place),
            Mail::Refused(job) | Mail::Closed(job) if self.is_current(job) => {
                self.note_failure(job.place);
                self.leave(job.place);
                self.dial(job.place, false);
            }
            Mail::TimedOut(job) if self.is_current(job) => {
                self.note_failure(job.place);
                self.leave(job.place);
                // Only a probe is sent to another server after a timeout.
                match self.requests[job.place].was_probe {
                    true => self.dial(job.place, false),
                    false => self.end(job.place, false),
                }
            }
            Mail::QueueTimeout(job) if self.is_current(job) => self.queue_timeout(job.place),
            _ => {}
        }
    }

    fn dial(&mut self, place: usize, in_turn: bool) {
        let request = &mut self.requests[place];
        let pool = &self.workers[request.worker].view.pool;
        if request.tries > pool.config.retries {
            return self.end(place, false);
        }
        let want = Want { now: self.now, key: request.key, may_probe: true, in_turn };
        let free = request.tries == 0 || request.was_probe;
        match pool.pick(&want, &request.tried) {
            Ok(_) if !free && !pool.state.take_retry(pool.config.retry_budget, self.now) => {
                self.end(place, false);
            }
            Ok(picked) => self.send(place, picked),
            Err(Unavailable::Full) => self.enqueue(place),
            Err(Unavailable::None) => self.end(place, false),
        }
    }

    fn send(&mut self, place: usize, picked: Picked) {
        let request = &mut self.requests[place];
        let Picked { server, slot, probe } = picked;
        request.tries += 1;
        request.attempt += 1;
        request.was_probe = probe.is_some();
        request.sent = self.now;
        server.request_begins();
        self.workers[request.worker].view.pool.requests.begins();
        let at = self.places[&server.identity()];
        self.origins[at].peak = self.origins[at].peak.max(server.in_flight());
        (request.server, request.slot, request.probe) = (Some(server), slot, probe);
        let (worker, job) = (request.worker, Job { place, serial: request.serial, attempt: request.attempt });
        self.figures.tried(request.arrived);
        self.reach_at(self.now + WAY, at, job);
        if !self.setup.episodes.is_empty() {
            self.mail_at(self.now + self.setup.timeout * SECOND, worker, Mail::TimedOut(job));
        }
    }

    fn responded(&mut self, place: usize) {
        let request = &mut self.requests[place];
        let pool = &self.workers[request.worker].view.pool;
        let (now, waited) = (self.now, self.now - request.sent);
        if let Some(server) = &request.server {
            if self.balance == Balance::LeastLatency {
                server.latency.observe(waited, now);
            }
            match (request.probe.take(), &pool.config.eject) {
                (Some(probe), _) => probe.pass(now),
                (None, Some(eject)) => server.note_success(eject, now),
                (None, None) => {}
            }
        }
        self.leave(place);
        self.end(place, true);
    }

    /// The try failed for a reason that speaks against its server.
    fn note_failure(&mut self, place: usize) {
        let request = &mut self.requests[place];
        let config = &self.workers[request.worker].view.pool.config;
        let Some(server) = request.server.clone() else { return };
        match (request.probe.take(), &config.eject) {
            (Some(probe), _) => probe.fail(&"a fault", self.now),
            (None, eject) => {
                if self.balance == Balance::LeastLatency {
                    server.latency.observe(config.timeouts.response.as_micros() as u64, self.now);
                }
                if let Some(eject) = eject {
                    server.note_failure(eject, &"a fault", self.now);
                }
            }
        }
        request.tried.add(server);
    }

    /// The server is free for the next request.
    fn leave(&mut self, place: usize) {
        let request = &mut self.requests[place];
        let pool = &self.workers[request.worker].view.pool;
        request.attempt += 1;
        let Some(server) = request.server.take() else { return };
        server.request_ends();
        pool.requests.ends();
        match request.slot.take() {
            Some(slot) => drop(slot),
            None => pool.state.freed(server.shared()),
        }
    }

    fn enqueue(&mut self, place: usize) {
        let request = &mut self.requests[place];
        let pool = &self.workers[request.worker].view.pool;
        let waiter =
            QueuedRequest { worker: request.worker, client: place as u64, ..QueuedRequest::default() };
        let Some(ticket) = pool.state.queue.enter(waiter, None, pool.config.queue.most as usize) else {
            return self.end(place, false);
        };
        request.ticket = Some(ticket.number);
        let (worker, job) = (request.worker, Job { place, serial: request.serial, attempt: request.attempt });
        let timeout = pool.config.queue.timeout.as_micros() as u64;
        pool.state.look_again(None);
        self.mail_at(self.now + timeout, worker, Mail::QueueTimeout(job));
    }

    fn queue_timeout(&mut self, place: usize) {
        let request = &mut self.requests[place];
        let pool = &self.workers[request.worker].view.pool;
        if let Some(ticket) = request.ticket
            && pool.state.queue.leave(ticket, None)
        {
            self.end(place, false);
        }
    }

    fn take_grants(&mut self, worker: usize) {
        for Grant { client, ticket, server } in self.pools.inboxes.take(worker) {
            let place = client as usize;
            let waits = |request: &Request| request.worker == worker && request.ticket == Some(ticket);
            if !self.requests.get(place).is_some_and(waits) {
                continue;
            }
            self.requests[place].ticket = None;
            let GrantedServer::Server(slot) = server else {
                self.end(place, false);
                continue;
            };
            let server = self.workers[worker].view.servers.borrow_mut().get(slot.server());
            match self.requests[place].tried.has(&server) {
                true => {
                    drop(slot);
                    self.dial(place, true);
                }
                false => self.send(place, Picked { server, slot: Some(slot), probe: None }),
            }
        }
    }

    /// The client has its answer.
    fn end(&mut self, place: usize, success: bool) {
        let request = self.requests.remove(place);
        self.figures.answered(request.arrived, self.now + WAY, success);
        if matches!(self.setup.load, Load::Closed(_)) {
            self.arrive(self.now + 2 * WAY);
        }
    }
}
