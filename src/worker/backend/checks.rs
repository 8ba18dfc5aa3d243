//! Health checks: when each server is checked, and what its answer means. A check is an internal request to one server,
//! so it goes the way of traffic; it skips the queue and the limit, and uses a connection of its own. Each server is
//! checked by one worker.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::balance::{Pool, Server, ServerState};
use crate::config::{Endpoint, Health, HealthKind, HttpCheck};
use crate::exchange::Failure;
use crate::exchange::end::End;
use crate::http::Method;
use crate::net::Network;
use crate::worker::core::Core;
use crate::worker::pair::inside::{InsideEnd, InsideRequest, InsideTarget};
use crate::worker::time::timeouts::micros;

/// Checks at once, of all workers.
const AT_ONCE: usize = 500;
/// The first checks are spread over this time, in microseconds.
const SPREAD: u64 = 1_000_000;
/// How often a down server is checked at least while none of its pool is up, in microseconds: the first request after an
/// outage should not wait for whole intervals.
const OUTAGE: u64 = 400_000;
/// How often the lists of servers are looked at, in microseconds: names may get other addresses.
const LOOK: u64 = 1_000_000;
/// Bytes of a response that are read.
const RESPONSE_BYTES: usize = 64 * 1024;

/// One worker's checks.
#[derive(Default)]
pub struct Checks {
    list: Vec<Check>,
    /// The versions of the pools that the list was made from.
    versions: Vec<u32>,
    /// Ended checks, by server.
    ended: Rc<RefCell<Vec<(*const Server, InsideEnd)>>>,
    running: usize,
    /// When there is something to do, in microseconds.
    next: u64,
}

struct Check {
    server: Arc<Server>,
    pool: Rc<Pool>,
    due: u64,
    running: Option<Running>,
}

struct Running {
    /// The number of the internal request.
    number: u64,
    until: u64,
}

impl Checks {
    /// When there is something to do, in microseconds; `u64::MAX` for never.
    pub fn next(&self) -> u64 {
        if self.ended.borrow().is_empty() { self.next } else { 0 }
    }

    /// The pools may have changed.
    pub fn look(&mut self) {
        self.next = 0;
    }

    fn forget_running(&mut self, server: *const Server) -> Option<usize> {
        let at = self.list.iter().position(|check| Arc::as_ptr(&check.server) == server)?;
        self.list[at].running = None;
        Some(at)
    }
}

impl<N: Network> Core<N> {
    /// Starts the checks that are due, and takes the results of those that have ended.
    pub fn run_checks(&mut self) {
        if self.tools.now < self.checks.next() {
            return;
        }
        self.take_results();
        self.list_checks();
        for at in 0..self.checks.list.len() {
            match &self.checks.list[at].running {
                Some(running) if self.tools.now >= running.until => {
                    let number = running.number;
                    self.cancel_inside(number);
                }
                None if self.tools.now >= self.checks.list[at].due => self.start_check(at),
                _ => {}
            }
        }
        self.take_results();
        self.checks.next = self.next_check_at();
    }

    /// When the next check begins or is late.
    fn next_check_at(&self) -> u64 {
        if self.checks.versions.is_empty() {
            return u64::MAX;
        }
        let full = self.checks.running >= self.checks_at_once();
        let at = |check: &Check| match &check.running {
            Some(running) => running.until,
            None if full => u64::MAX,
            None => check.due,
        };
        self.checks.list.iter().map(at).min().unwrap_or(u64::MAX).min(self.tools.now + LOOK)
    }

    fn checks_at_once(&self) -> usize {
        (AT_ONCE / self.sites.workers()).max(1)
    }

    /// Lists this worker's servers of pools with checks, if any have changed.
    fn list_checks(&mut self) {
        let checked = |pool: &&Rc<Pool>| pool.config.health.is_some();
        let pools: Vec<Rc<Pool>> = match self.tools.draining {
            true => Vec::new(),
            false => self.sites.current.routes.pools.iter().filter(checked).cloned().collect(),
        };
        let versions: Vec<u32> = pools.iter().map(|pool| pool.state.version()).collect();
        let same = |check: &Check| pools.iter().any(|pool| Rc::ptr_eq(pool, &check.pool));
        if versions == self.checks.versions && self.checks.list.iter().all(same) {
            return;
        }
        let (worker, workers, now) =
            (self.sites.worker() as u64, self.sites.workers() as u64, self.tools.now);
        let mut before = std::mem::take(&mut self.checks.list);
        for pool in pools {
            let members = pool.state.members();
            for server in members.iter().filter(|server| server.identity() % workers == worker) {
                let known = before.iter().position(|check| Arc::ptr_eq(&check.server, server));
                let due = now + server.identity() / workers % SPREAD.min(interval(&pool, server));
                let new = Check { server: server.clone(), pool: pool.clone(), due, running: None };
                let check = known.map_or(new, |at| {
                    let check = before.swap_remove(at);
                    // In an outage the next check comes sooner.
                    let due = check.due.min(now + interval(&pool, server));
                    Check { pool: pool.clone(), due, ..check }
                });
                self.checks.list.push(check);
            }
        }
        self.checks.versions = versions;
        before
            .into_iter()
            .filter_map(|check| check.running)
            .for_each(|check| self.cancel_inside(check.number));
    }

    fn start_check(&mut self, at: usize) {
        if self.checks.running >= self.checks_at_once() {
            return;
        }
        let check = &self.checks.list[at];
        let Some(health) = &check.pool.config.health else { return };
        let (server, results, now) = (Arc::as_ptr(&check.server), self.checks.ended.clone(), self.tools.now);
        let (until, due) = (now + micros(health.timeout), now + interval(&check.pool, &check.server));
        let request = InsideRequest {
            pool: check.pool.config.name.clone(),
            target: InsideTarget::Check {
                server: check.server.clone(),
                port: health.port,
                only_connects: health.kind == HealthKind::Tcp,
            },
            method: method_of(health),
            bytes: bytes_of(health, &check.server.endpoint()),
            most: RESPONSE_BYTES,
            done: Box::new(move |end| results.borrow_mut().push((server, end))),
        };
        self.checks.running += 1;
        let number = self.request_inside(request);
        let check = &mut self.checks.list[at];
        check.due = due;
        check.running = number.map(|number| Running { number, until });
    }

    fn take_results(&mut self) {
        let ended = std::mem::take(&mut *self.checks.ended.borrow_mut());
        for (server, end) in ended {
            self.checks.running -= 1;
            let now = self.tools.now;
            let late = |check: &Check| check.running.as_ref().is_some_and(|running| now >= running.until);
            let was_late = self.checks.list.iter().any(|c| Arc::as_ptr(&c.server) == server && late(c));
            let Some(at) = self.checks.forget_running(server) else { continue };
            if end.end == End::Stopped {
                continue;
            }
            let check = &mut self.checks.list[at];
            let Some(health) = &check.pool.config.health else { continue };
            let result = if was_late {
                Err(format!("no response within {:?}", health.timeout))
            } else {
                judge(health, &end)
            };
            let why = result.as_ref().unwrap_or_else(|why| why);
            check.server.checked(health, result.is_ok(), why, now);
            check.due = check.due.min(now + interval(&check.pool, &check.server));
        }
    }
}

/// From one check of the server to the next, in microseconds.
fn interval(pool: &Pool, server: &Server) -> u64 {
    let interval = pool.config.health.as_ref().map_or(u64::MAX, |health| micros(health.interval));
    let is_outage = || pool.state.members().iter().all(|server| server.state() != ServerState::Up);
    if server.state() == ServerState::Down && is_outage() { interval.min(OUTAGE) } else { interval }
}

fn method_of(health: &Health) -> Method {
    match &health.kind {
        HealthKind::Tcp => Method::Get,
        HealthKind::Http(check) => Method::of(check.method.as_bytes()),
    }
}

/// A check that only connects has a request all the same, of which nothing is sent.
fn bytes_of(health: &Health, endpoint: &Endpoint) -> Vec<u8> {
    let plain = HttpCheck::default();
    let check = match &health.kind {
        HealthKind::Tcp => &plain,
        HealthKind::Http(check) => check,
    };
    let host = check.host.as_deref().unwrap_or_else(|| endpoint.host());
    let HttpCheck { method, path, .. } = check;
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rsp-health-check\r\n\r\n").into_bytes()
}

fn text_of(failure: Failure) -> &'static str {
    if failure == Failure::Refused { "cannot connect" } else { failure.text() }
}

/// Says whether the check passed, and why.
fn judge(health: &Health, end: &InsideEnd) -> Result<String, String> {
    let HealthKind::Http(check) = &health.kind else {
        return match end.failure {
            None => Ok("connected".into()),
            Some(failure) => Err(text_of(failure).into()),
        };
    };
    let Some(response) = &end.response else {
        return Err(end.failure.map_or("no response", text_of).into());
    };
    let status = response.head.status;
    if !check.status.has(status) {
        return Err(format!("status {status}, expected {}", check.status));
    }
    match &check.body {
        Some(text) if memchr::memmem::find(&response.body, text.as_bytes()).is_none() => {
            Err(format!("the body does not contain {text:?}"))
        }
        _ => Ok(format!("status {status}")),
    }
}
